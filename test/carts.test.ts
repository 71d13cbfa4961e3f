import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { listOldLocks } from '../db/cart-checkout.ts';
import { deleteExpiredCarts, remindOfCarts } from '../db/cart-upkeep.ts';
import type { Cart } from '../domain/cart.ts';
import { cartIdFor, orderIdFor } from '../domain/ids.ts';
import { address, type Answer, type Api } from './harness/http.ts';
import { expectMoneyAddsUp, expectStockAddsUp } from './harness/invariants.ts';
import { conforming } from './harness/openapi.ts';
import { createExplainer } from './harness/plans.ts';
import { expectProblem } from './harness/problems.ts';
import { startStack, type TestStack } from './harness/stack.ts';
import { eventually, untilLockedOut } from './harness/wait.ts';

const JOHN = '550e8400-e29b-41d4-a716-446655440000';
const JANE = '550e8400-e29b-41d4-a716-446655440001';
const DAY_MS = 86_400_000;

let stack: TestStack;
let api: Api;
let john: string;
let jane: string;
beforeAll(async () => {
  stack = await startStack({
    environment: { CART_INTERVAL_SECONDS: '86400', RECONCILE_INTERVAL_SECONDS: '86400' },
  });
  api = await conforming(stack.api);
  ({ john, jane } = stack.tokens);
  for (const sku of ['A', 'B', 'C']) await stack.stock(sku, 1000);
  await stack.stock('SCARCE', 2, 500);
  await stack.db
    .insertInto('catalogue.products')
    .values({ sku: 'EURO', name: 'Euro', price: 100, currency: 'EUR' })
    .execute();
});
afterAll(async () => {
  await expectStockAddsUp(stack.db);
  await expectMoneyAddsUp(stack.db);
  await stack.stop();
});
beforeEach(async () => {
  await sql`delete from shopping.carts`.execute(stack.db);
});

/** Whose cart: a customer by access token, a visitor by cart token, or one who comes for the first time. */
type Who = { login: string } | { cart: string } | undefined;
const byLogin = (login: string): Who => ({ login });

const send = (method: string, path: string, who: Who, body?: unknown, more: Record<string, string> = {}) =>
  api.request(method, path, {
    ...(who && 'login' in who && { token: who.login }),
    headers: { ...(who && 'cart' in who && { 'x-cart-token': who.cart }), ...more },
    ...(body !== undefined && { body }),
  });
const read = async (who: Who): Promise<Cart> => (await send('GET', '/v1/cart', who)).body;
const add = (who: Who, sku: string, quantity = 1, more: Record<string, string> = {}) =>
  send('POST', '/v1/cart/items', who, { sku, quantity }, more);
const contents = ({ items }: Cart) => items.map(({ sku, quantity }) => [sku, quantity]);
const tokenOf = (answer: Answer): { cart: string } => ({ cart: answer.headers.get('x-cart-token')! });

const orderBody = (token = 'tok_ok', more: Record<string, unknown> = {}) => ({
  shippingAddress: address,
  payment: { method: 'card', token },
  ...more,
});
const checkOut = (
  login: string,
  body: unknown = orderBody(),
  key: string = randomUUID(),
  more: Record<string, string> = {},
) =>
  api.request('POST', '/v1/cart/checkout', {
    token: login,
    body,
    headers: { 'idempotency-key': key, ...more },
  });
const login = (who: { cart: string }, email = 'john.smith@example.com', password = 'demo-password') =>
  api.request('POST', '/v1/auth/login', {
    body: { email, password },
    headers: { 'x-cart-token': who.cart },
  });
const ordersOf = async (customerId: string): Promise<number> => {
  const { rows } = await sql<{ count: number }>`
    select count(*)::int as count from ordering.orders where customer_id = ${customerId}::uuid
  `.execute(stack.db);
  return rows[0]!.count;
};
const setPrice = (sku: string, price: number) =>
  stack.db.updateTable('catalogue.products').set({ price }).where('sku', '=', sku).execute();
const setCurrency = (skus: readonly string[], currency: string) =>
  stack.db.updateTable('catalogue.products').set({ currency }).where('sku', 'in', skus).execute();
const setActive = (sku: string, active: boolean) =>
  stack.db.updateTable('catalogue.products').set({ active }).where('sku', '=', sku).execute();

const lock = (orderId: string, age = '0 seconds', customerId = JOHN) =>
  sql`
    update shopping.carts set order_id = ${orderId}::uuid, locked_at = now() - ${age}::interval, checkouts = 1
    where id = ${cartIdFor('customer', customerId)}::uuid
  `.execute(stack.db);

