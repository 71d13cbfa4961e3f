import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { SMTPServer } from 'smtp-server';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freePort } from '../dev/ports.ts';
import { type Answer, type Api, orderOf, type RequestOptions } from './harness/http.ts';
import { conforming } from './harness/openapi.ts';
import { expectProblem } from './harness/problems.ts';
import { startStack, type TestStack } from './harness/stack.ts';
import { eventually } from './harness/wait.ts';

const JOHN = '550e8400-e29b-41d4-a716-446655440000';
const JANE = '550e8400-e29b-41d4-a716-446655440001';
const EMILY = '550e8400-e29b-41d4-a716-446655440003';
const MICHAEL = '550e8400-e29b-41d4-a716-446655440004';
const STAFF = '550e8400-e29b-41d4-a716-446655440101';

/** An SMTP server that keeps what it takes, and answers addresses as a test tells it. */
const inbox: { to: string; raw: string }[] = [];
const answers = new Map<string, number>();
let server: SMTPServer;
let stack: TestStack;
let api: Api;

beforeAll(async () => {
  server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS'],
    onMailFrom(_address, _session, callback) {
      const responseCode = answers.get('any mail');
      callback(responseCode ? Object.assign(new Error('Not from you'), { responseCode }) : null);
    },
    onRcptTo({ address }, _session, callback) {
      const responseCode = answers.get(address);
      callback(responseCode ? Object.assign(new Error('Not here'), { responseCode }) : null);
    },
    onData(stream, session, callback) {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        const raw = Buffer.concat(chunks).toString('utf8').replaceAll('=\r\n', '');
        for (const { address } of session.envelope.rcptTo) inbox.push({ to: address, raw });
        callback();
      });
    },
  });
  const port = await freePort();
  server.listen(port, '127.0.0.1');
  await once(server.server, 'listening');
  stack = await startStack({
    environment: {
      SMTP_URL: `smtp://127.0.0.1:${port}`,
      NOTIFICATION_MAX_ATTEMPTS: '3',
      RECONCILE_INTERVAL_SECONDS: '86400',
    },
  });
  api = await conforming(stack.api);
});
afterAll(async () => {
  await stack.stop();
  server.close();
});

const as = (token: string, method: string, path: string, more: RequestOptions = {}): Promise<Answer> =>
  api.request(method, path, { token, ...more });
const staff = (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
  as(stack.tokens.staff, method, path, { headers, ...(body !== undefined && { body }) });
const send = (body: unknown, headers?: Record<string, string>) =>
  staff('POST', '/v1/notifications', body, headers);
const note = (recipient: string, more: object = {}) => ({
  channel: 'email',
  recipient,
  template: 'message',
  variables: { subject: 'Hello', text: 'There.' },
  ...more,
});
const untilStatus = (id: string, status: string): Promise<Answer['body']> =>
  eventually(`${id} is ${status}`, async () => {
    const { body } = await staff('GET', `/v1/notifications/${id}`);
    return body.status === status && body;
  });
const preferencesOf = (id: string) => `/v1/customers/${id}/notification-preferences`;
const setPreferences = async (id: string, channels: object, more: object = {}) => {
  const wanted = { channels: { email: true, sms: false, push: true, ...channels }, language: 'en', ...more };
  const put = await staff('PUT', preferencesOf(id), wanted);
  expect(put).toMatchObject({ status: 200, body: wanted });
};
/** Quiet hours from an hour ago until in an hour. */
const quietNow = () => {
  const clock = (minutes: number) => new Date(Date.now() + minutes * 60_000).toISOString().slice(11, 16);
  return { start: clock(-60), end: clock(60), timeZone: 'UTC' };
};
const aboutOrder = async (orderId: string, more = '') =>
  (await staff('GET', `/v1/notifications?orderId=${orderId}${more}`)).body.data as Answer['body'][];
const placed = async (token: string) => {
  const { body } = await stack.api.place(token, orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]));
  expect(body.status).toBe('confirmed');
  return body;
};
const allSent = (orderId: string, number: number) =>
  eventually('all is sent', async () => {
    const found = await aboutOrder(orderId);
    return found.length === number && found.every(({ status }) => status === 'sent') && found;
  });

