import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { SMTPServer } from 'smtp-server';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { createNotificationSender } from '../activities/notification-sender.ts';
import { mockPushBooks, mockSmsBooks } from '../db/mock-messages.ts';
import { claimNotification } from '../db/notifications.ts';
import { startInbox } from '../dev/inbox.ts';
import { freePort } from '../dev/ports.ts';
import { smtpMailer } from '../providers/mail/smtp.ts';
import { renderMessage } from '../providers/messages/render.ts';
import { mockPush } from '../providers/push/mock.ts';
import { mockSms } from '../providers/sms/mock.ts';
import { orderOf } from './harness/http.ts';
import { startStack, type TestStack } from './harness/stack.ts';
import { eventually } from './harness/wait.ts';

const notificationsOf = (stack: TestStack, orderId: string) =>
  stack.db
    .selectFrom('messaging.notifications')
    .select(['id', 'event_type', 'status', 'attempts', 'subject'])
    .where('order_id', '=', orderId)
    .where('channel', '=', 'email')
    .orderBy('created_at')
    .execute();

describe('the mail server is down', () => {
  let stack: TestStack;
  let ports: { smtp: number; web: number };
  let folder: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'holdfast-mail-'));
    ports = { smtp: await freePort(), web: await freePort() };
    const parts = { ...inject('parts'), inboxUrl: `http://127.0.0.1:${ports.web}` };
    stack = await startStack({
      parts,
      environment: { SMTP_URL: `smtp://127.0.0.1:${ports.smtp}` },
    });
  });
  afterAll(async () => {
    await stack.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  test('orders are taken and cancelled as ever, readiness says so, and the mails arrive when it is back', async () => {
    const readiness = await stack.api.request('GET', '/readyz');
    expect(readiness).toMatchObject({ status: 200, body: { status: 'degraded', parts: { smtp: 'down' } } });

    const placed = await stack.api.place(stack.tokens.john, orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]));
    expect(placed).toMatchObject({ status: 201, body: { status: 'confirmed' } });
    const cancelled = await stack.api.request('DELETE', `/v1/orders/${placed.body.id}`, {
      token: stack.tokens.john,
    });
    expect(cancelled).toMatchObject({ status: 200, body: { status: 'cancelled' } });
    // The order's workflow does not wait for its mails.
    const result = await stack.temporal.workflow.getHandle(placed.body.workflowId).result();
    expect(result).toMatchObject({ status: 'cancelled' });

    const queued = await notificationsOf(stack, placed.body.id);
    expect(queued.map(({ event_type, status }) => [event_type, status])).toEqual([
      ['order.confirmed', 'queued'],
      ['order.cancelled', 'queued'],
    ]);
    for (const { id } of queued) {
      const description = await stack.temporal.workflow.getHandle(`notification-${id}`).describe();
      expect(description).toMatchObject({ type: 'notification', status: { name: 'RUNNING' } });
    }

    const inbox = await startInbox({
      smtpPort: ports.smtp,
      webPort: ports.web,
      mailDir: join(folder, 'mail'),
      logFile: join(folder, 'inbox.log'),
    });
    try {
      await eventually(
        'both mails are sent',
        async () => (await notificationsOf(stack, placed.body.id)).every(({ status }) => status === 'sent'),
        40,
      );
      const subjects = (await stack.mailsAbout(placed.body.number)).map((mail) => mail.subject);
      expect(subjects.toSorted()).toEqual([
        `We have your order ${placed.body.number}`,
        `Your order ${placed.body.number} is cancelled`,
      ]);
      const [first] = await notificationsOf(stack, placed.body.id);
      expect(first!.attempts.length).toBeGreaterThan(1);
      expect(first!.attempts[0]).toHaveProperty('error');
      expect(first!.attempts.at(-1)).not.toHaveProperty('error');
    } finally {
      await inbox.stop();
    }
  });

  test('a message that cannot be rendered is a dead letter at once, not tried for ever', async () => {
    const { body } = await stack.api.place(stack.tokens.john, orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]));
    await stack.db
      .updateTable('messaging.notifications')
      .set({ template: 'no-such-template' })
      .where('order_id', '=', body.id)
      .where('channel', '=', 'email')
      .execute();
    const [notification] = await eventually('a dead letter', async () => {
      const found = await notificationsOf(stack, body.id);
      return found[0]?.status === 'dead_letter' && found;
    });
    expect(notification!.attempts.at(-1)!.error).toContain('no-such-template');
  });
});