describe('a cart', () => {
  test.each([
    ['a customer', () => byLogin(john)],
    ['a visitor', () => undefined],
  ] as [string, () => Who][])(
    'of %s is there at first use, and is filled, changed and emptied',
    async (_, of) => {
      const first = await send('GET', '/v1/cart', of());
      const token = first.headers.get('x-cart-token');
      expect(token === null).toBe(of() !== undefined);
      const who = of() ?? { cart: token! };
      expect(first).toMatchObject({
        status: 200,
        body: { status: 'open', items: [], currency: null, total: 0 },
      });
      expect(first.headers.get('cache-control')).toBe('no-store');
      const days = (Date.parse(first.body.expiresAt) - Date.now()) / DAY_MS;
      expect(days).toBeGreaterThan(29.9);
      expect(days).toBeLessThanOrEqual(30);

      await add(who, 'MOUSE-WL', 2);
      await add(who, 'A', 3);
      const added = await add(who, 'MOUSE-WL', 1);
      expect(added).toMatchObject({
        status: 200,
        body: {
          id: first.body.id,
          status: 'open',
          items: [
            { sku: 'MOUSE-WL', name: 'Wireless mouse', quantity: 3, unitPrice: 2999, total: 8997 },
            { sku: 'A', name: 'Product A', quantity: 3, unitPrice: 1000, total: 3000 },
          ],
          currency: 'USD',
          total: 11997,
        },
      });
      expect(added.headers.get('x-cart-token')).toBe(token);
      expect(await read(who)).toEqual({ ...added.body, expiresAt: expect.any(String) });

      const set = await send('PATCH', '/v1/cart/items/A', who, { quantity: 7 });
      expect(contents(set.body)).toEqual([
        ['MOUSE-WL', 3],
        ['A', 7],
      ]);
      const removed = await send('DELETE', '/v1/cart/items/MOUSE-WL', who);
      expect(removed).toMatchObject({ status: 200, body: { total: 7000 } });
      expect(contents(removed.body)).toEqual([['A', 7]]);
      expect(await send('DELETE', '/v1/cart', who)).toMatchObject({
        status: 200,
        body: { id: first.body.id, items: [], currency: null, total: 0 },
      });
      expect((await add(who, 'EURO')).body).toMatchObject({ currency: 'EUR' });
    },
  );

  test('is its owner’s alone', async () => {
    await add(byLogin(john), 'A');
    const visitor = tokenOf(await add(undefined, 'B'));
    expect(contents(await read(byLogin(jane)))).toEqual([]);
    expect(contents(await read(undefined))).toEqual([]);
    expect(contents(await read(visitor))).toEqual([['B', 1]]);
    expect(contents(await read({ cart: `${visitor.cart.slice(0, -4)}AAAA` }))).toEqual([]);
    expect(JSON.stringify(await stack.db.selectFrom('shopping.carts').selectAll().execute())).not.toContain(
      visitor.cart,
    );
  });

  test.each(['x', '', 'a'.repeat(500), "' or 1=1 --"])('with a bad token %j is a new one', async (bad) => {
    const answer = await send('GET', '/v1/cart', { cart: bad });
    expect(answer).toMatchObject({ status: 200, body: { items: [] } });
    expect(tokenOf(answer).cart).toMatch(/^[\w-]{43}$/);
  });

  test('is nothing that staff have, and a bad access token is no visitor', async () => {
    for (const token of [stack.tokens.staff, stack.tokens.admin]) {
      expectProblem(await send('GET', '/v1/cart', { login: token }), 403, 'forbidden');
      expectProblem(await add({ login: token }, 'A'), 403, 'forbidden');
      expectProblem(await checkOut(token), 403, 'forbidden');
    }
    for (const authorization of ['Bearer x.y.z', 'Bearer', `Basic ${john}`]) {
      const garbled = await send('GET', '/v1/cart', undefined, undefined, { authorization });
      expectProblem(garbled, 401, 'unauthenticated');
    }
    const anonymous = await api.request('POST', '/v1/cart/checkout', { body: orderBody() });
    expectProblem(anonymous, 401, 'unauthenticated');
  });

  test('refuses what cannot be in it, and stays as it was', async () => {
    const who = byLogin(john);
    await add(who, 'A', 9_999);
    expectProblem(await add(who, 'A', 2), 422, 'validation_failed', '/quantity');
    expectProblem(await add(who, 'NO-SUCH'), 422, 'validation_failed', '/sku');
    expectProblem(await add(who, 'EURO'), 422, 'validation_failed', '/sku');
    expectProblem(await add(who, 'a\0'), 422, 'validation_failed', '/sku');
    for (const quantity of [0, -1, 1.5, 10_001, '1', null]) {
      const body = { sku: 'A', quantity };
      expectProblem(await send('POST', '/v1/cart/items', who, body), 422, 'validation_failed', '/quantity');
      const patched = await send('PATCH', '/v1/cart/items/A', who, { quantity });
      expectProblem(patched, 422, 'validation_failed', '/quantity');
    }
    const extra = await send('POST', '/v1/cart/items', who, { sku: 'A', quantity: 1, price: 1 });
    expectProblem(extra, 422, 'validation_failed', '/price');
    expectProblem(await send('PATCH', '/v1/cart/items/B', who, { quantity: 1 }), 404, 'not_found');
    expectProblem(await send('DELETE', '/v1/cart/items/B', who), 404, 'not_found');
    expectProblem(await send('DELETE', '/v1/cart/items/%00', who), 404, 'not_found');
    expect(contents(await read(who))).toEqual([['A', 9_999]]);
  });

  test('costs more than a price can be, but never more than can be counted', async () => {
    for (const sku of ['DEAR', 'DEARER']) await stack.stock(sku, 20_000, 1_000_000_000_000);
    const who = byLogin(john);
    const most = { items: [{ total: 9_000_000_000_000_000 }], total: 9_000_000_000_000_000 };
    expect(await add(who, 'DEAR', 9_000)).toMatchObject({ status: 200, body: most });
    expectProblem(await add(who, 'DEARER', 10), 422, 'validation_failed', '/quantity');
    const more = await send('PATCH', '/v1/cart/items/DEAR', who, { quantity: 9_010 });
    expectProblem(more, 422, 'validation_failed', '/quantity');
    expect(await read(who)).toMatchObject(most);
    const placed = await checkOut(john, orderBody('tok_ok', { expectedTotal: most.total }));
    const { total, items: lines } = most;
    expect(placed).toMatchObject({
      status: 201,
      body: { status: 'confirmed', subtotal: total, total, lines },
    });
  });

  test('has at most 100 products', async () => {
    await sql`
      insert into catalogue.products (sku, name, price, currency)
      select 'MANY-' || number, 'Many', 1, 'USD' from generate_series(0, 100) as number
    `.execute(stack.db);
    const who = byLogin(john);
    const answers = await Promise.all(Array.from({ length: 101 }, (_, index) => add(who, `MANY-${index}`)));
    const refused = answers.filter(({ status }) => status !== 200);
    expect(refused).toHaveLength(1);
    expectProblem(refused[0]!, 422, 'validation_failed', '/sku');
    expect((await read(who)).items).toHaveLength(100);
  });

  test('loses none of 20 edits at once, of one product or of many', async () => {
    for (const who of [byLogin(john), tokenOf(await send('GET', '/v1/cart', undefined))]) {
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, index) => add(who, ['A', 'B'][index % 2]!, index + 1)),
      );
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
      const units = Object.fromEntries(contents(await read(who)));
      expect(units).toEqual({ A: 100, B: 110 });
    }
  });

  test('takes a request with one Idempotency-Key once', async () => {
    const who = byLogin(john);
    const key = { 'idempotency-key': randomUUID() };
    const answers = await Promise.all(Array.from({ length: 5 }, () => add(who, 'A', 2, key)));
    expect(answers.filter(({ headers }) => headers.get('idempotent-replayed') === 'true')).toHaveLength(4);
    expectProblem(await add(who, 'A', 3, key), 422, 'idempotency_key_reused');
    expect(contents(await read(who))).toEqual([['A', 2]]);
  });

  test('shows the price of now, and what it was', async () => {
    const who = byLogin(john);
    await add(who, 'B', 2);
    await setPrice('B', 1500);
    expect(await read(who)).toMatchObject({
      status: 'open',
      items: [{ unitPrice: 1500, previousUnitPrice: 1000, total: 3000 }],
      total: 3000,
    });
    const again = await add(who, 'B');
    expect(again.body.items[0]).not.toHaveProperty('previousUnitPrice');
    await setPrice('B', 1000);
  });

  test('tells of a product that is not sold any more, and cannot be ordered with it', async () => {
    const who = byLogin(john);
    await add(who, 'C');
    await setActive('C', false);
    expect(await read(who)).toMatchObject({
      status: 'stock_unavailable',
      items: [{ problem: { requested: 1, available: 0 } }],
    });
    expectProblem(await checkOut(john), 422, 'validation_failed', '/lines/0/sku');
    await setActive('C', true);
    expect(await read(who)).toMatchObject({ status: 'open' });
  });

  test('is not ordered in another currency than it shows', async () => {
    const who = byLogin(john);
    await add(who, 'A', 2);
    await add(who, 'C');
    const key = randomUUID();
    try {
      for (const [changed, pointer] of [
        [['C'], '/lines/1/sku'],
        [['A', 'C'], '/lines/0/sku'],
      ] as const) {
        await setCurrency(changed, 'EUR');
        const before = await read(who);
        expect(before).toMatchObject({ status: 'stock_unavailable', currency: 'USD', total: 3000 });
        const refused = await checkOut(john, orderBody('tok_ok', { expectedTotal: 3000 }), key);
        expectProblem(refused, 422, 'validation_failed', pointer);
        expect(refused.body.detail).toContain('EUR');
        expect(await read(who)).toEqual({ ...before, expiresAt: expect.any(String) });
      }
    } finally {
      await setCurrency(['A', 'C'], 'USD');
    }
    expect(await read(who)).toMatchObject({ status: 'open' });
    const placed = await checkOut(john, orderBody('tok_ok', { expectedTotal: 3000 }), key);
    expect(placed).toMatchObject({ status: 201, body: { currency: 'USD', total: 3000 } });
  });
});