describe('what happens to an order', () => {
  test('is told by mail and by push, each once, and noted in its timeline', async () => {
    const order = await placed(stack.tokens.john);
    const told = await allSent(order.id, 2);
    expect(
      new Set(told.map(({ channel, recipient, template }) => `${template} ${channel} ${recipient}`)),
    ).toEqual(new Set(['order-confirmed email john.smith@example.com', `order-confirmed push ${JOHN}`]));
    const push = told.find(({ channel }) => channel === 'push')!;
    expect(push).toMatchObject({
      customerId: JOHN,
      orderId: order.id,
      eventType: 'order.confirmed',
      subject: `We have your order ${order.number}`,
      attempts: [{ at: expect.any(String) }],
    });
    expect(push.body).toContain('$29.99');
    const pushed = await stack.db
      .selectFrom('messaging.push_messages')
      .selectAll()
      .where('id', '=', push.id)
      .execute();
    expect(pushed).toMatchObject([{ recipient: JOHN, title: push.subject, body: push.body }]);

    const { body: timeline } = await staff('GET', `/v1/orders/${order.id}/events`);
    const sent = timeline.data.filter(({ type }: { type: string }) => type === 'notification.sent');
    expect(sent.map(({ data }: Answer['body']) => data.channel).toSorted()).toEqual(['email', 'push']);
    expect(sent.find(({ data }: Answer['body']) => data.channel === 'push').data).toMatchObject({
      title: push.subject,
      body: push.body,
    });
    const versions = await stack.db
      .selectFrom('messaging.notifications')
      .select('template_version')
      .where('order_id', '=', order.id)
      .execute();
    for (const { template_version } of versions) expect(template_version).toMatch(/^[0-9a-f]{12}$/);

    await as(stack.tokens.john, 'DELETE', `/v1/orders/${order.id}`);
    expect(await allSent(order.id, 4)).toHaveLength(4);
    expect(await aboutOrder(order.id, '&channel=push')).toHaveLength(2);
    expect(await aboutOrder(order.id, `&customerId=${JOHN}&status=sent&limit=100`)).toHaveLength(4);
    expect(await aboutOrder(order.id, `&customerId=${JANE}`)).toEqual([]);
  });

  test('also what was rejected at once', async () => {
    const { body } = await stack.api.place(
      stack.tokens.john,
      orderOf([{ sku: 'CONSOLE-LE', quantity: 1000 }]),
    );
    const told = await allSent(body.id, 2);
    for (const { template } of told) expect(template).toBe('order-rejected');
  });

  test('is told over the channels and in the language that the customer prefers', async () => {
    const token = await stack.api.login('emily.davis@example.com');
    await setPreferences(
      EMILY,
      { email: false, push: false, sms: true },
      { phone: '+4930123456', language: 'de' },
    );
    const order = await placed(token);
    const [sms] = await allSent(order.id, 1);
    expect(sms).toMatchObject({ channel: 'sms', recipient: '+4930123456', subject: null });
    expect(sms.body).toContain('Wir haben Ihre Bestellung');
    const kept = await stack.db
      .selectFrom('mock_company.sms_messages')
      .select(['recipient', 'body'])
      .where('id', '=', sms.id)
      .execute();
    expect(kept).toEqual([{ recipient: '+4930123456', body: sms.body }]);
    // Nobody waits for a mail that is not wanted.
    await as(token, 'DELETE', `/v1/orders/${order.id}`);
    const handle = stack.temporal.workflow.getHandle(order.workflowId);
    expect(await handle.result()).toMatchObject({ status: 'cancelled' });
    await allSent(order.id, 2);
  });

  test("is told by SMS under the customer's id where it gave no phone number", async () => {
    const token = await stack.api.login('emily.davis@example.com');
    await setPreferences(EMILY, { email: false, push: false, sms: true });
    const order = await placed(token);
    expect(await allSent(order.id, 1)).toMatchObject([{ channel: 'sms', recipient: EMILY }]);
  });

  test('makes no phone ring in quiet hours, and is told when they are over', async () => {
    const token = await stack.api.login('emily.davis@example.com');
    const quietHours = quietNow();
    await setPreferences(EMILY, {}, { quietHours });
    const order = await placed(token);
    const held = await eventually('the push is held', () =>
      stack.db
        .selectFrom('messaging.notifications')
        .select(['id', 'due_at', 'status', 'attempts'])
        .where('order_id', '=', order.id)
        .where('channel', '=', 'push')
        .where('due_at', '>', new Date(Date.now() + 60_000))
        .executeTakeFirst(),
    );
    expect(held.due_at!.toISOString().slice(11, 16)).toBe(quietHours.end);
    expect(held).toMatchObject({ status: 'queued', attempts: [] });
    await eventually('the mail arrives', () => inbox.some(({ raw }) => raw.includes(order.number)));

    // To replay it does not break the quiet hours.
    expect((await staff('POST', `/v1/notifications/${held.id}/replay`)).status).toBe(202);
    await eventually('it is held again', async () => {
      const row = stack.db.selectFrom('messaging.notifications').select('due_at').where('id', '=', held.id);
      return (await row.executeTakeFirstOrThrow()).due_at! > new Date(Date.now() + 60_000);
    });
    // It goes out as soon as the customer takes the quiet hours back.
    await setPreferences(EMILY, {});
    await untilStatus(held.id, 'sent');
  });

  test('is not told over a channel that the customer does not want any more, also when it is replayed', async () => {
    const token = await stack.api.login('emily.davis@example.com');
    await setPreferences(EMILY, {}, { quietHours: quietNow() });
    const order = await placed(token);
    const held = await eventually('the push is held', async () =>
      (await aboutOrder(order.id, '&channel=push')).find(({ status }) => status === 'queued'),
    );
    await setPreferences(EMILY, { push: false });
    const dropped = await untilStatus(held.id, 'dead_letter');
    expect(dropped.attempts).toEqual([
      { at: expect.any(String), error: 'The customer does not want to be told over this channel any more.' },
    ]);
    expect((await staff('POST', `/v1/notifications/${held.id}/replay`)).status).toBe(202);
    await eventually('it was looked at again', async () => {
      const { body } = await staff('GET', `/v1/notifications/${held.id}`);
      return body.status === 'dead_letter' && body.attempts.length === 2;
    });
    const pushes = stack.db.selectFrom('messaging.push_messages').select('id').where('id', '=', held.id);
    expect(await pushes.execute()).toEqual([]);
    await setPreferences(EMILY, {});
  });
});

