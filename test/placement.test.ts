import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connect, type Db, isDatabaseUnavailable } from '../db/connect.ts';
import { takeStep } from '../db/order-steps.ts';
import { findOrder, listOrderEvents } from '../db/orders.ts';
import { placeOrder } from '../db/placement.ts';
import { cancel } from '../domain/cancelling.ts';
import { lineIdFor, orderNumber } from '../domain/ids.ts';
import type { PlacedOrder } from '../domain/order.ts';
import { address } from './harness/http.ts';
import { expectMoneyAddsUp, expectStockAddsUp } from './harness/invariants.ts';
import { startStack, type TestStack } from './harness/stack.ts';
import { eventually } from './harness/wait.ts';

const JOHN = '550e8400-e29b-41d4-a716-446655440000';

let stack: TestStack;
/** Two pools, as two processes would have. */
let pools: Db[];
beforeAll(async () => {
  stack = await startStack({ api: false });
  pools = [0, 1].map(() => connect(stack.databaseUrl, { max: 10, name: 'test-placement' }).db);
});
afterAll(async () => {
  await expectStockAddsUp(stack.db);
  await expectMoneyAddsUp(stack.db);
  await Promise.all(pools.map((pool) => pool.destroy()));
  await stack.stop();
});

const accepted = (
  lines: [sku: string, quantity: number][],
  { orderId = randomUUID(), unitPrice = 100 } = {},
): PlacedOrder => ({
  orderId,
  number: orderNumber(orderId),
  customerId: JOHN,
  placedBy: `customer:${JOHN}`,
  placedAt: new Date().toISOString(),
  requestHash: 'hash',
  lines: lines.map(([sku, quantity]) => ({
    id: lineIdFor(orderId, sku),
    sku,
    name: sku,
    quantity,
    unitPrice,
  })),
  currency: 'USD',
  total: unitPrice * lines.reduce((sum, [, quantity]) => sum + quantity, 0),
  shippingAddress: address,
  payment: { method: 'card', token: 'tok_ok' },
});
const cancellation = () => ({ reason: null, by: 'test', at: new Date().toISOString() });
const place = (db: Db, order: PlacedOrder) => placeOrder(db, order, 'mock');
const cancelOrder = (db: Db, orderId: string, expectedVersion?: number) =>
  takeStep(db, orderId, (order) => cancel(order, cancellation()), { expectedVersion });
const eventsOf = async (orderId: string) =>
  (await listOrderEvents(stack.db, orderId, { limit: 100, afterSeq: 0 })).map(({ seq, type }) => [seq, type]);
const reservedOf = async (sku: string) =>
  (
    await stack.db
      .selectFrom('inventory.stock')
      .select('reserved')
      .where('sku', '=', sku)
      .executeTakeFirstOrThrow()
  ).reserved;

test('the last units, taken and given back by two processes at once: no error, none oversold', async () => {
  await stack.stock('HOT', 2);
  const outcomes = await Promise.all(
    Array.from({ length: 600 }, async (_, index) => {
      const db = pools[index % 2]!;
      const { record } = (await place(db, accepted([['HOT', 1]])))!;
      if (record.status === 'pending') await cancelOrder(db, record.id);
      return record.status;
    }),
  );
  expect(outcomes).toContain('pending');
  expect(outcomes).toContain('rejected');
  expect(await reservedOf('HOT')).toBe(0);
});

test('baskets in every order of skus: no deadlock', async () => {
  const skus = ['MIX-A', 'MIX-B', 'MIX-C', 'MIX-D'];
  for (const sku of skus) await stack.stock(sku, 1000);
  await Promise.all(
    Array.from({ length: 200 }, async (_, index) => {
      const rotated = [...skus.slice(index % 4), ...skus.slice(0, index % 4)];
      const basket = index % 2 ? rotated : rotated.toReversed();
      const db = pools[index % 2]!;
      const { record } = (await place(db, accepted(basket.map((sku) => [sku, 1]))))!;
      expect(record.status).toBe('pending');
      if (index % 3 === 0) await cancelOrder(db, record.id);
    }),
  );
});

test('one order placed 20 times at once takes stock once', async () => {
  await stack.stock('ONCE', 100);
  const order = accepted([['ONCE', 3]]);
  const placed = await Promise.all(Array.from({ length: 20 }, (_, index) => place(pools[index % 2]!, order)));
  expect(placed.filter((taken) => taken !== undefined)).toHaveLength(1);
  expect(await reservedOf('ONCE')).toBe(3);
});

