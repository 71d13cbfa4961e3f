import { createHash, createHmac, randomUUID } from 'node:crypto';
import { decodeJwt, SignJWT, UnsecuredJWT } from 'jose';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Answer, type Api, orderOf } from './harness/http.ts';
import { conforming } from './harness/openapi.ts';
import { expectProblem } from './harness/problems.ts';
import { JWT_SECRET, startStack, type TestStack } from './harness/stack.ts';
import { eventually, untilLockedOut } from './harness/wait.ts';

const JOHN = '550e8400-e29b-41d4-a716-446655440000';

let stack: TestStack;
let api: Api;
beforeAll(async () => {
  stack = await startStack();
  api = await conforming(stack.api);
});
afterAll(() => stack.stop());

const login = (email: string, password = 'demo-password') =>
  api.request('POST', '/v1/auth/login', { body: { email, password } });
const refresh = (refreshToken: string) => api.request('POST', '/v1/auth/refresh', { body: { refreshToken } });
const logout = (refreshToken: string) => api.request('POST', '/v1/auth/logout', { body: { refreshToken } });
const readOrders = (token: string) => api.request('GET', '/v1/orders?limit=1', { token });

describe('logging in', () => {
  test.each([
    ['john.smith@example.com', 'customer'],
    ['jane.doe@example.com', 'customer'],
    ['robert.johnson@example.com', 'customer'],
    ['emily.davis@example.com', 'customer'],
    ['michael.wilson@example.com', 'customer'],
    ['staff@example.com', 'staff'],
    ['admin@example.com', 'admin'],
  ])('%s is a demo %s and gets tokens that work', async (email, role) => {
    const { status, body, headers } = await login(email);
    expect(status).toBe(200);
    expect(body).toEqual({
      accessToken: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/),
      expiresIn: 3600,
      refreshToken: expect.stringMatching(/^.{20,}$/),
    });
    expect(headers.get('cache-control')).toBe('no-store');
    const claims = decodeJwt(body.accessToken);
    expect(claims).toMatchObject({ role, iss: 'holdfast' });
    expect(claims.exp! - claims.iat!).toBe(3600);
    expect(JSON.stringify(claims)).not.toContain('@');
    expect((await readOrders(body.accessToken)).status).toBe(200);
  });

  test('takes the email in any case', async () => {
    expect((await login('John.SMITH@Example.com')).status).toBe(200);
  });

  test('a wrong password and an unknown account give the same answer', async () => {
    const wrong = await login('john.smith@example.com', 'wrong');
    const unknown = await login('nobody@example.com', 'wrong');
    for (const answer of [wrong, unknown]) expectProblem(answer, 401, 'invalid_credentials');
    expect({ ...wrong.body, requestId: '' }).toEqual({ ...unknown.body, requestId: '' });
  });

  test.each([
    ["' or '1'='1' --"],
    ["john.smith@example.com' --"],
    ['%'],
    ['\0'],
    ['\ud800'],
    ['😀@example.com'],
    [' '],
    [''],
  ])('as %j does not work', async (email) => {
    expectProblem(await login(email), 401, 'invalid_credentials');
    expectProblem(await login('john.smith@example.com', email), 401, 'invalid_credentials');
  });

  test.each([
    [{ email: 'john.smith@example.com' }, '/password'],
    [{ password: 'x' }, '/email'],
    [{ email: 1, password: 'x' }, '/email'],
    [{ email: ['john.smith@example.com'], password: 'x' }, '/email'],
    [{ email: { $ne: null }, password: 'x' }, '/email'],
    [{ email: 'a', password: null }, '/password'],
    [{ email: 'a'.repeat(321), password: 'x' }, '/email'],
    [{ email: 'a', password: 'x'.repeat(1001) }, '/password'],
    [{ email: 'a', password: 'x', role: 'admin' }, '/role'],
  ])('with a wrong body is told where: case %#', async (body, pointer) => {
    expectProblem(await api.request('POST', '/v1/auth/login', { body }), 422, 'validation_failed', pointer);
  });
});