describe('preferences', () => {
  test('are mail and push by default, and are the own ones only', async () => {
    const own = await as(stack.tokens.jane, 'GET', preferencesOf('me'));
    expect(own).toMatchObject({
      status: 200,
      body: { channels: { email: true, sms: false, push: true }, language: 'en' },
    });
    const wanted = {
      channels: { email: true, sms: false, push: false },
      phone: '+14155550100',
      quietHours: { start: '22:00', end: '07:30', timeZone: 'America/New_York' },
      language: 'de',
    };
    const put = await as(stack.tokens.jane, 'PUT', preferencesOf(JANE), { body: wanted });
    expect(put).toMatchObject({ status: 200, body: wanted });
    expect((await staff('GET', preferencesOf(JANE))).body).toEqual(wanted);
    await setPreferences(JANE, {});
    expect((await as(stack.tokens.jane, 'GET', preferencesOf('me'))).body).not.toHaveProperty('quietHours');

    expectProblem(await as(stack.tokens.jane, 'GET', preferencesOf(JOHN)), 404, 'not_found');
    expectProblem(
      await as(stack.tokens.jane, 'PUT', preferencesOf(JOHN), { body: wanted }),
      404,
      'not_found',
    );
    for (const id of [STAFF, randomUUID(), 'me', 'nobody']) {
      expectProblem(await staff('GET', preferencesOf(id)), 404, 'not_found');
      expectProblem(await staff('PUT', preferencesOf(id), wanted), 404, 'not_found');
    }
  });

  const good = { channels: { email: true, sms: false, push: true }, language: 'en' };
  const quiet = (hours: object) => ({
    ...good,
    quietHours: { start: '22:00', end: '07:00', timeZone: 'UTC', ...hours },
  });
  test.each([
    ['an unknown language', { ...good, language: 'fr' }, '/language'],
    ['no language', { channels: good.channels }, '/language'],
    ['no channels', { language: 'en' }, '/channels'],
    ['a channel too few', { ...good, channels: { email: true, sms: false } }, '/channels/push'],
    ['a channel too many', { ...good, channels: { ...good.channels, fax: true } }, '/channels/fax'],
    [
      'a channel that is no yes or no',
      { ...good, channels: { ...good.channels, email: 1 } },
      '/channels/email',
    ],
    ['a phone that is none', { ...good, phone: '555 0100' }, '/phone'],
    ['a time zone that is none', quiet({ timeZone: 'Mars/Olympus' }), '/quietHours/timeZone'],
    ['a time that is none', quiet({ start: '24:00' }), '/quietHours/start'],
    ['a time in another form', quiet({ end: '7:00' }), '/quietHours/end'],
    ['half of quiet hours', quiet({ end: undefined }), '/quietHours/end'],
    ['an unknown field', { ...good, colour: 'red' }, '/colour'],
  ])('with %s are refused', async (_name, body, pointer) => {
    expectProblem(await staff('PUT', preferencesOf(JOHN), body), 422, 'validation_failed', pointer);
  });
});