test('one order cancelled 20 times at once releases once and is told once', async () => {
  await stack.stock('BACK', 10);
  const order = accepted([['BACK', 4]]);
  await place(stack.db, order);
  const cancelled = await Promise.all(
    Array.from({ length: 20 }, (_, index) => cancelOrder(pools[index % 2]!, order.orderId)),
  );
  expect(cancelled.filter(({ taken }) => taken)).toHaveLength(1);
  expect(new Set(cancelled.map(({ record }) => record.status))).toEqual(new Set(['cancelled']));
  expect(new Set(cancelled.flatMap(({ notificationIds }) => notificationIds)).size).toBe(1);
  expect(await reservedOf('BACK')).toBe(0);
  expect(await eventsOf(order.orderId)).toEqual([
    [1, 'order.placed'],
    [2, 'stock.reserved'],
    [3, 'order.cancelled'],
    [4, 'stock.released'],
  ]);
});

test('a cancellation that came before the placement takes no stock, even where there is none', async () => {
  await stack.stock('EARLY', 0);
  const order = accepted([['EARLY', 1]]);
  const placed = await placeOrder(stack.db, order, 'mock', { ...cancellation(), reason: 'too late' });
  expect(placed?.record).toMatchObject({
    status: 'cancelled',
    paymentStatus: 'none',
    cancellation: { reason: 'too late' },
    payments: [],
  });
  expect(placed?.record).not.toHaveProperty('rejection');
  expect(await findOrder(stack.db, order.orderId)).toMatchObject({
    status: 'cancelled',
    lines: [{ quantity: 1, cancelledQuantity: 1 }],
  });
  expect(await eventsOf(order.orderId)).toEqual([
    [1, 'order.placed'],
    [2, 'order.cancelled'],
  ]);
});

test('an order is pending until it is paid for; one that costs nothing is confirmed at once', async () => {
  await stack.stock('PAID', 10);
  const paid = await place(stack.db, accepted([['PAID', 1]]));
  expect(paid?.record).toMatchObject({
    status: 'pending',
    version: 0,
    payments: [{ type: 'authorization', status: 'pending', amount: 100 }],
  });
  const free = await place(stack.db, accepted([['PAID', 1]], { unitPrice: 0 }));
  expect(free?.record).toMatchObject({ status: 'confirmed', version: 1, payments: [] });
  expect(await eventsOf(free!.record.id)).toEqual([
    [1, 'order.placed'],
    [2, 'stock.reserved'],
    [3, 'order.confirmed'],
  ]);
  expect(await reservedOf('PAID')).toBe(2);
});

test('an order whose short number is taken gets a longer one', async () => {
  await stack.stock('NUMBERED', 10);
  const first = accepted([['NUMBERED', 1]]);
  await place(stack.db, first);
  const second = { ...accepted([['NUMBERED', 1]]), number: first.number };
  const placed = await place(stack.db, second);
  expect(placed?.record).toMatchObject({ status: 'pending', number: orderNumber(second.orderId, 12) });
});

test('a connection lost in the middle of a transaction fails that transaction and nothing else', async () => {
  const lost = pools[0]!.transaction().execute(async (trx) => {
    const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(trx);
    await sql`select pg_terminate_backend(${rows[0]!.pid})`.execute(stack.db);
    await eventually('the connection is gone', async () => {
      const { rows: left } = await sql`select from pg_stat_activity where pid = ${rows[0]!.pid}`.execute(
        stack.db,
      );
      return left.length === 0;
    });
    await sql`select 1`.execute(trx);
  });
  expect(await lost.then(() => 'no error', isDatabaseUnavailable)).toBe(true);
  expect((await sql`select 1`.execute(pools[0]!)).rows).toHaveLength(1);
});

test('a stale version cancels nothing', async () => {
  await stack.stock('VERSIONED', 10);
  const order = accepted([['VERSIONED', 1]]);
  await place(stack.db, order);
  await expect(cancelOrder(stack.db, order.orderId, 7)).rejects.toMatchObject({
    code: 'version_conflict',
    extra: { version: 0 },
  });
  expect(await reservedOf('VERSIONED')).toBe(1);
});