describe('a refresh token', () => {
  test('gives new tokens once, and the new ones work', async () => {
    const first = (await login('john.smith@example.com')).body;
    const second = await refresh(first.refreshToken);
    expect(second).toMatchObject({ status: 200, body: { expiresIn: 3600 } });
    expect(second.body.refreshToken).not.toBe(first.refreshToken);
    expect((await readOrders(second.body.accessToken)).status).toBe(200);
    expect((await refresh(second.body.refreshToken)).status).toBe(200);
  });

  test('used twice was copied: the whole login ends, other logins go on', async () => {
    const stolen = (await login('john.smith@example.com')).body;
    const other = (await login('john.smith@example.com')).body;
    const next = (await refresh(stolen.refreshToken)).body;
    expectProblem(await refresh(stolen.refreshToken), 401, 'unauthenticated');
    expectProblem(await refresh(next.refreshToken), 401, 'unauthenticated');
    expect((await refresh(other.refreshToken)).status).toBe(200);
  });

  test('used 10 times at once works at most once', async () => {
    const { refreshToken } = (await login('robert.johnson@example.com')).body;
    const answers = await Promise.all(Array.from({ length: 10 }, () => refresh(refreshToken)));
    expect(answers.filter((answer) => answer.status === 200)).toHaveLength(1);
    expect(answers.filter((answer) => answer.status === 401)).toHaveLength(9);
  });

  test('whose login ends while it is being used has no successor that works', async () => {
    for (let round = 0; round < 10; round += 1) {
      const first = (await login('emily.davis@example.com')).body.refreshToken;
      const second = (await refresh(first)).body.refreshToken;
      const [next] = await Promise.all([refresh(second), round % 2 ? logout(second) : refresh(first)]);
      const left = next.status === 200 ? next.body.refreshToken : second;
      expectProblem(await refresh(left), 401, 'unauthenticated');
    }
  });

  test('works no more after logging out, nor when it has expired; logging out twice is no error', async () => {
    const { refreshToken } = (await login('jane.doe@example.com')).body;
    expect(await logout(refreshToken)).toMatchObject({ status: 204, body: '' });
    expectProblem(await refresh(refreshToken), 401, 'unauthenticated');
    expect((await logout(refreshToken)).status).toBe(204);

    const old = (await login('jane.doe@example.com')).body;
    await stack.db
      .updateTable('identity.refresh_tokens')
      .set({ expires_at: new Date(Date.now() - 1000) })
      .where('user_id', '=', '550e8400-e29b-41d4-a716-446655440001')
      .execute();
    expectProblem(await refresh(old.refreshToken), 401, 'unauthenticated');
  });

  test('is stored as a hash only', async () => {
    const { refreshToken } = (await login('jane.doe@example.com')).body;
    const rows = await stack.db.selectFrom('identity.refresh_tokens').selectAll().execute();
    expect(JSON.stringify(rows)).not.toContain(refreshToken);
  });

  test.each([[''], ['x'], ['\0'], ["' or 1=1 --"], ['\ud800'], ['😀']])('%j is none', async (token) => {
    expectProblem(await refresh(token), 401, 'unauthenticated');
    expect((await logout(token)).status).toBe(204);
  });

  test('is not an access token, and an access token is not one', async () => {
    const { accessToken, refreshToken } = (await login('john.smith@example.com')).body;
    expectProblem(await readOrders(refreshToken), 401, 'unauthenticated');
    expect((await refresh(accessToken)).status).toBeGreaterThanOrEqual(400);
  });

  // Clients send their access token with every request, above all when it has just expired: a bad token must not keep
  // them from refreshing, from logging in, or a probe from asking whether the process lives.
  test('works although an expired access token is sent along', async () => {
    const { refreshToken } = (await login('john.smith@example.com')).body;
    const token = await signed({ exp: Math.floor(Date.now() / 1000) - 10 });
    expect(
      (await stack.api.request('POST', '/v1/auth/refresh', { token, body: { refreshToken } })).status,
    ).toBe(200);
    const again = await stack.api.request('POST', '/v1/auth/login', {
      token,
      body: { email: 'john.smith@example.com', password: 'demo-password' },
    });
    expect(again.status).toBe(200);
    expect((await stack.api.request('GET', '/livez', { token })).status).toBe(200);
  });
});