describe('a message that the staff sends', () => {
  test('arrives over each channel, with what it says escaped', async () => {
    const text = 'Fish & <b>chips</b>';
    const mail = await send(note('guest@example.com', { variables: { subject: 'Menu', text } }));
    expect(mail).toMatchObject({ status: 202, body: { status: 'queued', attempts: [] } });
    expect(mail.headers.get('location')).toBe(`/v1/notifications/${mail.body.id}`);
    expect(await untilStatus(mail.body.id, 'sent')).toMatchObject({ subject: 'Menu', body: `${text}\n` });
    const [received] = inbox.filter(({ to }) => to === 'guest@example.com');
    expect(received!.raw).toContain('Fish &amp; &lt;b&gt;chips&lt;/b&gt;');
    expect(received!.raw).not.toContain('Order');

    const sms = await send(note('+14155550123', { channel: 'sms' }));
    expect(await untilStatus(sms.body.id, 'sent')).toMatchObject({ subject: null, body: 'There.' });
    for (const [channel, subject] of [
      ['sms', null],
      ['push', 'Hello'],
    ]) {
      const { id } = (await send(note(JOHN, { channel }))).body;
      expect(await untilStatus(id, 'sent')).toMatchObject({ customerId: JOHN, subject });
      expect((await as(stack.tokens.john, 'GET', `/v1/notifications/${id}`)).status).toBe(200);
    }
  });

  test('goes to the customer behind a phone number or an id, in its language and not in its quiet hours', async () => {
    const quietHours = quietNow();
    const phone = '+4930987654';
    await setPreferences(EMILY, {}, { phone, language: 'de', quietHours });
    for (const recipient of [phone, EMILY, EMILY.toUpperCase()]) {
      const { body } = await send(note(recipient, { channel: 'sms' }));
      expect(body).toMatchObject({ recipient: phone, customerId: EMILY, status: 'queued' });
      const row = stack.db.selectFrom('messaging.notifications').select(['due_at', 'language']);
      await eventually('it is held', async () => {
        const { due_at, language } = await row.where('id', '=', body.id).executeTakeFirstOrThrow();
        expect(language).toBe('de');
        return due_at! > new Date(Date.now() + 60_000);
      });
    }
    const push = await send(note(EMILY.toUpperCase(), { channel: 'push' }));
    expect(push.body).toMatchObject({ recipient: EMILY, customerId: EMILY });
    // Two who share a phone are nobody in particular.
    await setPreferences(MICHAEL, {}, { phone });
    const shared = await send(note(phone, { channel: 'sms' }));
    expect(shared.body.customerId).toBeUndefined();
    for (const id of [EMILY, MICHAEL]) await setPreferences(id, {});
  });

  test('with a key is sent once', async () => {
    const headers = { 'idempotency-key': randomUUID() };
    const both = await Promise.all([1, 2].map(() => send(note('keyed@example.com'), headers)));
    const again = await send(note('keyed@example.com'), headers);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(both.filter(({ headers: told }) => told.get('idempotent-replayed') === 'true')).toHaveLength(1);
    for (const { status, body } of [...both, again]) {
      expect(status).toBe(202);
      expect(body.id).toBe(again.body.id);
    }
    await untilStatus(again.body.id, 'sent');
    expect(inbox.filter(({ to }) => to === 'keyed@example.com')).toHaveLength(1);
    expectProblem(await send(note('other@example.com'), headers), 422, 'idempotency_key_reused');
  });

  test('with a key is the same in whatever order its variables are written', async () => {
    const headers = { 'idempotency-key': randomUUID() };
    const remind = (variables: object) =>
      send(note('ordered@example.com', { template: 'cart-reminder', variables }), headers);
    const items = [{ name: 'A mouse', quantity: 2, total: 5998 }];
    const first = await remind({ name: 'John', items, currency: 'USD', total: 5998 });
    const turned = [{ total: 5998, name: 'A mouse', quantity: 2 }];
    const again = await remind({ total: 5998, items: turned, currency: 'USD', name: 'John' });
    expect(again).toMatchObject({ status: 202, body: { id: first.body.id } });
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    const other = await remind({ name: 'John', items, currency: 'USD', total: 1 });
    expectProblem(other, 422, 'idempotency_key_reused');
  });

  const bad: [string, object, string][] = [
    ['an unknown channel', note('a@example.com', { channel: 'fax' }), '/channel'],
    ['an unknown template', note('a@example.com', { template: 'order-lost' }), '/template'],
    ['a template of the prototype', note('a@example.com', { template: 'constructor' }), '/template'],
    ['a mail address that is none', note('nobody'), '/recipient'],
    ['a mail address with a header', note('a@example.com\r\nBcc: b@example.com'), '/recipient'],
    ['a phone number that is none', note('555', { channel: 'sms' }), '/recipient'],
    ['a missing variable', note('a@example.com', { variables: { subject: 'x' } }), '/variables/text'],
    ['a variable too many', note('a@example.com', { variables: { subject: 'x', text: 'y', z: 1 } }), '/variables/z'],
    ['a variable that is no text', note('a@example.com', { variables: { subject: 1, text: 'y' } }), '/variables/subject'],
    ['a variable with NUL', note('a@example.com', { variables: { subject: 'x', text: 'a\0b' } }), '/variables/text'],
    ['a subject of two lines', note('a@example.com', { variables: { subject: 'a\nBcc: b', text: 'y' } }), '/variables/subject'],
    ['no variables', note('a@example.com', { variables: undefined }), '/variables'],
    ['half an order', note('a@example.com', { template: 'order-confirmed', variables: { customerName: 'x', order: {} } }), '/variables/order/number'],
  ]; // prettier-ignore
  test.each(bad)('with %s is refused', async (_name, body, pointer) => {
    expectProblem(await send(body), 422, 'validation_failed', pointer);
  });

  test('is nothing that a customer may send, replay, or read of others', async () => {
    const { body } = await send(note('private@example.com'));
    const john = (method: string, path: string, sent?: unknown) =>
      as(stack.tokens.john, method, path, sent === undefined ? {} : { body: sent });
    expectProblem(await john('POST', '/v1/notifications', note('a@example.com')), 403, 'forbidden');
    expectProblem(await john('POST', `/v1/notifications/${body.id}/replay`), 403, 'forbidden');
    expectProblem(await john('POST', '/v1/notifications/replay', { status: 'queued' }), 403, 'forbidden');
    expectProblem(await john('GET', '/v1/notification-templates'), 403, 'forbidden');
    expectProblem(await john('GET', `/v1/notifications/${body.id}`), 404, 'not_found');
    expectProblem(await john('GET', `/v1/notifications?customerId=${JANE}`), 403, 'forbidden');
    const own = await john('GET', '/v1/notifications?limit=100');
    expect(own.body.data.length).toBeGreaterThan(0);
    for (const { customerId } of own.body.data) expect(customerId).toBe(JOHN);
  });
});

