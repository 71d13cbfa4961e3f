import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import { decodeProtectedHeader } from 'jose';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createApiKeys } from '../api/api-keys.ts';
import { createCallers } from '../api/callers.ts';
import { givenKeyRing } from '../api/key-ring.ts';
import { accessTokens } from '../api/tokens.ts';
import { rotateSigningKey } from '../db/signing-keys.ts';
import { address, type Answer, type Api, orderOf } from './harness/http.ts';
import { expectStockAddsUp } from './harness/invariants.ts';
import { conforming } from './harness/openapi.ts';
import { expectProblem } from './harness/problems.ts';
import { JWT_SECRET, startStack, type TestStack } from './harness/stack.ts';
import { eventually } from './harness/wait.ts';

const REQUESTS_A_MINUTE = 300;
const LOGINS_A_MINUTE = 5;
const PASSWORD = 'correct horse';
const run = promisify(execFile);

let stack: TestStack;
let api: Api;
/** Two processes on the same database that sign with its keys, and limit their callers. */
let pair: [Api, Api];
let logOfFirst: () => string;
beforeAll(async () => {
  stack = await startStack();
  const environment = {
    JWT_SECRET: '',
    RATE_LIMIT_PER_MINUTE: String(REQUESTS_A_MINUTE),
    LOGIN_LIMIT_PER_MINUTE: String(LOGINS_A_MINUTE),
    API_WORKER: 'false',
  };
  const [one, two] = await Promise.all([stack.startApi(environment), stack.startApi(environment)]);
  pair = [one.api, two.api];
  logOfFirst = one.process.log;
  api = await conforming(stack.api);
});
afterAll(async () => {
  await expectStockAddsUp(stack.db);
  await stack.stop();
});

const newEmail = (): string => `${randomUUID().slice(0, 8)}@example.org`;
const register = (body: object, headers: Record<string, string> = {}): Promise<Answer> =>
  api.request('POST', '/v1/auth/register', { body, headers });
const login = (email: string, password = PASSWORD, at = api): Promise<Answer> =>
  at.request('POST', '/v1/auth/login', { body: { email, password } });

/** A customer of its own for a test. */
async function newCustomer(name = 'Nora Newcomer') {
  const email = newEmail();
  const { id } = (await register({ email, password: PASSWORD, name })).body as { id: string };
  const { accessToken, refreshToken } = (await login(email)).body as Record<string, string>;
  return { id, email, token: accessToken!, refreshToken: refreshToken! };
}

const statuses = (answers: Answer[]): number[] =>
  answers.map(({ status }) => status).toSorted((one, other) => one - other);
const times = <T>(count: number, act: (index: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => act(index)));

describe('registering', () => {
  test('makes a customer that can log in, read itself and place an order', async () => {
    const email = newEmail();
    const registered = await register({ email, password: PASSWORD, name: 'Nora Newcomer' });
    expect(registered).toMatchObject({ status: 201, body: { email, name: 'Nora Newcomer', version: 1 } });
    expect(JSON.stringify(registered.body)).not.toMatch(/password|hash/i);
    expect(registered.headers.get('location')).toBe(`/v1/customers/${registered.body.id}`);

    const token = (await login(email.toUpperCase())).body.accessToken as string;
    const me = await api.request('GET', '/v1/customers/me', { token });
    expect(me).toMatchObject({ status: 200, body: registered.body });
    expect(me.headers.get('etag')).toBe('"1"');
    const placed = await stack.api.place(token, orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]));
    expect(placed).toMatchObject({ status: 201, body: { customerId: registered.body.id } });
    expect((await api.request('GET', '/v1/customers', { token })).status).toBe(403);
  });

  test('stores the password as an argon2id hash only', async () => {
    const { id } = await newCustomer();
    const { rows } = await sql<object>`select * from identity.users where id = ${id}`.execute(stack.db);
    expect(JSON.stringify(rows)).toContain('$argon2id$');
    expect(JSON.stringify(rows)).not.toContain(PASSWORD);
  });

  test('twice with one email, in whatever case, is refused', async () => {
    const { email } = await newCustomer();
    for (const again of [email, email.toUpperCase()])
      expectProblem(await register({ email: again, password: PASSWORD, name: 'X' }), 409, 'email_taken');
    const admins = await register({ email: 'ADMIN@example.com', password: PASSWORD, name: 'X' });
    expectProblem(admins, 409, 'email_taken');
  });

  test('ten times at once makes one account', async () => {
    const email = newEmail();
    const answers = await times(10, (index) =>
      register({ email, password: `password ${index}`, name: `Racer ${index}` }),
    );
    expect(statuses(answers)).toEqual([201, ...Array.from({ length: 9 }, () => 409)]);
    const winner = answers.findIndex(({ status }) => status === 201);
    expect((await login(email, `password ${winner}`)).status).toBe(200);
  });

  test('repeated with its Idempotency-Key, also at once, is one registration', async () => {
    const body = { email: newEmail(), password: PASSWORD, name: 'Rita Repeat' };
    const key = { 'idempotency-key': 'register-1' };
    const answers = await times(5, () => register(body, key));
    expect(statuses(answers)).toEqual([201, 201, 201, 201, 201]);
    expect(new Set(answers.map((answer) => answer.body.id)).size).toBe(1);
    expect(answers.filter(({ headers }) => headers.get('idempotent-replayed') === 'true')).toHaveLength(4);
    for (const other of [{ password: 'another password' }, { name: 'Other' }])
      expectProblem(await register({ ...body, ...other }, key), 422, 'idempotency_key_reused');
    const somebodyElse = await register({ ...body, email: newEmail() }, key);
    expect(somebodyElse.status).toBe(201);
    expect(somebodyElse.body.id).not.toBe(answers[0]!.body.id);
  });

  test.each([
    [{ password: 'short12' }, '/password'],
    [{ password: 'x'.repeat(1001) }, '/password'],
    [{ password: 'lone \ud800 surrogate' }, '/password'],
    [{ password: 12345678 }, '/password'],
    [{ email: 'nobody' }, '/email'],
    [{ email: `${'x'.repeat(250)}@example.org` }, '/email'],
    [{ email: 'a\0b@example.org' }, '/email'],
    [{ name: ' ' }, '/name'],
    [{ name: 'a\0b' }, '/name'],
    [{ role: 'admin' }, '/role'],
  ])('with a wrong body is told where: case %#', async (wrong, pointer) => {
    const body = { email: newEmail(), password: PASSWORD, name: 'Nora', ...wrong };
    expectProblem(await register(body), 422, 'validation_failed', pointer);
  });

  test('keeps every password there may be', async () => {
    for (const password of [
      '12345678',
      'x'.repeat(1000),
      'nul \0 inside',
      '\u{1f600}'.repeat(8),
      '        ',
    ]) {
      const email = newEmail();
      expect((await register({ email, password, name: 'Nora' })).status).toBe(201);
      expect((await login(email, password)).status).toBe(200);
      expect((await login(email, `${password}x`)).status).toBeGreaterThanOrEqual(401);
    }
  });
});