const keyOf = (secret: string): Uint8Array => createHash('sha256').update(secret).digest();

/** A token as the API makes them, but for what is told here; `undefined` leaves a claim out. */
async function signed(
  claims: Record<string, unknown> = {},
  { alg = 'HS256', secret = keyOf(JWT_SECRET), header = {} } = {},
): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  const all = { sub: JOHN, role: 'admin', iss: 'holdfast', iat: now, exp: now + 600, ...claims };
  const given = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
  return await new SignJWT(given).setProtectedHeader({ alg, typ: 'JWT', ...header }).sign(secret);
}

describe('a password', () => {
  const change = (email: string, password: string, newPassword: string) =>
    api.request('POST', '/v1/auth/password', { body: { email, password, newPassword } });
  const registered = async (): Promise<string> => {
    const email = `${randomUUID()}@example.com`;
    const body = { email, password: 'the first one', name: 'Pat' };
    expect((await api.request('POST', '/v1/auth/register', { body })).status).toBe(201);
    return email;
  };

  test('is changed by who knows it: all other logins end, and only the new one logs in', async () => {
    const email = await registered();
    const before = [(await login(email, 'the first one')).body, (await login(email, 'the first one')).body];
    const changed = await change(email, 'the first one', 'the second one');
    expect(changed).toMatchObject({ status: 200, body: { expiresIn: 3600 } });
    expect((await readOrders(changed.body.accessToken)).status).toBe(200);
    for (const { refreshToken } of before) expectProblem(await refresh(refreshToken), 401, 'unauthenticated');
    expectProblem(await login(email, 'the first one'), 401, 'invalid_credentials');
    expect((await login(email, 'the second one')).status).toBe(200);
    expect((await refresh(changed.body.refreshToken)).status).toBe(200);
  });

  test('that is changed again by who got no answer is changed', async () => {
    const email = await registered();
    for (let time = 0; time < 2; time += 1) {
      expect((await change(email, 'the first one', 'the second one')).status).toBe(200);
    }
    expect((await login(email, 'the second one')).status).toBe(200);
  });

  test('is not changed by who does not know it, nor to one that is too short', async () => {
    const email = await registered();
    expectProblem(await change(email, 'a wrong one', 'the second one'), 401, 'invalid_credentials');
    expectProblem(await change('nobody@example.com', 'a', 'the second one'), 401, 'invalid_credentials');
    expectProblem(await change(email, 'the first one', 'short'), 422, 'validation_failed', '/newPassword');
    expect((await login(email, 'the first one')).status).toBe(200);
  });

  /** Keeps whoever would change the account waiting, until so many do. */
  const holdingBack = async (
    email: string,
    work: (untilWaiting: (count: number) => Promise<unknown>) => Promise<void>,
  ) =>
    await stack.db.transaction().execute(async (trx) => {
      await sql`select from identity.users where email = ${email} for update`.execute(trx);
      await work((count) => untilLockedOut(stack.db, count));
    });

  test('that is changed while others log in and refresh leaves none of them logged in', async () => {
    const email = await registered();
    const open = (await login(email, 'the first one')).body;
    let changed: Promise<Answer>;
    let others: Promise<Answer>[];
    await holdingBack(email, async (untilWaiting) => {
      changed = change(email, 'the first one', 'the second one');
      await untilWaiting(1);
      others = [login(email, 'the first one'), refresh(open.refreshToken)];
      await untilWaiting(3);
    });
    expect((await changed!).status).toBe(200);
    const [loggedIn, refreshed] = await Promise.all(others!);
    expectProblem(loggedIn!, 401, 'invalid_credentials');
    expectProblem(refreshed!, 401, 'unauthenticated');
    expect((await refresh((await changed!).body.refreshToken)).status).toBe(200);
  });

  test('changed by two at once is changed by one of them', async () => {
    const email = await registered();
    const answers = await Promise.all([
      change(email, 'the first one', 'the second one'),
      change(email, 'the first one', 'a third one'),
    ]);
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 401]);
    const logins = [await login(email, 'the second one'), await login(email, 'a third one')];
    expect(logins.map(({ status }) => status)).toEqual(answers.map(({ status }) => status));
  });
});