describe('a message that does not arrive', () => {
  test('bounces into a dead letter, and keeps no other waiting', async () => {
    answers.set('gone@example.com', 550);
    const gone = await Promise.all(Array.from({ length: 20 }, () => send(note('gone@example.com'))));
    const others = await Promise.all(
      Array.from({ length: 5 }, (_, index) => send(note(`other-${index}@example.com`))),
    );
    for (const { body } of others) await untilStatus(body.id, 'sent');
    for (const { body } of gone) {
      const { attempts } = await untilStatus(body.id, 'dead_letter');
      expect(attempts).toEqual([{ at: expect.any(String), error: expect.stringContaining('550') }]);
    }
    const nobody = await send(note('+14150000000', { channel: 'sms' }));
    expect((await untilStatus(nobody.body.id, 'dead_letter')).attempts).toHaveLength(1);
  });

  test('is tried again where the server refuses any mail for good, which may be mended', async () => {
    answers.set('any mail', 550);
    const { body } = await send(note('patient@example.com'));
    await eventually('it was tried', async () => {
      const tried = await staff('GET', `/v1/notifications/${body.id}`);
      return tried.body.attempts.length > 0;
    });
    answers.delete('any mail');
    const { attempts } = await untilStatus(body.id, 'sent');
    expect(attempts[0].error).toContain('550');
  });

  test('is tried by a workflow, becomes a dead letter with every error, and can be replayed', async () => {
    answers.set('busy@example.com', 451);
    const { body } = await send(note('busy@example.com'));
    const handle = stack.temporal.workflow.getHandle(`notification-${body.id}`);
    const { attempts } = await untilStatus(body.id, 'dead_letter');
    expect(attempts).toHaveLength(3);
    for (const { error } of attempts) expect(error).toContain('451');
    expect(await handle.result()).toBe('dead_letter');

    // The workflow has ended, and starts again under its ID.
    expect(await staff('POST', `/v1/notifications/${body.id}/replay`)).toMatchObject({
      status: 202,
      body: { status: 'queued' },
    });
    const more = await untilStatus(body.id, 'dead_letter');
    expect(more.attempts).toHaveLength(6);
    expect(more.attempts.slice(0, 3)).toEqual(attempts);

    answers.delete('busy@example.com');
    const headers = { 'idempotency-key': randomUUID() };
    await staff('POST', `/v1/notifications/${body.id}/replay`, {}, headers);
    expect((await untilStatus(body.id, 'sent')).attempts).toHaveLength(7);
    const repeated = await staff('POST', `/v1/notifications/${body.id}/replay`, {}, headers);
    expect(repeated).toMatchObject({ status: 202, body: { status: 'sent' } });
    expectProblem(await staff('POST', `/v1/notifications/${body.id}/replay`), 409, 'already_sent');
    expectProblem(await staff('POST', `/v1/notifications/${randomUUID()}/replay`), 404, 'not_found');
    expect(inbox.filter(({ to }) => to === 'busy@example.com')).toHaveLength(1);
  });

  test('can be replayed with all of its kind', async () => {
    answers.set('full@example.com', 552);
    const before = new Date().toISOString();
    const sent = await Promise.all(Array.from({ length: 7 }, () => send(note('full@example.com'))));
    const number = (await send(note('+14150000000', { channel: 'sms' }))).body;
    for (const { body } of [...sent, { body: number }]) await untilStatus(body.id, 'dead_letter');
    answers.delete('full@example.com');

    const replay = (body: object, headers?: Record<string, string>) =>
      staff('POST', '/v1/notifications/replay', body, headers);
    const filter = { status: 'dead_letter', channel: 'email', from: before };
    expect(await replay({ ...filter, to: before })).toMatchObject({ status: 202, body: { replayed: 0 } });
    const headers = { 'idempotency-key': randomUUID() };
    expect(await replay(filter, headers)).toMatchObject({ status: 202, body: { replayed: 7 } });
    expect(await replay(filter, headers)).toMatchObject({ status: 202, body: { replayed: 0 } });
    for (const { body } of sent) {
      expect((await untilStatus(body.id, 'sent')).attempts).toHaveLength(2);
    }
    expect((await staff('GET', `/v1/notifications/${number.id}`)).body.status).toBe('dead_letter');
    expect(inbox.filter(({ to }) => to === 'full@example.com')).toHaveLength(7);
    expectProblem(await replay({ status: 'sent' }), 422, 'validation_failed', '/status');
    expectProblem(await replay({ ...filter, from: 'yesterday' }), 422, 'validation_failed', '/from');
  });

  test('because its sender died is sent by another one', async () => {
    const { body } = await send(note('claimed@example.com'));
    await untilStatus(body.id, 'sent');
    await stack.db
      .updateTable('messaging.notifications')
      .set({ status: 'queued', claimed_until: new Date(Date.now() + 1_500), due_at: new Date() })
      .where('id', '=', body.id)
      .execute();
    const { attempts } = await untilStatus(body.id, 'sent');
    expect(attempts).toHaveLength(2);
  });
});