describe('logging in', () => {
  test('puts a visitor’s cart into the customer’s, once, however many logins there are at once', async () => {
    await add(byLogin(john), 'A', 1);
    const visitor = tokenOf(await add(undefined, 'A', 2));
    await add(visitor, 'B', 3);
    const logins = await Promise.all(Array.from({ length: 8 }, () => login(visitor)));
    expect(new Set(logins.map(({ status }) => status))).toEqual(new Set([200]));
    expect(contents(await read(byLogin(john)))).toEqual([
      ['A', 3],
      ['B', 3],
    ]);
    expect(contents(await read(visitor))).toEqual([]);
  });

  test('of two visitors at once loses nothing, nor what is added meanwhile', async () => {
    const visitors = await Promise.all(
      Array.from({ length: 4 }, async () => tokenOf(await add(undefined, 'A', 5))),
    );
    await Promise.all([
      ...visitors.map((visitor) => login(visitor)),
      ...Array.from({ length: 5 }, () => add(byLogin(john), 'A')),
    ]);
    expect(contents(await read(byLogin(john)))).toEqual([['A', 25]]);
  });

  test('that fails, or that of staff, leaves the visitor’s cart alone', async () => {
    const visitor = tokenOf(await add(undefined, 'A', 2));
    await login(visitor, 'nobody@example.com');
    await login(visitor, 'staff@example.com');
    expect(contents(await read(visitor))).toEqual([['A', 2]]);
  });

  test('with a password that is changed just then leaves both carts alone', async () => {
    const [email, password] = [`${randomUUID()}@example.com`, 'the first one'];
    const { body: customer } = await api.request('POST', '/v1/auth/register', {
      body: { email, password, name: 'Pat' },
    });
    const visitor = tokenOf(await add(undefined, 'A', 2));
    let refused: Promise<Answer>;
    await stack.db.transaction().execute(async (trx) => {
      const user = trx.updateTable('identity.users').where('id', '=', customer.id);
      await user.set({ password_hash: 'of another one' }).execute();
      refused = login(visitor, email, password);
      await untilLockedOut(stack.db);
    });
    expectProblem(await refused!, 401, 'invalid_credentials');
    expect(contents(await read(visitor))).toEqual([['A', 2]]);
    const carts = stack.db.selectFrom('shopping.carts').select('id');
    expect(await carts.where('customer_id', '=', customer.id).execute()).toEqual([]);
  });

  test('whose carts cannot be merged now opens nothing, and merges them when it is tried again', async () => {
    const visitor = tokenOf(await add(undefined, 'A', 2));
    const loginsOf = () =>
      stack.db.selectFrom('identity.refresh_tokens').select('family').where('user_id', '=', JOHN).execute();
    const before = await loginsOf();
    await sql`alter table shopping.cart_items rename to cart_items_away`.execute(stack.db);
    try {
      expect((await login(visitor)).status).toBe(500);
    } finally {
      await sql`alter table shopping.cart_items_away rename to cart_items`.execute(stack.db);
    }
    expect(await loginsOf()).toEqual(before);
    expect((await login(visitor)).status).toBe(200);
    expect(contents(await read(byLogin(john)))).toEqual([['A', 2]]);
  });

  test('with a cart of another currency keeps both, and the token', async () => {
    await add(byLogin(john), 'EURO');
    const visitor = tokenOf(await add(undefined, 'A'));
    expect((await login(visitor)).headers.get('x-cart-token')).toBe(visitor.cart);
    expect(contents(await read(visitor))).toEqual([['A', 1]]);
    expect(contents(await read(byLogin(john)))).toEqual([['EURO', 1]]);
  });

  test('with units of one product beyond the most has the most', async () => {
    await add(byLogin(john), 'A', 9_000);
    expect((await login(tokenOf(await add(undefined, 'A', 9_000)))).status).toBe(200);
    expect(contents(await read(byLogin(john)))).toEqual([['A', 10_000]]);
  });
});