describe('an access token', () => {
  test('that the API itself could have made works', async () => {
    expect((await readOrders(await signed())).status).toBe(200);
  });

  test('that was good before is refused from the second in which it expires', async () => {
    const token = await signed({ exp: seconds(3) });
    expect((await readOrders(token)).status).toBe(200);
    await eventually('it has expired', async () => (await readOrders(token)).status === 401);
    expect(Date.now()).toBeGreaterThanOrEqual(decodeJwt(token).exp! * 1000);
  });

  test('that is good makes no other one good', async () => {
    const token = await signed();
    expect((await readOrders(token)).status).toBe(200);
    expectProblem(await readOrders(repay(token, { role: 'staff' })), 401, 'unauthenticated');
    expectProblem(await readOrders(token.slice(0, -3)), 401, 'unauthenticated');
    expect((await readOrders(token)).status).toBe(200);
  });

  const seconds = (offset: number) => Math.floor(Date.now() / 1000) + offset;
  const forgeries: [string, () => string | Promise<string>][] = [
    ['that has expired', () => signed({ exp: seconds(-5) })],
    ['of the future', () => signed({ nbf: seconds(600) })],
    ['signed with another secret', () => signed({}, { secret: keyOf('another secret') })],
    ['signed with the secret as it stands', () => signed({}, { secret: Buffer.from(JWT_SECRET) })],
    [
      'signed with HS384',
      () => signed({}, { alg: 'HS384', secret: Buffer.concat([keyOf(JWT_SECRET), keyOf('')]) }),
    ],
    [
      'signed with HS512',
      () => signed({}, { alg: 'HS512', secret: Buffer.concat([keyOf(JWT_SECRET), keyOf('')]) }),
    ],
    [
      'without signature (alg none)',
      () =>
        new UnsecuredJWT({ role: 'admin' })
          .setSubject(JOHN)
          .setIssuer('holdfast')
          .setIssuedAt()
          .setExpirationTime('1h')
          .encode(),
    ],
    ['whose signature was cut off', async () => (await signed()).replace(/[^.]+$/, '')],
    ['whose header says none but is signed', async () => relabel(await signed(), { alg: 'none' })],
    ['whose header says HS512', async () => relabel(await signed(), { alg: 'HS512' })],
    [
      'whose role was changed after signing',
      async () => repay(await signed({ role: 'customer' }), { role: 'admin' }),
    ],
    ['of another issuer', () => signed({ iss: 'somebody' })],
    ['without issuer', () => signed({ iss: undefined })],
    ['without subject', () => signed({ sub: undefined })],
    ['with an empty subject', () => signed({ sub: '' })],
    ['without expiry', () => signed({ exp: undefined })],
    ['without role', () => signed({ role: undefined })],
    ['with an unknown role', () => signed({ role: 'root' })],
    ['with a role of the prototype', () => signed({ role: 'constructor' })],
    ['with several roles', () => signed({ role: ['admin'] })],
    ['whose subject is no id', () => signed({ sub: 'admin' })],
    ['whose subject is SQL', () => signed({ sub: "' or 1=1 --" })],
    [
      'with an unknown critical header',
      async () => {
        const [, payload] = (await signed()).split('.');
        const content = `${encode({ alg: 'HS256', crit: ['tenant'], tenant: 'x' })}.${payload}`;
        return `${content}.${createHmac('sha256', keyOf(JWT_SECRET)).update(content).digest('base64url')}`;
      },
    ],
    ['that is no JWT', () => 'a.b.c'],
    ['that is empty parts', () => '..'],
    ['that is very long', () => 'a'.repeat(8000)],
  ];
  test.each(forgeries)('%s is refused', async (_name, make) => {
    const token = await make();
    for (const path of ['/v1/orders?limit=1', '/v1/inventory']) {
      const answer = await stack.api.request('GET', path, { token });
      expectProblem(answer, 401, 'unauthenticated');
      expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer/);
    }
  });

  test('in a garbled Authorization header is none', async () => {
    const token = stack.tokens.john;
    const garbage = [
      'Bearer',
      'Bearer ',
      `Basic ${token}`,
      `Token ${token}`,
      token,
      `Bearer${token}`,
      `Bearer ${token} ${token}`,
      `Bearer "${token}"`,
      `Bearer ${token},`,
      `Bearer Bearer ${token}`,
      'Bearer é',
      '\u00ff\u00fe',
      ', , ,',
      'Basic am9objpkb2U=',
      'Digest username="x"',
    ];
    for (const authorization of garbage) {
      const answer = await stack.api.request('GET', '/v1/orders', { headers: { authorization } });
      expect(answer.status, authorization).toBe(401);
      expectProblem(answer, 401, 'unauthenticated');
    }
  });

  test('is taken with any case of "Bearer"', async () => {
    for (const scheme of ['bearer', 'BEARER', 'Bearer']) {
      const headers = { authorization: `${scheme} ${stack.tokens.john}` };
      expect((await stack.api.request('GET', '/v1/orders', { headers })).status).toBe(200);
    }
  });

  test('in the query or the body is not looked at', async () => {
    const answer = await stack.api.request('GET', `/v1/orders?access_token=${stack.tokens.john}`);
    expectProblem(answer, 401, 'unauthenticated');
  });
});

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** The same token under another header. */
const relabel = (token: string, header: object): string =>
  `${encode(header)}.${token.split('.').slice(1).join('.')}`;