test('what only lies in the table is sent, with the template of its name', async () => {
  const id = randomUUID();
  await stack.db
    .insertInto('messaging.notifications')
    .values({
      id,
      channel: 'email',
      recipient: 'stock@example.com',
      template: 'low-stock',
      variables: JSON.stringify({ sku: 'MOUSE-WL', name: 'Wireless mouse', available: 3, threshold: 5 }),
      attempts: '[]',
    })
    .execute();
  expect((await untilStatus(id, 'sent')).subject).toBe('MOUSE-WL is low: 3 left');
});

describe('a list of notifications', () => {
  test('is gone through newest first, page by page', async () => {
    const listed: { id: string; createdAt: string }[] = [];
    for (let path: string | undefined = '/v1/notifications?limit=7&channel=push'; path;) {
      const { headers, body }: Answer = await staff('GET', path);
      expect(body.data.length).toBeLessThanOrEqual(7);
      listed.push(...body.data);
      path = /<(.*)>; rel="next"/.exec(headers.get('link') ?? '')?.[1];
    }
    const stored = await stack.db
      .selectFrom('messaging.notifications')
      .select('id')
      .where('channel', '=', 'push')
      .orderBy('created_at', 'desc')
      .orderBy('id', 'desc')
      .execute();
    expect(listed.map(({ id }) => id)).toEqual(stored.map(({ id }) => id));
  });

  test('refuses what it does not know', async () => {
    for (const query of [
      'channel=fax',
      'status=lost',
      'customerId=me',
      'orderId=1',
      'limit=0',
      'colour=red',
    ]) {
      expectProblem(await staff('GET', `/v1/notifications?${query}`), 400, 'invalid_query');
    }
    expectProblem(await staff('GET', '/v1/notifications?cursor=x'), 400, 'invalid_cursor');
    expectProblem(await staff('GET', '/v1/notifications/nothing'), 404, 'not_found');
  });
});