describe('checking out', () => {
  const orderIdOf = (key: string, customerId = JOHN) => orderIdFor(customerId, 'POST /v1/cart/checkout', key);

  test('places an order of what is in the cart and empties it; a repeated request answers the order', async () => {
    const who = byLogin(john);
    await add(who, 'MOUSE-WL', 2);
    await add(who, 'A', 1);
    const key = randomUUID();
    const body = orderBody('tok_ok', { expectedTotal: 6998, note: 'Ring twice' });
    const placed = await checkOut(john, body, key);
    expect(placed).toMatchObject({
      status: 201,
      body: {
        id: orderIdOf(key),
        status: 'confirmed',
        customerId: JOHN,
        total: 6998,
        note: 'Ring twice',
        lines: [
          { sku: 'MOUSE-WL', quantity: 2 },
          { sku: 'A', quantity: 1 },
        ],
      },
    });
    expect(placed.headers.get('location')).toBe(`/v1/orders/${placed.body.id}`);
    expect(await read(who)).toMatchObject({ status: 'open', items: [], total: 0 });

    await add(who, 'B', 4);
    const again = await checkOut(john, body, key);
    expect(again).toMatchObject({ status: 201, body: { id: placed.body.id } });
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expectProblem(await checkOut(john, orderBody(), key), 422, 'idempotency_key_reused');
    expect(await read(who)).toMatchObject({ status: 'open', items: [{ sku: 'B', quantity: 4 }] });
  });

  test('by a double click makes one order', async () => {
    await add(byLogin(john), 'A', 2);
    const before = await ordersOf(JOHN);
    const key = randomUUID();
    const answers = await Promise.all(Array.from({ length: 6 }, () => checkOut(john, orderBody(), key)));
    expect(answers.map(({ status, body }) => [status, body.id])).toEqual(
      answers.map(() => [201, orderIdOf(key)]),
    );
    expect(await ordersOf(JOHN)).toBe(before + 1);
    expect(await read(byLogin(john))).toMatchObject({ status: 'open', items: [] });
  });

  test('twice at once with different keys makes one order', async () => {
    await add(byLogin(john), 'A', 2);
    const before = await ordersOf(JOHN);
    const answers = await Promise.all(Array.from({ length: 6 }, () => checkOut(john)));
    const placed = answers.filter(({ status }) => status === 201);
    expect(placed).toHaveLength(1);
    for (const answer of answers.filter(({ status }) => status !== 201)) {
      expectProblem(answer, 409);
      expect(['cart_locked', 'cart_empty']).toContain(answer.body.code);
    }
    expect(await ordersOf(JOHN)).toBe(before + 1);
  });

  test('needs a key, something in the cart, and a good body', async () => {
    expectProblem(await checkOut(john), 409, 'cart_empty');
    await add(byLogin(john), 'A');
    const keyless = await api.request('POST', '/v1/cart/checkout', { token: john, body: orderBody() });
    expectProblem(keyless, 400, 'idempotency_key_required');
    expectProblem(await checkOut(john, orderBody(), 'é'), 400, 'invalid_idempotency_key');
    const bad = await checkOut(john, { payment: { method: 'card', token: 'tok_ok' } });
    expectProblem(bad, 422, 'validation_failed', '/shippingAddress');
    const lines = await checkOut(john, orderBody('tok_ok', { lines: [] }));
    expectProblem(lines, 422, 'validation_failed', '/lines');
    expect(await read(byLogin(john))).toMatchObject({ status: 'open' });
  });

  test('at another total than expected leaves the cart open, and the key unused', async () => {
    await add(byLogin(john), 'A', 1);
    const key = randomUUID();
    const refused = await checkOut(john, orderBody('tok_ok', { expectedTotal: 999 }), key);
    expectProblem(refused, 409, 'price_changed');
    expect(refused.body.total).toBe(1000);
    expect(await read(byLogin(john))).toMatchObject({ status: 'open' });
    expect((await checkOut(john, orderBody('tok_ok', { expectedTotal: 1000 }), key)).status).toBe(201);
  });

  test('of more than there is unlocks the cart as stock_unavailable, until it is changed', async () => {
    const who = byLogin(john);
    await add(who, 'SCARCE', 5);
    await add(who, 'A', 1);
    const rejected = await checkOut(john);
    expect(rejected).toMatchObject({ status: 201, body: { status: 'rejected' } });
    const cart = await read(who);
    expect(cart).toMatchObject({
      status: 'stock_unavailable',
      items: [{ sku: 'SCARCE', problem: { requested: 5, available: 2 } }, { sku: 'A' }],
    });
    expect(cart.items[1]).not.toHaveProperty('problem');
    const fewer = await send('PATCH', '/v1/cart/items/SCARCE', who, { quantity: 3 });
    expect(fewer.body.items[0].problem).toEqual({ requested: 3, available: 2 });
    // What there is may be more by now.
    await stack.db.updateTable('inventory.stock').set({ on_hand: 3 }).where('sku', '=', 'SCARCE').execute();
    const restocked = await read(who);
    expect(restocked.status).toBe('open');
    expect(restocked.items[0]).not.toHaveProperty('problem');
    await stack.db.deleteFrom('inventory.stock').where('sku', '=', 'SCARCE').execute();
    expect((await read(who)).items[0]!.problem).toEqual({ requested: 3, available: 0 });
    await stack.db.insertInto('inventory.stock').values({ sku: 'SCARCE', on_hand: 2 }).execute();
    await stack.db.updateTable('inventory.stock').set({ on_hand: 2 }).where('sku', '=', 'SCARCE').execute();
    const enough = await send('PATCH', '/v1/cart/items/SCARCE', who, { quantity: 2 });
    expect(enough.body.status).toBe('open');
    expect((await checkOut(john)).body).toMatchObject({ status: 'confirmed' });
    expect(await read(who)).toMatchObject({ status: 'open', items: [] });
  });

  test('with a card that is declined leaves the cart open as it was', async () => {
    await add(byLogin(john), 'A', 2);
    const declined = await checkOut(john, orderBody('tok_declined'));
    expect(declined.body).toMatchObject({ status: 'rejected', rejection: { code: 'payment_declined' } });
    const cart = await read(byLogin(john));
    expect(cart.status).toBe('open');
    expect(contents(cart)).toEqual([['A', 2]]);
  });

  test('locks the cart until the order is settled, also where nobody waits for it', async () => {
    const who = byLogin(jane);
    await add(who, 'A', 2);
    const key = randomUUID();
    const placed = await checkOut(jane, orderBody('tok_slow'), key, { prefer: 'respond-async' });
    expect(placed).toMatchObject({ status: 202, body: { status: 'pending' } });
    const locked = await read(who);
    expect(locked.status).toBe('locked');
    expect(contents(locked)).toEqual([['A', 2]]);
    for (const answer of [
      await add(who, 'B'),
      await send('PATCH', '/v1/cart/items/A', who, { quantity: 1 }),
      await send('DELETE', '/v1/cart/items/A', who),
      await send('DELETE', '/v1/cart', who),
      await checkOut(jane),
    ]) {
      expectProblem(answer, 409, 'cart_locked');
      expect(answer.body.orderId).toBe(placed.body.id);
    }
    // What a login brings waits in the locked cart, and is not ordered.
    const visitor = tokenOf(await add(undefined, 'B', 3));
    await add(visitor, 'A', 1);
    expect((await login(visitor, 'jane.doe@example.com')).status).toBe(200);
    expect(await checkOut(jane, orderBody('tok_slow'), key, { prefer: 'respond-async' })).toMatchObject({
      status: 202,
      body: { id: placed.body.id, lines: [{ sku: 'A', quantity: 2 }] },
    });

    const unlocked = await eventually('the order is settled', async () => {
      const cart = await read(who);
      return cart.status === 'open' && cart;
    });
    expect(contents(unlocked)).toEqual([
      ['A', 1],
      ['B', 3],
    ]);
  });

  test('cancelled before it was placed leaves the cart as it was', async () => {
    await add(byLogin(john), 'A', 2);
    const placed = await checkOut(john, orderBody('tok_slow'), randomUUID(), { prefer: 'respond-async' });
    await eventually('it is cancelled', async () => {
      const { body } = await api.request('DELETE', `/v1/orders/${placed.body.id}`, { token: john });
      return body.status === 'cancelled';
    });
    const cart = await read(byLogin(john));
    expect(cart.status).toBe('open');
    expect(contents(cart)).toEqual([['A', 2]]);
  });

  test('where the API died after the lock goes on with the same key', async () => {
    await add(byLogin(john), 'A', 2);
    const key = randomUUID();
    await lock(orderIdOf(key));
    expectProblem(await add(byLogin(john), 'B'), 409, 'cart_locked');
    expectProblem(await checkOut(john), 409, 'cart_locked');
    expect(await checkOut(john, orderBody(), key)).toMatchObject({
      status: 201,
      body: { status: 'confirmed' },
    });
    expect(contents(await read(byLogin(john)))).toEqual([]);
  });

  test('where the API died after the start is unlocked by whoever comes next', async () => {
    const who = byLogin(john);
    await add(who, 'A', 2);
    const key = randomUUID();
    const placed = await checkOut(john, orderBody(), key);
    await add(who, 'A', 3);
    await lock(placed.body.id);
    expect(contents((await add(who, 'B')).body)).toEqual([
      ['A', 1],
      ['B', 1],
    ]);
  });

  test('that never came to an order releases the lock after a while, and no sooner', async () => {
    const who = byLogin(john);
    await add(who, 'A', 2);
    await lock(randomUUID(), '1 minute');
    expect(await read(who)).toMatchObject({ status: 'locked' });
    await lock(randomUUID(), '3 minutes');
    expect(contents((await add(who, 'A')).body)).toEqual([['A', 3]]);
    expect(await read(who)).toMatchObject({ status: 'open' });
  });

  test('whose order only its workflow knows stays locked, however long that takes', async () => {
    const who = byLogin(john);
    await add(who, 'A', 2);
    const orderId = randomUUID();
    const handle = await stack.temporal.workflow.start('order', {
      taskQueue: 'nobody-polls-this',
      workflowId: `order-${orderId}`,
      args: [{ orderId }],
    });
    await lock(orderId, '1 day');
    expectProblem(await add(who, 'A'), 409, 'cart_locked');
    expect(await read(who)).toMatchObject({ status: 'locked' });
    await handle.terminate();
  });

  test('of a price that two see differently unlocks only when both have failed', async () => {
    const who = byLogin(john);
    await add(who, 'A', 2);
    const key = randomUUID();
    // Another request with the same key is between the lock and the start.
    await lock(orderIdOf(key));
    const dear = orderBody('tok_ok', { expectedTotal: 1 });
    expectProblem(await checkOut(john, dear, key), 409, 'price_changed');
    expect(await read(who)).toMatchObject({ status: 'locked' });
    expect((await checkOut(john, orderBody(), key)).status).toBe(201);
    expect(contents(await read(who))).toEqual([]);
  });

  test('survives SIGKILL at any moment: one order or none, and no cart stays locked', async () => {
    const who = byLogin(jane);
    for (const delayMs of [2, 6, 12]) {
      const { api: other, process } = await stack.startApi();
      await sql`delete from shopping.carts`.execute(stack.db);
      await add(who, 'A', 2);
      const before = await ordersOf(JANE);
      const key = randomUUID();
      const asked = other
        .request('POST', '/v1/cart/checkout', {
          token: jane,
          body: orderBody(),
          headers: { 'idempotency-key': key },
        })
        .catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      await process.kill();
      await asked;
      const placed = await eventually('a retry settles it', async () => {
        const answer = await checkOut(jane, orderBody(), key);
        return answer.status === 201 && answer;
      });
      expect(placed.body).toMatchObject({ id: orderIdOf(key, JANE), status: 'confirmed' });
      expect(await ordersOf(JANE)).toBe(before + 1);
      expect(await read(who)).toMatchObject({ status: 'open', items: [] });
    }
  });
});