/** The same header and signature around another payload. */
function repay(token: string, claims: object): string {
  const [header, , signature] = token.split('.');
  return `${header}.${encode({ ...decodeJwt(token), ...claims })}.${signature}`;
}

describe('who may do what', () => {
  test('is decided before the body is read: a stranger learns nothing of it', async () => {
    const raw = '{"broken';
    expectProblem(await stack.api.request('POST', '/v1/orders', { raw }), 401);
    expectProblem(
      await stack.api.request('PUT', '/v1/inventory/MOUSE-WL', { raw, token: stack.tokens.john }),
      403,
    );
  });

  test('a customer sees, lists and cancels its own orders only: those of others do not exist', async () => {
    const placed = await stack.api.place(stack.tokens.john, orderOf([{ sku: 'MOUSE-WL', quantity: 1 }]));
    const { id, number } = placed.body;
    for (const name of [id, number]) {
      for (const [method, path] of [
        ['GET', `/v1/orders/${name}`],
        ['GET', `/v1/orders/${name}/events`],
        ['POST', `/v1/orders/${name}/cancel`],
        ['DELETE', `/v1/orders/${name}`],
      ] as const) {
        const theirs = await api.request(method, path, { token: stack.tokens.jane });
        expectProblem(theirs, 404, 'not_found');
        const none = await api.request(method, path.replace(name, randomUUID()), {
          token: stack.tokens.jane,
        });
        expect(theirs.body.detail).toBe(none.body.detail);
      }
    }
    const list = await api.request('GET', '/v1/orders', { token: stack.tokens.jane });
    expect(JSON.stringify(list.body)).not.toContain(id);
    const search = await api.request('GET', `/v1/orders?q=${number}`, { token: stack.tokens.jane });
    expect(search.body.data).toEqual([]);
    const asked = await api.request('GET', `/v1/orders?customerId=${JOHN}`, { token: stack.tokens.jane });
    expectProblem(asked, 403, 'forbidden');

    const still = await api.request('GET', `/v1/orders/${id}`, { token: stack.tokens.john });
    expect(still.body).toEqual(placed.body);
    for (const token of [stack.tokens.staff, stack.tokens.admin])
      expect((await api.request('GET', `/v1/orders/${id}`, { token })).body).toEqual(placed.body);
  });
});

test('without JWT_SECRET, processes on one database take one another’s tokens', async () => {
  const [one, two] = await Promise.all([
    stack.startApi({ JWT_SECRET: '' }),
    stack.startApi({ JWT_SECRET: '' }),
  ]);
  const token = await one.api.login('john.smith@example.com');
  expect(await two.api.request('GET', '/v1/orders', { token })).toMatchObject({ status: 200 });
  expect(await stack.api.request('GET', '/v1/orders', { token })).toMatchObject({ status: 401 });
});