describe('the mail never gets through', () => {
  let stack: TestStack;
  let refused = 0;
  let server: SMTPServer;
  beforeAll(async () => {
    server = new SMTPServer({
      authOptional: true,
      disabledCommands: ['STARTTLS'],
      onRcptTo(recipient, _session, callback) {
        refused += 1;
        const permanent = recipient.address.startsWith('jane');
        callback(Object.assign(new Error('Not here'), { responseCode: permanent ? 550 : 451 }));
      },
    });
    const port = await freePort();
    server.listen(port, '127.0.0.1');
    await once(server.server, 'listening');
    stack = await startStack({
      environment: { SMTP_URL: `smtp://127.0.0.1:${port}`, NOTIFICATION_MAX_ATTEMPTS: '3' },
    });
  });
  afterAll(async () => {
    await stack.stop();
    server.close();
  });

  test('after the last attempt it is a dead letter with the error of each', async () => {
    const { body } = await stack.api.place(stack.tokens.john, orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]));
    expect(body.status).toBe('confirmed');
    const [notification] = await eventually(
      'a dead letter',
      async () => {
        const found = await notificationsOf(stack, body.id);
        return found[0]?.status === 'dead_letter' && found;
      },
      40,
    );
    expect(notification!.attempts).toHaveLength(3);
    for (const attempt of notification!.attempts) expect(attempt.error).toContain('451');
    const result = await stack.temporal.workflow.getHandle(`notification-${notification!.id}`).result();
    expect(result).toBe('dead_letter');
  });

  test('a permanent refusal is a dead letter at once', async () => {
    const before = refused;
    const { body } = await stack.api.place(stack.tokens.jane, orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]));
    const [notification] = await eventually('a dead letter', async () => {
      const found = await notificationsOf(stack, body.id);
      return found[0]?.status === 'dead_letter' && found;
    });
    expect(notification!.attempts).toHaveLength(1);
    expect(refused).toBe(before + 1);
  });
});