describe('as time goes by', () => {
  let lastRun = '';
  /** Runs the Schedule once. The IDs of its workflows name the second, so one a second. */
  async function tend(): Promise<{ unlocked: number; expired: number; reminded: number }> {
    const handle = stack.temporal.schedule.getHandle('carts');
    const recent = async () =>
      (await handle.describe()).info.recentActions.map(({ action }) => action.workflow.workflowId);
    const before = await recent();
    await eventually('a new second', () => new Date().toISOString().slice(0, 19) !== lastRun);
    await handle.trigger();
    lastRun = new Date().toISOString().slice(0, 19);
    const workflowId = await eventually('the schedule has run', async () =>
      (await recent()).find((id) => !before.includes(id)),
    );
    return (await stack.temporal.workflow.getHandle(workflowId).result()) as Awaited<ReturnType<typeof tend>>;
  }
  const age = (days: number) =>
    sql`
      update shopping.carts set expires_at = expires_at - make_interval(secs => ${days * 86_400}),
        remind_at = remind_at - make_interval(secs => ${days * 86_400})
    `.execute(stack.db);
  const reminders = () =>
    stack.db
      .selectFrom('messaging.notifications')
      .selectAll()
      .where('template', '=', 'cart-reminder')
      .orderBy('created_at')
      .execute();

  /** Read from the table: whoever looks at a cart over HTTP unlocks it. */
  const lockedCarts = () =>
    stack.db.selectFrom('shopping.carts').select('customer_id').where('order_id', 'is not', null).execute();

  beforeEach(async () => {
    await stack.db.deleteFrom('messaging.notifications').where('template', '=', 'cart-reminder').execute();
  });

  test('a cart that is used is kept from then', async () => {
    await add(byLogin(john), 'A');
    await age(20);
    const { expiresAt } = await read(byLogin(john));
    expect((Date.parse(expiresAt) - Date.now()) / DAY_MS).toBeGreaterThan(29.9);
  });

  test('a cart expires 30 days after its last use, whoever’s it is', async () => {
    const visitor = tokenOf(await add(undefined, 'B'));
    await add(byLogin(john), 'A');
    await age(29.9);
    await add(byLogin(jane), 'A');
    expect(await tend()).toMatchObject({ expired: 0 });
    await age(0.2);
    // Nobody has to tend it: what has expired is gone at once.
    expect(contents(await read(visitor))).toEqual([]);
    expect(contents((await add(byLogin(john), 'C')).body)).toEqual([['C', 1]]);
    expect(await tend()).toMatchObject({ expired: 1 });
    expect(contents(await read(byLogin(jane)))).toEqual([['A', 1]]);
    expect(await stack.db.selectFrom('shopping.cart_items').select('sku').orderBy('sku').execute()).toEqual([
      { sku: 'A' },
      { sku: 'C' },
    ]);
  });

  test('a customer is reminded of a cart once, until something in it changes', async () => {
    await add(undefined, 'B');
    await add(byLogin(john), 'MOUSE-WL', 2);
    await send('DELETE', '/v1/cart', byLogin(jane));
    expect(await tend()).toEqual({ unlocked: 0, expired: 0, reminded: 0 });
    await age(1.1);
    expect(await tend()).toEqual({ unlocked: 0, expired: 0, reminded: 1 });
    const sent = await eventually('the mail is sent', async () => {
      const [reminder] = await reminders();
      return reminder?.status === 'sent' && reminder;
    });
    expect(sent).toMatchObject({
      recipient: 'john.smith@example.com',
      customer_id: JOHN,
      subject: 'There is something left in your cart',
      body: expect.stringMatching(/2 x Wireless mouse: \$59\.98[^]*Total: \$59\.98/),
    });
    expect((await stack.temporal.workflow.getHandle(`notification-${sent.id}`).describe()).type).toBe(
      'notification',
    );

    await read(byLogin(john));
    expectProblem(await checkOut(john, orderBody('tok_ok', { expectedTotal: 1 })), 409, 'price_changed');
    expect(await checkOut(john, orderBody('tok_declined'))).toMatchObject({ body: { status: 'rejected' } });
    await age(2);
    expect(await tend()).toEqual({ unlocked: 0, expired: 0, reminded: 0 });
    await add(byLogin(john), 'MOUSE-WL');
    await age(2);
    expect(await tend()).toEqual({ unlocked: 0, expired: 0, reminded: 1 });
    expect(await reminders()).toHaveLength(2);
  });

  test('a cart whose customer never comes back after a 202 is unlocked as its order has ended', async () => {
    const inBackground = { prefer: 'respond-async' };
    await add(byLogin(john), 'A', 2);
    await add(byLogin(jane), 'SCARCE', 5);
    const [placed, rejected] = [
      await checkOut(john, orderBody('tok_slow'), randomUUID(), inBackground),
      await checkOut(jane, orderBody(), randomUUID(), inBackground),
    ];
    for (const [token, order, status] of [
      [john, placed, 'confirmed'],
      [jane, rejected, 'rejected'],
    ] as const) {
      await eventually(`the order is ${status}`, async () => {
        const { body } = await api.request('GET', `/v1/orders/${order.body.id}`, { token });
        return body.status === status;
      });
    }
    expect(await tend()).toMatchObject({ unlocked: 0 });
    await lock(placed.body.id, '3 minutes');
    await lock(rejected.body.id, '3 minutes', JANE);
    expect(await tend()).toMatchObject({ unlocked: 2 });
    expect(await lockedCarts()).toEqual([]);
    expect(await read(byLogin(john))).toMatchObject({ status: 'open', items: [] });
    expect(await read(byLogin(jane))).toMatchObject({
      status: 'stock_unavailable',
      items: [{ sku: 'SCARCE', problem: { requested: 5 } }],
    });
  });

  test('a cart that nobody meets keeps no lock of an order that there will never be', async () => {
    const orderId = randomUUID();
    const handle = await stack.temporal.workflow.start('order', {
      taskQueue: 'nobody-polls-this',
      workflowId: `order-${orderId}`,
      args: [{ orderId }],
    });
    for (const token of [john, jane]) await add(byLogin(token), 'A');
    await lock(orderId, '1 day');
    await lock(randomUUID(), '1 minute', JANE);
    expect(await tend()).toMatchObject({ unlocked: 0 });
    await lock(randomUUID(), '3 minutes', JANE);
    expect(await tend()).toMatchObject({ unlocked: 1 });
    expect(await lockedCarts()).toEqual([{ customer_id: JOHN }]);
    await handle.terminate();
  });

  test('runs of the upkeep at once remind once, and take many carts in batches', async () => {
    await sql`
      insert into shopping.carts (id, expires_at) select gen_random_uuid(), now() - interval '1 day'
      from generate_series(1, 450)
    `.execute(stack.db);
    await add(byLogin(john), 'A');
    await age(2);
    const run = () =>
      stack.temporal.workflow.execute('carts', {
        taskQueue: 'orders',
        workflowId: `carts-${randomUUID()}`,
      }) as ReturnType<typeof tend>;
    const runs = await Promise.all([run(), run(), run()]);
    expect(runs.reduce((sum, { expired }) => sum + expired, 0)).toBe(450);
    expect(runs.reduce((sum, { reminded }) => sum + reminded, 0)).toBe(1);
    expect(await reminders()).toHaveLength(1);
  });

  test('tending costs by what is due, not by how many carts there are', async () => {
    await sql`
      with kept as (
        insert into shopping.carts (id, customer_id, currency, expires_at, remind_at)
        select gen_random_uuid(), gen_random_uuid(), 'USD', now() + interval '10 days', now() + interval '1 day'
        from generate_series(1, 20000) returning id
      )
      insert into shopping.cart_items (cart_id, sku, quantity, price) select id, 'A', 1, 1000 from kept
    `.execute(stack.db);
    for (const table of ['shopping.carts', 'shopping.cart_items']) {
      await sql`analyze ${sql.table(table)}`.execute(stack.db);
    }
    const explainer = createExplainer(stack.databaseUrl);
    const plans = await explainer.plansOf(async (db) => {
      await deleteExpiredCarts(db, 100);
      await remindOfCarts(db, 100);
      await listOldLocks(db, 100);
    });
    await explainer.stop();
    expect(plans).toHaveLength(6);
    for (const plan of plans) expect(plan.filter(({ rows }) => rows > 200)).toEqual([]);
  });
});