test('twenty logins at once with the right password are all let in', async () => {
  const { email } = await newCustomer();
  expect(statuses(await times(20, () => login(email)))).toEqual(Array.from({ length: 20 }, () => 200));
});

describe('customers', () => {
  const admin = (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
    api.request(method, path, { token: stack.tokens.admin, body, headers });

  test('are made, read, replaced, changed and listed by an admin', async () => {
    const email = newEmail();
    const made = await admin('POST', '/v1/customers', { email, name: 'Ada Lovelace', password: PASSWORD });
    expect(made.status).toBe(201);
    const path = `/v1/customers/${made.body.id}`;
    expect(made.headers.get('location')).toBe(path);
    expect((await login(email)).status).toBe(200);
    expect((await admin('GET', path)).body).toEqual(made.body);
    expectProblem(await api.request('GET', path, { token: stack.tokens.staff }), 403, 'forbidden');

    const other = newEmail();
    const put = await admin('PUT', path, { email: other, name: 'Ada King' });
    expect(put).toMatchObject({ status: 200, body: { email: other, name: 'Ada King', version: 2 } });
    const patched = await admin('PATCH', path, { name: 'Ada Byron' });
    expect(patched).toMatchObject({ status: 200, body: { email: other, name: 'Ada Byron', version: 3 } });
    expect(patched.headers.get('etag')).toBe('"3"');
    expect((await admin('PATCH', path, { name: 'Ada Byron' })).body.version).toBe(3);
    expectProblem(await admin('PATCH', path, {}), 422, 'validation_failed');
    expectProblem(await admin('PATCH', path, { email: 'JOHN.smith@example.com' }), 409, 'email_taken');
    expectProblem(await admin('POST', '/v1/customers', { email: other, name: 'X' }), 409, 'email_taken');
    expect((await admin('PATCH', path, { email: other.toUpperCase() })).status).toBe(200);
    expect((await login(other)).status).toBe(200);
  });

  test('are made once for an Idempotency-Key', async () => {
    const key = { 'idempotency-key': randomUUID() };
    const body = { email: newEmail(), name: 'Once', password: PASSWORD };
    const answers = await times(3, () => admin('POST', '/v1/customers', body, key));
    expect(statuses(answers)).toEqual([201, 201, 201]);
    expect(new Set(answers.map((answer) => answer.body.id)).size).toBe(1);
    const other = await admin('POST', '/v1/customers', { ...body, name: 'Twice' }, key);
    expectProblem(other, 422, 'idempotency_key_reused');
  });

  test('are not made again with another password for the same Idempotency-Key', async () => {
    for (const [password, others] of [
      [PASSWORD, ['another horse', undefined]],
      [undefined, [PASSWORD]],
    ] as const) {
      const key = { 'idempotency-key': randomUUID() };
      const body = { email: newEmail(), name: 'Once', password };
      const { id } = (await admin('POST', '/v1/customers', body, key)).body as { id: string };
      for (const other of others) {
        const answer = await admin('POST', '/v1/customers', { ...body, password: other }, key);
        expectProblem(answer, 422, 'idempotency_key_reused');
        expect(answer.headers.get('idempotent-replayed')).toBeNull();
      }
      const again = await admin('POST', '/v1/customers', body, key);
      expect(again).toMatchObject({ status: 201, body: { id } });
      expect(again.headers.get('idempotent-replayed')).toBe('true');
    }
  });

  test('are changed only at the version that If-Match names, also by two at once', async () => {
    const { id } = await newCustomer();
    const change = (name: string, tag: string) =>
      admin('PATCH', `/v1/customers/${id}`, { name }, { 'if-match': tag });
    expect(statuses(await times(2, (index) => change(`Name ${index}`, '"1"')))).toEqual([200, 412]);
    expectProblem(await change('Late', '"1"'), 412, 'version_conflict');
    expectProblem(await change('Bad', 'nonsense'), 400, 'invalid_header');
    expect((await change('One of them', '"1", "2"')).status).toBe(200);
    expectProblem(await change('Neither', '"1", "2"'), 412, 'version_conflict');
    const stale = { token: stack.tokens.admin, headers: { 'if-match': '"1"' } };
    expectProblem(await api.request('DELETE', `/v1/customers/${id}`, stale), 412, 'version_conflict');
  });

  test('are listed newest first, page by page, and found by the start of a name, a last name or an email', async () => {
    const surname = `Q${randomUUID().slice(0, 6)}`;
    const ids: string[] = [];
    for (const first of ['Anna', 'Bert', 'Cleo']) {
      const body = { email: newEmail(), name: `${first} ${surname}` };
      ids.unshift((await admin('POST', '/v1/customers', body)).body.id as string);
    }
    const list = (query: string) =>
      api.request('GET', `/v1/customers?${query}`, { token: stack.tokens.admin });
    const found = await list(`q=${surname.toLowerCase()}&limit=2`);
    expect(found.body.data.map(({ id }: { id: string }) => id)).toEqual(ids.slice(0, 2));
    expect(found.headers.get('link')).toContain('rel="next"');
    const rest = await list(`q=${surname}&limit=2&cursor=${found.body.nextCursor}`);
    expect(rest.body).toMatchObject({ data: [{ id: ids[2] }], nextCursor: null });
    expect((await list(`q=anna ${surname.slice(0, 3)}`)).body.data).toMatchObject([{ id: ids[2] }]);
    expect((await list('q=john.smith@')).body.data).toMatchObject([{ name: 'John Smith' }]);
    expect((await list('q=staff@')).body.data).toEqual([]);
    expect((await list('q=%25')).body.data).toEqual([]);
    expect((await list('limit=3')).body.data.map(({ id }: { id: string }) => id)).toEqual(ids);
    expectProblem(await list('cursor=nonsense'), 400, 'invalid_cursor');
    expectProblem(await list('q=%00'), 400, 'invalid_query');
    expectProblem(await list('name=x'), 400, 'invalid_query');
  });

  test('change themselves, and nobody else exists for them', async () => {
    const { id, token } = await newCustomer();
    const changed = await api.request('PATCH', '/v1/customers/me', { token, body: { name: 'Renamed' } });
    expect(changed).toMatchObject({ status: 200, body: { id, name: 'Renamed' } });
    const path = `/v1/customers/${id}`;
    const asJane = (method: string, body?: unknown) =>
      api.request(method, path, { token: stack.tokens.jane, body });
    for (const answer of [
      await asJane('GET'),
      await asJane('PATCH', { name: 'Mine' }),
      await asJane('PUT', { name: 'Mine', email: newEmail() }),
      await asJane('DELETE'),
    ])
      expectProblem(answer, 404, 'not_found');
    expect((await api.request('GET', path, { token })).body).toEqual(changed.body);
  });
});

describe('the addresses of a customer', () => {
  test('are added, listed newest first, replaced and removed', async () => {
    const { id, token } = await newCustomer();
    const call = (method: string, path = '', body?: unknown, headers: Record<string, string> = {}) =>
      api.request(method, `/v1/customers/me/addresses${path}`, { token, body, headers });
    const first = await call('POST', '', address);
    expect(first).toMatchObject({ status: 201, body: address });
    expect(first.headers.get('location')).toBe(`/v1/customers/${id}/addresses/${first.body.id}`);
    const key = { 'idempotency-key': 'second' };
    const seconds = await times(2, () => call('POST', '', { ...address, line2: 'Back door' }, key));
    expect(statuses(seconds)).toEqual([201, 201]);
    const second = seconds[0]!;
    const named = await api.request('POST', `/v1/customers/${id}/addresses`, {
      token,
      body: { ...address, line2: 'Back door' },
      headers: key,
    });
    for (const again of [seconds[1]!, named]) expect(again.body.id).toBe(second.body.id);

    const page = await call('GET', '?limit=1');
    expect(page.body.data).toEqual([second.body]);
    expect((await call('GET', `?cursor=${page.body.nextCursor}`)).body).toEqual({
      data: [first.body],
      nextCursor: null,
    });
    const moved = await call('PUT', `/${first.body.id}`, { ...address, city: 'Shelbyville' });
    expect(moved).toMatchObject({ status: 200, body: { id: first.body.id, city: 'Shelbyville' } });
    expect((await call('GET', `/${first.body.id}`)).body).toEqual(moved.body);
    expectProblem(await call('PUT', `/${first.body.id}`, { city: 'X' }), 422, 'validation_failed', '/name');
    expect((await call('DELETE', `/${first.body.id}`)).status).toBe(204);
    expectProblem(await call('DELETE', `/${first.body.id}`), 404, 'not_found');
    expectProblem(await call('GET', `/${first.body.id}`), 404, 'not_found');
    expect((await call('GET')).body.data).toEqual([second.body]);
  });

  test('are nobody else’s, and an admin reads them', async () => {
    const { id, token } = await newCustomer();
    const mine = await api.request('POST', '/v1/customers/me/addresses', { token, body: address });
    const path = `/v1/customers/${id}/addresses/${mine.body.id}`;
    for (const [method, body] of [
      ['GET', undefined],
      ['PUT', address],
      ['DELETE', undefined],
    ] as const) {
      expectProblem(await api.request(method, path, { token: stack.tokens.jane, body }), 404, 'not_found');
      const asTheirs = path.replace(id, 'me');
      const answer = await api.request(method, asTheirs, { token: stack.tokens.jane, body });
      expectProblem(answer, 404, 'not_found');
    }
    expect((await api.request('GET', path, { token: stack.tokens.admin })).body).toEqual(mine.body);
    const nobody = `/v1/customers/${randomUUID()}/addresses`;
    expectProblem(await api.request('GET', nobody, { token: stack.tokens.admin }), 404, 'not_found');
    expectProblem(
      await api.request('POST', nobody, { token: stack.tokens.admin, body: address }),
      404,
      'not_found',
    );
  });
});

describe('a customer who leaves', () => {
  const everythingAbout = async (id: string): Promise<string> => {
    const { rows } = await sql<object>`
      select (select jsonb_agg(users) from identity.users where id = ${id}::uuid) as users,
        (select jsonb_agg(book) from identity.customer_addresses as book where customer_id = ${id}::uuid) as addresses,
        (select jsonb_agg(token) from identity.refresh_tokens as token where user_id = ${id}::uuid) as tokens,
        (select jsonb_agg(told) from messaging.notifications as told where customer_id = ${id}::uuid) as notifications,
        (select jsonb_agg(pushed) from messaging.push_messages as pushed where recipient = ${id}) as pushes,
        (select jsonb_agg(orders) from ordering.orders where customer_id = ${id}::uuid) as orders
    `.execute(stack.db);
    return JSON.stringify(rows[0]);
  };
  const remove = (id: string, token = stack.tokens.admin) =>
    api.request('DELETE', `/v1/customers/${id}`, { token });

  test('is forgotten at once, and its orders stay; those under way keep their address until they end', async () => {
    const { id, email, token, refreshToken } = await newCustomer('Ferdinand Forget');
    const order = orderOf([{ sku: 'MOUSE-WL', quantity: 1 }], {
      shippingAddress: { ...address, name: 'Ferdinand Forget', line1: '7 Secret Lane' },
      note: 'Ring at Secret Neighbours',
    });
    const [ended, open] = [await stack.api.place(token, order), await stack.api.place(token, order)];
    await api.request('DELETE', `/v1/orders/${ended.body.id}`, { token });
    await api.request('POST', '/v1/customers/me/addresses', { token, body: order.shippingAddress });
    await eventually(
      'its mails are sent',
      async () => (await everythingAbout(id)).split('"sent"').length > 3,
    );

    expect(await api.request('DELETE', '/v1/customers/me', { token })).toMatchObject({
      status: 204,
      body: '',
    });
    const left = await everythingAbout(id);
    expect(left).not.toContain(email);
    expect(left).toContain('"tokens":null');
    expect(left).toContain('"addresses":null');
    expect(left).toContain('"pushes":null');
    const read = async (orderId: string) =>
      (await api.request('GET', `/v1/orders/${orderId}`, { token: stack.tokens.staff })).body;
    expect(await read(ended.body.id)).toMatchObject({
      customerId: id,
      status: 'cancelled',
      total: ended.body.total,
      lines: [{ sku: 'MOUSE-WL' }],
      shippingAddress: { name: '(deleted)', line1: '(deleted)', country: 'US' },
    });
    expect(await read(ended.body.id)).not.toHaveProperty('note');
    expect(await read(open.body.id)).toMatchObject({ shippingAddress: order.shippingAddress });

    expectProblem(await api.request('GET', '/v1/customers/me', { token }), 401, 'unauthenticated');
    expectProblem(await stack.api.place(token, order), 401, 'unauthenticated');
    expectProblem(await login(email), 401, 'invalid_credentials');
    const refreshed = await api.request('POST', '/v1/auth/refresh', { body: { refreshToken } });
    expectProblem(refreshed, 401, 'unauthenticated');
    const forIt = await stack.api.place(stack.tokens.staff, { ...order, customerId: id });
    expectProblem(forIt, 422, 'validation_failed', '/customerId');
    for (const [method, body] of [['GET'], ['PATCH', { name: 'X' }]] as const) {
      const answer = await api.request(method, `/v1/customers/${id}`, { token: stack.tokens.admin, body });
      expectProblem(answer, 404, 'not_found');
    }
    expect((await remove(id)).status).toBe(204);
    expect((await register({ email, password: PASSWORD, name: 'Somebody new' })).status).toBe(201);

    await api.request('DELETE', `/v1/orders/${open.body.id}`, { token: stack.tokens.staff });
    expect(await everythingAbout(id)).toContain('Secret Lane');
    await sql`
      insert into messaging.push_messages (id, recipient, title, body)
      values (${randomUUID()}, ${id}, 'Late', 'For Ferdinand')
    `.execute(stack.db);
    await sql`update identity.users set erase_at = now() where id = ${id}::uuid`.execute(stack.db);
    await stack.temporal.schedule.getHandle('reconcile').trigger();
    await eventually(
      'what is left is erased',
      async () => !/Secret|Ferdinand/.test(await everythingAbout(id)),
    );
    expect(await read(open.body.id)).toMatchObject({ status: 'cancelled', customerId: id });
  });

  test('gets none of the messages that were not sent yet, also when the staff replays them', async () => {
    const before = new Date().toISOString();
    const { id, email } = await newCustomer();
    const staff = (method: string, path: string, body?: unknown) =>
      api.request(method, `/v1/notifications${path}`, { token: stack.tokens.staff, body });
    const row = { channel: 'email', template: 'message', language: 'en' } as const;
    const variables = JSON.stringify({ subject: 'Hello', text: 'There.' });
    const far = { due_at: new Date(Date.now() + 3_600_000), variables, attempts: '[]' };
    const phone = '+14155550142';
    const preferences = { channels: { email: true, sms: true, push: true }, language: 'en', phone };
    await api.request('PUT', `/v1/customers/${id}/notification-preferences`, {
      token: stack.tokens.admin,
      body: preferences,
    });
    const [known, guest, called] = [randomUUID(), randomUUID(), randomUUID()];
    await stack.db
      .insertInto('messaging.notifications')
      .values([
        { ...row, ...far, id: known, recipient: email, customer_id: id },
        { ...row, ...far, id: guest, recipient: email },
        { ...row, ...far, id: called, channel: 'sms', recipient: phone },
      ])
      .execute();
    await remove(id);
    for (const one of [known, guest, called]) {
      const refused = await staff('POST', `/${one}/replay`);
      expectProblem(refused, 409, 'invalid_transition');
      expect(refused.body.currentStatus).toBe('dead_letter');
    }
    const all = await staff('POST', '/replay', { status: 'dead_letter', from: before });
    expect(all).toMatchObject({ status: 202, body: { replayed: 0 } });
    for (const one of [known, guest, called]) {
      expect((await staff('GET', `/${one}`)).body).toMatchObject({
        recipient: '(deleted)',
        status: 'dead_letter',
        attempts: [],
      });
    }
  });

  test('is not registered again by the same request, but may register anew', async () => {
    const body = { email: newEmail(), password: PASSWORD, name: 'Rita Return' };
    const key = { 'idempotency-key': randomUUID() };
    const { id } = (await register(body, key)).body as { id: string };
    await remove(id);
    expectProblem(await register(body, key), 404, 'not_found');
    const anew = await register(body, { 'idempotency-key': randomUUID() });
    expect(anew.status).toBe(201);
    expect(anew.body.id).not.toBe(id);
    expectProblem(await register(body, key), 409, 'email_taken');
  });

  test('is known to have left by other processes soon', async () => {
    const { id, email } = await newCustomer();
    const token = (await login(email, PASSWORD, pair[0])).body.accessToken as string;
    const ask = () => pair[0].request('GET', '/v1/customers/me', { token });
    expect((await ask()).status).toBe(200);
    await remove(id);
    await eventually('the other process refuses', async () => (await ask()).status === 401, 10);
  });

  test('is known to have left by a process that starts, from its first answer', async () => {
    const { id, token } = await newCustomer();
    await remove(id);
    const { api: started, process: another } = await stack.startApi({ API_WORKER: 'false' });
    const answer = await started.request('GET', '/v1/customers/me', { token });
    expectProblem(answer, 401, 'unauthenticated');
    await another.stop();
  });

  test('while a process reads who has left is known to it', async () => {
    const tokens = accessTokens(givenKeyRing(JWT_SECRET, []));
    const callers = createCallers({ db: stack.db, tokens, apiKeys: createApiKeys(stack.db) });
    const leaver = { id: randomUUID(), role: 'customer' } as const;
    const token = await tokens.issue(leaver);
    const reading = callers.refresh();
    expect(await callers.verify(token)).toMatchObject(leaver);
    callers.forget(leaver.id);
    await reading;
    await expect(callers.verify(token)).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  test('while it places orders: each order that was taken is there and ends, none is half', async () => {
    const { id, token } = await newCustomer();
    await stack.stock('LEAVING', 50);
    const place = () => stack.api.place(token, orderOf([{ sku: 'LEAVING', quantity: 1 }]));
    const before = times(8, place);
    const removing = times(3, () => remove(id));
    const [removed, answers] = [await removing, [...(await before), ...(await times(4, place))]];
    expect(statuses(removed)).toEqual([204, 204, 204]);
    expect(answers.filter(({ status }) => ![201, 202, 401, 422].includes(status))).toEqual([]);
    const taken = answers.filter(({ status }) => status < 300).map(({ body }) => body.id);
    for (const orderId of taken)
      await eventually('the order is settled', async () => {
        const read = await api.request('GET', `/v1/orders/${orderId}`, { token: stack.tokens.staff });
        return read.status === 200 && read.body.status !== 'pending';
      });
    const orders = await stack.db
      .selectFrom('ordering.orders')
      .select('id')
      .where('customer_id', '=', id)
      .execute();
    expect(orders.map((order) => order.id).toSorted()).toEqual(taken.toSorted());
  });
});

describe('an API key', () => {
  const admin = (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
    api.request(method, path, { token: stack.tokens.admin, body, headers });
  const create = (body: object, headers: Record<string, string> = {}) =>
    admin('POST', '/v1/api-keys', { name: 'Warehouse', role: 'staff', ...body }, headers);
  const readStock = (token: string, at: Api = api) => at.request('GET', '/v1/inventory?limit=1', { token });

  test('is shown once, works by its role, and places orders', async () => {
    const made = await create({});
    expect(made).toMatchObject({ status: 201, body: { name: 'Warehouse', role: 'staff', lastUsedAt: null } });
    expect(made.headers.get('cache-control')).toBe('no-store');
    const { id, key } = made.body as { id: string; key: string };
    expect(key).toMatch(/^hfk_[\w-]{43}$/);
    const list = await admin('GET', '/v1/api-keys');
    expect(list.body.data[0]).toMatchObject({ id, name: 'Warehouse' });
    expect(JSON.stringify(list.body)).not.toContain(key);
    const { rows } = await sql<object>`select * from identity.api_keys`.execute(stack.db);
    expect(JSON.stringify(rows)).not.toContain(key);

    expect((await readStock(key)).status).toBe(200);
    expectProblem(await api.request('GET', '/v1/api-keys', { token: key }), 403, 'forbidden');
    expectProblem(await api.request('GET', '/v1/customers/me', { token: key }), 403, 'forbidden');
    const order = orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]);
    expectProblem(await stack.api.place(key, order), 422, 'validation_failed', '/customerId');
    const john = '550e8400-e29b-41d4-a716-446655440000';
    const placed = await stack.api.place(key, { ...order, customerId: john });
    expect(placed.status).toBe(201);
    const events = await api.request('GET', `/v1/orders/${placed.body.id}/events`, { token: key });
    expect(events.body.data[0].actor).toBe(`staff:${id}`);
    await eventually('its use is noted', async () => {
      const { data } = (await admin('GET', '/v1/api-keys')).body as { data: { lastUsedAt: string | null }[] };
      return data[0]!.lastUsedAt !== null;
    });
  });

  test('of an admin makes keys', async () => {
    const { key } = (await create({ role: 'admin' })).body as { key: string };
    const answer = await api.request('POST', '/v1/api-keys', {
      token: key,
      body: { name: 'x', role: 'staff' },
    });
    expect(answer.status).toBe(201);
  });

  test('is made once for an Idempotency-Key, and not told again', async () => {
    const header = { 'idempotency-key': randomUUID() };
    const first = await create({}, header);
    const again = await create({}, header);
    expect(again.body.id).toBe(first.body.id);
    expect(again.body).not.toHaveProperty('key');
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expectProblem(await create({ role: 'admin' }, header), 422, 'idempotency_key_reused');
  });

  test('that is revoked stops: here at once, in others within seconds, also when they cannot look it up later', async () => {
    const { id, key } = (await create({})).body as { id: string; key: string };
    for (const at of [api, ...pair]) expect((await readStock(key, at)).status).toBe(200);
    expect((await admin('DELETE', `/v1/api-keys/${id}`)).status).toBe(204);
    expectProblem(await readStock(key), 401, 'unauthenticated');
    for (const at of pair)
      await eventually(
        'the other process refuses it',
        async () => (await readStock(key, at)).status === 401,
        8,
      );
    expect((await admin('DELETE', `/v1/api-keys/${id}`)).status).toBe(204);
    expectProblem(await admin('DELETE', `/v1/api-keys/${randomUUID()}`), 404, 'not_found');
    const ids = (await admin('GET', '/v1/api-keys?limit=100')).body.data.map((one: { id: string }) => one.id);
    expect(ids).not.toContain(id);

    await sql`alter table identity.api_keys rename to api_keys_away`.execute(stack.db);
    try {
      for (const at of pair) expectProblem(await readStock(key, at), 401, 'unauthenticated');
    } finally {
      await sql`alter table identity.api_keys_away rename to api_keys`.execute(stack.db);
    }
  });

  test('works until it expires; asking for it again is a replay all the same', async () => {
    const expiresAt = new Date(Date.now() + 1_500).toISOString();
    const header = { 'idempotency-key': randomUUID() };
    const { id, key } = (await create({ expiresAt }, header)).body as { id: string; key: string };
    expect((await readStock(key)).status).toBe(200);
    await eventually('it has expired', async () => (await readStock(key)).status === 401);
    expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(expiresAt));
    const again = await create({ expiresAt }, header);
    expect(again).toMatchObject({ status: 201, body: { id, expiresAt } });
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    const late = { 'idempotency-key': randomUUID() };
    expectProblem(await create({ expiresAt }, late), 422, 'validation_failed', '/expiresAt');
    expect((await create({}, late)).status).toBe(201);
  });

  test.each([
    [{ role: 'customer' }, '/role'],
    [{ role: 'root' }, '/role'],
    [{ name: '' }, '/name'],
    [{ expiresAt: '2020-01-01T00:00:00Z' }, '/expiresAt'],
    [{ expiresAt: 'tomorrow' }, '/expiresAt'],
    [{ expiresAt: '9999-12-31T23:59:59-23:00' }, '/expiresAt'],
    [{ scopes: [] }, '/scopes'],
  ])('with %j is told what is wrong', async (wrong, pointer) => {
    expectProblem(await create(wrong), 422, 'validation_failed', pointer);
  });

  test('that nobody has made is refused', async () => {
    for (const key of [`hfk_${'A'.repeat(43)}`, 'hfk_', `hfk_${'A'.repeat(44)}`])
      expectProblem(await readStock(key), 401, 'unauthenticated');
  });
});

describe('the keys that sign access tokens', () => {
  const works = async (token: string): Promise<boolean> => {
    const answers = await Promise.all(pair.map((at) => at.request('GET', '/v1/customers/me', { token })));
    return answers.every(({ status }) => status === 200);
  };

  test('are rotated while processes run: old tokens live on, new ones are known everywhere', async () => {
    const { email } = await newCustomer();
    const tokenOf = async () => (await login(email, PASSWORD, pair[0])).body.accessToken as string;
    const kidOf = (token: string) => decodeProtectedHeader(token).kid;
    const old = await tokenOf();
    expect(await works(old)).toBe(true);
    const kid = await rotateSigningKey(stack.db, { revoke: false });
    const fresh = await eventually('the new key signs', async () => {
      const token = await tokenOf();
      return kidOf(token) === kid && token;
    });
    expect(kidOf(old)).not.toBe(kid);
    expect(await works(fresh)).toBe(true);
    expect(await works(old)).toBe(true);

    const rotate = ['--import', 'tsx', 'db/rotate-signing-key.ts', '--revoke'];
    const environment = { ...process.env, DATABASE_URL: stack.databaseUrl };
    const { stdout } = await run(process.execPath, rotate, { env: environment });
    expect(stdout).toContain('good no more');
    await eventually('tokens of dropped keys stop', async () => !(await works(old)) && !(await works(fresh)));
    const last = await eventually('a new login works', async () => {
      const token = await tokenOf();
      return (await works(token)) && token;
    });
    expect([kidOf(old), kid]).not.toContain(kidOf(last));
  });

  test('of the environment may be several: the first signs, the others are still taken', async () => {
    const [before, after] = [
      'an-old-secret-of-32-characters-or-more',
      'a-new-secret-of-32-characters-or-more',
    ];
    const { email } = await newCustomer();
    const quiet = { API_WORKER: 'false' };
    const [one, two] = await Promise.all([
      stack.startApi({ ...quiet, JWT_SECRET: before }),
      stack.startApi({ ...quiet, JWT_SECRET: after, JWT_ACCEPTED_SECRETS: before }),
    ]);
    const ask = async (from: Api, at: Api) => {
      const token = (await login(email, PASSWORD, from)).body.accessToken as string;
      return (await at.request('GET', '/v1/customers/me', { token })).status;
    };
    expect([await ask(one.api, two.api), await ask(two.api, two.api), await ask(two.api, one.api)]).toEqual([
      200, 200, 401,
    ]);
    await Promise.all([one.process.stop(), two.process.stop()]);
  });
});

describe('two API processes count together', () => {
  const remaining = (answer: Answer): number =>
    Number(/r=(\d+)/.exec(answer.headers.get('ratelimit') ?? '')?.[1]);

  test('the requests of a caller', async () => {
    const { email } = await newCustomer();
    const token = (await login(email, PASSWORD, pair[0])).body.accessToken as string;
    const ask = (at: Api) => at.request('GET', '/v1/customers/me', { token });
    await times(REQUESTS_A_MINUTE - 10, () => ask(pair[0]));
    const seen = await eventually(
      'the other process knows of them',
      async () => {
        const answer = await ask(pair[1]);
        return remaining(answer) < 10 && answer;
      },
      8,
      500,
    );
    expect(seen.headers.get('ratelimit-policy')).toContain(`q=${REQUESTS_A_MINUTE}; w=60`);
    await times(10, () => ask(pair[1]));
    const refused = await ask(pair[1]);
    expectProblem(refused, 429, 'rate_limited');
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    await eventually('the first one refuses too', async () => (await ask(pair[0])).status === 429, 8, 500);
    const other = (await login('jane.doe@example.com', 'demo-password', pair[0])).body.accessToken as string;
    expect((await pair[0].request('GET', '/v1/customers/me', { token: other })).status).toBe(200);
  });

  test('what is for everybody by who reads it, and by address where nobody is known', async () => {
    const at = pair[0];
    const left = async (token?: string) => {
      const answer = await at.request('GET', '/v1/products?limit=1', { token });
      expect(answer.status).toBe(200);
      return remaining(answer);
    };
    const tokens = await times(2, async () => {
      const { email } = await newCustomer();
      return (await login(email, PASSWORD, at)).body.accessToken as string;
    });
    const body = { name: 'Reader', role: 'staff' };
    const made = await api.request('POST', '/v1/api-keys', { token: stack.tokens.admin, body });
    for (const token of [...tokens, made.body.key as string])
      expect([await left(token), await left(token)]).toEqual([REQUESTS_A_MINUTE - 1, REQUESTS_A_MINUTE - 2]);
    const me = await at.request('GET', '/v1/customers/me', { token: tokens[0]! });
    expect(remaining(me)).toBe(REQUESTS_A_MINUTE - 3);
    for (const bad of ['nonsense', `hfk_${'A'.repeat(43)}`, `${tokens[0]}x`])
      await eventually('a bad token is counted by address', async () => {
        const before = await left();
        return (await left(bad)) < before;
      });
  });

  test('the failed logins of an account; a right password forgives them everywhere', async () => {
    const { email } = await newCustomer();
    const [one, two] = pair;
    for (let index = 0; index < LOGINS_A_MINUTE - 1; index += 1)
      expectProblem(await login(email, `guess ${index}`, one), 401, 'invalid_credentials');
    expect((await login(email, PASSWORD, one)).status).toBe(200);
    for (let index = 0; index < LOGINS_A_MINUTE; index += 1)
      expectProblem(await login(email, `guess ${index}`, one), 401, 'invalid_credentials');
    // So seldom that its own attempts are too few to be refused.
    const refused = async () => (await login(email, 'guess', two)).status === 429;
    await eventually('the other process refuses', refused, 6, 1500);
    expectProblem(await login(email, PASSWORD, two), 429, 'rate_limited');
  });

  test('the passwords that a change tries, the new one too', async () => {
    const { email } = await newCustomer();
    const change = (password: string, newPassword: string) =>
      pair[0].request('POST', '/v1/auth/password', { body: { email, password, newPassword } });
    for (let tried = 2; tried < LOGINS_A_MINUTE; tried += 2)
      expectProblem(await change('a guess', 'another guess'), 401, 'invalid_credentials');
    const refused = await change('a guess', PASSWORD);
    expectProblem(refused, 429, 'rate_limited');
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(10);
    expectProblem(await login(email, PASSWORD, pair[0]), 429, 'rate_limited');
  });

  test('and let callers in while Postgres does not answer them', async () => {
    const { email } = await newCustomer();
    const token = (await login(email, PASSWORD, pair[0])).body.accessToken as string;
    await sql`alter table identity.rate_counts rename to rate_counts_away`.execute(stack.db);
    try {
      const ask = () => pair[0].request('GET', '/v1/customers/me', { token });
      expect([remaining(await ask()), remaining(await ask())]).toEqual([
        REQUESTS_A_MINUTE - 1,
        REQUESTS_A_MINUTE - 2,
      ]);
      await eventually('the counts could not be exchanged', () => /exchange rate counts/.test(logOfFirst()));
      expect(remaining(await ask())).toBe(REQUESTS_A_MINUTE - 3);
    } finally {
      await sql`alter table identity.rate_counts_away rename to rate_counts`.execute(stack.db);
    }
  });
});