describe('the mail server is slow', () => {
  let stack: TestStack;
  let server: SMTPServer;
  let url: string;
  /** How long it takes for each of its answers. */
  let pauseMs = 0;
  /** While it acknowledges no mail, those it has. */
  let held: (() => void)[] | undefined;
  const arrived: string[] = [];
  beforeAll(async () => {
    const answer = (callback: () => void) => void setTimeout(callback, pauseMs);
    server = new SMTPServer({
      authOptional: true,
      disabledCommands: ['STARTTLS'],
      onConnect: (_session, callback) => answer(callback),
      onMailFrom: (_address, _session, callback) => answer(callback),
      onRcptTo: (_address, _session, callback) => answer(callback),
      onData(stream, { envelope }, callback) {
        stream.resume().once('end', () => {
          arrived.push(...envelope.rcptTo.map(({ address }) => address));
          if (held) held.push(callback);
          else answer(callback);
        });
      },
    });
    const port = await freePort();
    url = `smtp://127.0.0.1:${port}`;
    server.listen(port, '127.0.0.1');
    await once(server.server, 'listening');
    stack = await startStack({ environment: { SMTP_URL: url } });
  });
  afterAll(async () => {
    await stack.stop();
    server.close();
  });

  const write = async (recipients: string[], more: { due_at?: null } = {}) => {
    const variables = JSON.stringify({ subject: 'Hello', text: 'There.' });
    const rows = recipients.map((recipient) => ({
      id: randomUUID(),
      channel: 'email' as const,
      recipient,
      template: 'message',
      variables,
      attempts: '[]',
      ...more,
    }));
    await stack.db.insertInto('messaging.notifications').values(rows).execute();
    return rows.map(({ id }) => id);
  };
  const find = (ids: string[]) =>
    stack.db
      .selectFrom('messaging.notifications')
      .select(['status', 'claimed_until', 'attempts'])
      .where('id', 'in', ids)
      .execute();
  const untilSent = (ids: string[]) =>
    eventually('all are sent', async () => {
      const found = await find(ids);
      return found.every(({ status }) => status === 'sent') && found;
    });

  test('what cannot be sent yet is claimed by nobody, so that no claim runs out while it waits', async () => {
    const recipients = Array.from({ length: 12 }, (_, index) => `waiting-${index}@example.com`);
    const acknowledge = (held = []);
    const ids = await write(recipients);
    await eventually('the server has some', () => acknowledge.length === 4);
    expect((await find(ids)).filter(({ claimed_until }) => claimed_until !== null)).toHaveLength(4);
    held = undefined;
    for (const taken of acknowledge as (() => void)[]) taken();
    await untilSent(ids);
    expect(arrived.filter((one) => one.startsWith('waiting')).toSorted()).toEqual(recipients.toSorted());
  });

  test('a server that takes its time for everything gets each mail once', async () => {
    pauseMs = 2_600;
    const recipients = Array.from({ length: 4 }, (_, index) => `steady-${index}@example.com`);
    const ids = await write(recipients);
    const claims = async () => (await find(ids)).map(({ claimed_until: until }) => until?.getTime() ?? 0);
    const first = await eventually('all are claimed', async () => {
      const found = await claims();
      return !found.includes(0) && Math.max(...found);
    });
    await eventually('who is at it renews the claims', async () => Math.min(...(await claims())) > first);
    for (const { attempts } of await untilSent(ids)) expect(attempts).toHaveLength(1);
    expect(arrived.filter((one) => one.startsWith('steady')).toSorted()).toEqual(recipients.toSorted());
    pauseMs = 0;
  });

  test('a server that does not greet is told by /readyz, and orders are taken', async () => {
    const isReady = async (status: string, smtp: string) => {
      const { status: code, body } = await stack.api.request('GET', '/readyz');
      return code === 200 && body.status === status && body.parts.smtp === smtp;
    };
    pauseMs = 60_000;
    await eventually('it is down', () => isReady('degraded', 'down'));
    const { body } = await stack.api.place(stack.tokens.john, orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]));
    expect(body.status).toBe('confirmed');
    pauseMs = 0;
    await eventually('it is up', () => isReady('ok', 'ok'));
  });

  test('a server that answers for ever is given up in time', async () => {
    const dribbling = createServer((socket) => {
      socket.write('220 mail.example.com\r\n');
      const answering = setInterval(() => socket.write('250-one more\r\n'), 50);
      socket
        .resume()
        .on('error', () => undefined)
        .once('close', () => clearInterval(answering));
    });
    dribbling.listen(0, '127.0.0.1');
    await once(dribbling, 'listening');
    const { port } = dribbling.address() as AddressInfo;
    const mailer = smtpMailer(`smtp://127.0.0.1:${port}`, 'Holdfast <orders@example.com>');
    const mail = { id: randomUUID(), to: 'never@example.com', subject: 'Hello', text: 'There.', html: '' };
    await expect(mailer.send(mail, AbortSignal.timeout(500))).rejects.toMatchObject({ name: 'AbortError' });
    mailer.close();
    await promisify(dribbling.close.bind(dribbling))();
  });

  test('what was claimed too long ago is left to the next sender', async () => {
    const [id] = await write(['late@example.com'], { due_at: null });
    const claimed = await claimNotification(stack.db, id!);
    if (typeof claimed === 'string') throw new Error(claimed);
    const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
    const [sms, push] = [mockSms(mockSmsBooks(stack.db)), mockPush(mockPushBooks(stack.db))];
    const mailer = smtpMailer(url, 'Holdfast <orders@example.com>');
    const sender = createNotificationSender({ db: stack.db, log, mailer, sms, push, maxAttempts: 3 });
    expect(await sender.send({ ...claimed, tooLate: AbortSignal.abort() })).toBe('held');
    mailer.close();
    const [sent] = await untilSent([id!]);
    expect(sent!.attempts).toHaveLength(1);
    expect(arrived.filter((one) => one === 'late@example.com')).toHaveLength(1);
  });
});