describe('templates', () => {
  const NAMES = [
    'back-in-stock',
    'cart-reminder',
    'low-stock',
    'message',
    'order-cancelled',
    'order-confirmed',
    'order-delivered',
    'order-rejected',
    'order-shipped',
    'payment-failed',
    'return-updated',
  ];

  test('are listed with their channels and what they need', async () => {
    const { status, body } = await staff('GET', '/v1/notification-templates');
    expect(status).toBe(200);
    expect(body.data.map(({ name }: { name: string }) => name)).toEqual(NAMES);
    expect(body.data.find(({ name }: { name: string }) => name === 'message')).toEqual({
      name: 'message',
      channels: ['email', 'sms', 'push'],
      variables: ['subject', 'text'],
    });
    const page = await staff('GET', '/v1/notification-templates?limit=4');
    expect(page.body.data).toHaveLength(4);
    const next = await staff('GET', `/v1/notification-templates?limit=4&cursor=${page.body.nextCursor}`);
    expect(next.body.data[0].name).toBe(NAMES[4]);
  });

  test.each(NAMES)('%s can be seen in each language for each channel', async (name) => {
    const seen = new Set<string>();
    for (const language of ['en', 'de']) {
      for (const channel of ['email', 'sms', 'push']) {
        const { status, body } = await staff(
          'GET',
          `/v1/notification-templates/${name}/preview?language=${language}&channel=${channel}`,
        );
        expect(status).toBe(200);
        expect(body.text).toMatch(/\w/);
        expect(body.html === null).toBe(channel !== 'email');
        expect(body.subject === null).toBe(channel === 'sms');
        expect(JSON.stringify(body)).not.toMatch(/undefined|\[object|NaN|\{\{/);
        if (channel !== 'email') expect(body.text.length).toBeLessThanOrEqual(160);
        seen.add(body.version);
        if (name !== 'message') seen.add(body.text);
      }
    }
    expect(seen.size).toBe(name === 'message' ? 2 : 6);
  });

  test('can be seen with variables of one’s own, which must be all it needs', async () => {
    const preview = (name: string, query: string) =>
      staff('GET', `/v1/notification-templates/${name}/preview?${query}`);
    const message = await preview('message', `subject=42&text=${encodeURIComponent('<i>&</i>')}`);
    expect(message.body).toMatchObject({ subject: '42', text: '<i>&</i>\n' });
    expect(message.body.html).toContain('&lt;i&gt;&amp;&lt;/i&gt;');
    const low = await preview('low-stock', 'sku=A&name=B&available=1&threshold=2&channel=push&language=de');
    expect(low.body.text).toBe('B (A) wird knapp: noch 1, die Schwelle ist 2.');
    const items = encodeURIComponent(JSON.stringify([{ name: 'Mouse', quantity: 1, total: 123456 }]));
    const cart = await preview('cart-reminder', `items=${items}&currency=EUR&total=123456&language=de`);
    expect(cart.body.text).toContain('1.234,56\u00a0€');

    expectProblem(await preview('message', 'subject=x'), 422, 'validation_failed', '/text');
    expectProblem(
      await preview('low-stock', 'sku=A&name=B&available=x&threshold=2'),
      422,
      'validation_failed',
      '/available',
    );
    expectProblem(await preview('message', 'subject=x&text=y&sku=z'), 422, 'validation_failed', '/sku');
    expectProblem(await preview('message', 'colour=red'), 400, 'invalid_query');
    expectProblem(await preview('message', 'language=fr'), 400, 'invalid_query');
    expectProblem(await preview('nothing', ''), 404, 'not_found');
    expectProblem(await preview('constructor', ''), 404, 'not_found');
  });
});