describe('what a mail says', () => {
  const order = {
    number: 'ABCDE-12345',
    currency: 'EUR',
    total: 123456,
    lines: [{ name: '<script>alert(1)</script>', quantity: 2, total: 123456 }],
    shippingAddress: { name: 'A & B', line1: '1 "Street"', postalCode: '1', city: 'X', country: 'DE' },
    cancellation: { reason: '<b>bold</b>\r\nBcc: everybody@example.com' },
  };
  const variables = { customerName: '<i>Eve</i>', order };

  test('is escaped in HTML and plain in text', () => {
    const { html, text } = renderMessage('order-confirmed', 'email', 'en', variables);
    expect(html).not.toMatch(/<script>|<i>Eve|"Street"/);
    expect(html).toContain('&lt;script&gt;');
    expect(text).toContain('<script>alert(1)</script>');
    expect(text).toContain('1 "Street"');
  });

  const units = [{ quantity: 2, name: '<b>Laptop</b>' }];
  const messages: [string, Record<string, unknown>, string, string[]][] = [
    ['order-cancelled', {}, 'Your order ABCDE-12345 is cancelled', ['Nothing of your order']],
    [
      'order-cancelled',
      { units, reason: 'too many' },
      'A part of your order ABCDE-12345 is cancelled',
      ['- 2 × <b>Laptop</b>', 'Reason: too many'],
    ],
    [
      'order-shipped',
      { units, carrier: 'UPS', trackingNumber: '1Z 42' },
      'Your order ABCDE-12345 is on its way',
      ['- 2 × <b>Laptop</b>', 'UPS', '1Z 42'],
    ],
    [
      'order-shipped',
      { units, carrier: '<i>UPS</i>', trackingNumber: null },
      'Your order ABCDE-12345 is on its way',
      ['<i>UPS</i>'],
    ],
    ['order-delivered', {}, 'Your order ABCDE-12345 has arrived', ['delivered']],
    [
      'payment-failed',
      { order: { ...order, rejection: { code: 'payment_declined', detail: 'Your card was declined.' } } },
      'The payment for your order ABCDE-12345 did not go through',
      ['Your card was declined.'],
    ],
    [
      'payment-failed',
      {},
      'The payment for your order ABCDE-12345 did not go through',
      ['did not come in time', 'nothing was charged'],
    ],
    [
      'return-updated',
      { returnStatus: 'approved' },
      'Your return for order ABCDE-12345 is approved',
      ['approved'],
    ],
    [
      'message',
      { subject: 'Late: <b>42</b>', text: 'It is <i>late</i>.' },
      'Late: <b>42</b>',
      ['<i>late</i>'],
    ],
  ];
  test.each(messages)(
    '%s with %j: its subject, its text, and HTML of the same',
    (template, more, subject, says) => {
      const mail = renderMessage(template, 'email', 'en', { ...variables, ...more });
      expect(mail.subject).toBe(subject);
      for (const said of says) expect(mail.text).toContain(said);
      expect(mail.html).not.toMatch(/<b>Laptop|<i>|<script>|undefined|null/);
      expect(mail.text).not.toMatch(/undefined|null|\[object/);
    },
  );

  test('writes money as the reader does', () => {
    expect(renderMessage('order-confirmed', 'email', 'en', variables).text).toContain('€1,234.56');
    expect(renderMessage('order-confirmed', 'email', 'de', variables).text).toContain('1.234,56\u00a0€');
    const yen = { ...variables, order: { ...order, currency: 'JPY' } };
    expect(renderMessage('order-confirmed', 'email', 'en', yen).text).toContain('¥123,456');
  });

  test('has a subject of one line', () => {
    const named = { ...variables, order: { ...order, number: 'A\r\nBcc: eve@example.com' } };
    expect(renderMessage('order-cancelled', 'email', 'en', named).subject).not.toMatch(/[\r\n]/);
  });

  test('is refused when a variable is missing', () => {
    expect(() => renderMessage('order-confirmed', 'email', 'en', { customerName: 'x' })).toThrow(
      'not defined',
    );
    expect(() => renderMessage('no-such-template', 'email', 'en', variables)).toThrow('no-such-template');
  });
});
