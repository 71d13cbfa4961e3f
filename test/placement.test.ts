import { type ChildProcess, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { sql } from 'kysely';
import pLimit from 'p-limit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connect, type Db, isDatabaseUnavailable } from '../db/connect.ts';
import { takeStep } from '../db/order-steps.ts';
import { findOrder, listOrderEvents } from '../db/orders.ts';
import { createPlacementQueue } from '../db/placement-queue.ts';
import { type Placement, placeOrders } from '../db/placement.ts';
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
const POOL_SIZE = 10;
/** As many at once as there are connections: on a busy machine the last of hundreds would wait too long for one. */
const onEachConnection = pLimit(2 * POOL_SIZE);
beforeAll(async () => {
  stack = await startStack({ api: false });
  pools = [0, 1].map(() => connect(stack.databaseUrl, { max: POOL_SIZE, name: 'test-placement' }).db);
});
afterAll(async () => {
  await expectStockAddsUp(stack.db);
  await expectMoneyAddsUp(stack.db);
  await Promise.all(pools.map((pool) => pool.destroy()));
  await stack.stop();
});

const accepted = (
  lines: [sku: string, quantity: number][],
  { orderId = randomUUID(), unitPrice = 100 }: { orderId?: string; unitPrice?: number } = {},
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
const placement = (order: PlacedOrder, more: Partial<Placement> = {}): Placement => ({
  order,
  provider: 'mock',
  cancellation: null,
  ...more,
});
const place = async (db: Db, order: PlacedOrder) => (await placeOrders(db, [placement(order)]))[0];
const placeAll = async (db: Db, orders: PlacedOrder[]) => {
  const taken = await placeOrders(
    db,
    orders.map((order) => placement(order)),
  );
  return taken.map((one) => one?.record.status);
};
const cancelOrder = (db: Db, orderId: string, expectedVersion?: number) =>
  takeStep(db, orderId, (order) => cancel(order, cancellation()), { expectedVersion });
const eventsOf = async (orderId: string) =>
  (await listOrderEvents(stack.db, orderId, { limit: 100, afterSeq: 0 })).map(({ seq, type }) => [seq, type]);

test('what was planned while there were no orders does not scan them when there are many', async () => {
  await stack.stock('FIRST', 1000);
  const { db } = connect(stack.databaseUrl, { max: 1, name: 'test-placement' });
  // counted by the connection itself, which does nothing else
  const scans = async () => {
    await sql`select pg_stat_force_next_flush()`.execute(db);
    const { rows } = await sql<{ seq_scan: number }>`
      select seq_scan from pg_stat_user_tables where relid = 'ordering.orders'::regclass
    `.execute(db);
    return rows[0]?.seq_scan;
  };
  // Postgres settles for one plan after five executions
  for (let index = 0; index < 8; index += 1) await place(db, accepted([['FIRST', 1]]));
  await scans();
  const before = await scans();
  for (let index = 0; index < 8; index += 1) await place(db, accepted([['FIRST', 1]]));
  await scans();
  expect(await scans()).toBe(before);
  await db.destroy();
});

test('the last units, taken and given back by two processes at once: no error, none oversold', async () => {
  await stack.stock('HOT', 2);
  const orders = Array.from({ length: 600 }, () => accepted([['HOT', 1]]));
  const outcomes = await onEachConnection.map(orders, async (order, index) => {
    const db = pools[index % 2]!;
    const { record } = (await place(db, order))!;
    if (record.status === 'pending') await cancelOrder(db, record.id);
    return record.status;
  });
  expect(outcomes).toContain('pending');
  expect(outcomes).toContain('rejected');
  expect(await stack.reserved('HOT')).toBe(0);
});

test('baskets in every order of skus: no deadlock', async () => {
  const skus = ['MIX-A', 'MIX-B', 'MIX-C', 'MIX-D'];
  for (const sku of skus) await stack.stock(sku, 1000);
  const baskets = Array.from({ length: 200 }, (_, index) => {
    const rotated = [...skus.slice(index % 4), ...skus.slice(0, index % 4)];
    return index % 2 ? rotated : rotated.toReversed();
  });
  await onEachConnection.map(baskets, async (basket, index) => {
    const db = pools[index % 2]!;
    const { record } = (await place(db, accepted(basket.map((sku) => [sku, 1]))))!;
    expect(record.status).toBe('pending');
    if (index % 3 === 0) await cancelOrder(db, record.id);
  });
});

test('one order placed 20 times at once takes stock once', async () => {
  await stack.stock('ONCE', 100);
  const order = accepted([['ONCE', 3]]);
  const placed = await Promise.all(Array.from({ length: 20 }, (_, index) => place(pools[index % 2]!, order)));
  expect(placed.filter((taken) => taken !== undefined)).toHaveLength(1);
  expect(await stack.reserved('ONCE')).toBe(3);
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
  expect(await stack.reserved('BACK')).toBe(0);
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
  const [placed] = await placeOrders(stack.db, [
    placement(order, { cancellation: { ...cancellation(), reason: 'too late' } }),
  ]);
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
  expect(await stack.reserved('PAID')).toBe(2);
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
  expect(await stack.reserved('VERSIONED')).toBe(1);
});

/** What an order of a batch is made of; `again` makes it one that is in the batch before, or was placed before it. */
interface Wish {
  lines: [sku: number, quantity: number][];
  again?: 'in the batch' | 'before' | undefined;
  cancelled: boolean;
  free: boolean;
}
const wish: fc.Arbitrary<Wish> = fc.record({
  lines: fc.uniqueArray(
    fc.tuple(
      fc.oneof({ arbitrary: fc.nat(2), weight: 12 }, { arbitrary: fc.constant(3), weight: 1 }),
      fc.integer({ min: 1, max: 3 }),
    ),
    { selector: ([sku]) => sku, minLength: 1, maxLength: 3 },
  ),
  again: fc.oneof(
    { arbitrary: fc.constant(undefined), weight: 6 },
    { arbitrary: fc.constantFrom('in the batch' as const, 'before' as const), weight: 1 },
  ),
  cancelled: fc.nat(7).map((drawn) => drawn === 0),
  free: fc.boolean(),
});

/** The order of what happened matters within one sku. */
const skusApart = <T extends { sku: string }>(ledger: T[]): T[] =>
  ledger.toSorted((a, b) => a.sku.localeCompare(b.sku));

/** What becomes of orders that come one after the other; `undefined` for one that was placed before. */
function oneAfterTheOther(stock: Map<string, number>, known: Set<string>, placements: Placement[]) {
  const left = new Map(stock);
  const reserved = new Map<string, number>();
  const ledger: { sku: string; order: string; quantity: number; reservedAfter: number }[] = [];
  const outcomes = placements.map(({ order, cancellation: cancelled }) => {
    if (known.has(order.orderId)) return undefined;
    known.add(order.orderId);
    if (cancelled) return { status: 'cancelled' };
    const items = order.lines
      .map(({ sku, quantity }) => ({ sku, requested: quantity, available: left.get(sku) ?? 0 }))
      .filter(({ requested, available }) => requested > available);
    if (items.length > 0) return { status: 'rejected', rejection: { code: 'insufficient_stock', items } };
    for (const { sku, quantity } of order.lines) {
      left.set(sku, left.get(sku)! - quantity);
      reserved.set(sku, (reserved.get(sku) ?? 0) + quantity);
      ledger.push({ sku, order: order.orderId, quantity, reservedAfter: reserved.get(sku)! });
    }
    return { status: order.total > 0 ? 'pending' : 'confirmed' };
  });
  return { outcomes, ledger: skusApart(ledger), left };
}

test('a batch of orders ends as if they had come one after the other', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(12), { minLength: 3, maxLength: 3 }),
      fc.array(wish, { minLength: 1, maxLength: 12, size: 'max' }),
      async (amounts, wishes) => {
        const prefix = randomUUID();
        const skus = [0, 1, 2, 3].map((index) => `${prefix}-${index}`);
        // of the last sku there is no stock at all
        const stock = new Map(amounts.map((amount, index) => [skus[index]!, amount]));
        await stack.db
          .insertInto('inventory.stock')
          .values([...stock].map(([sku, on_hand]) => ({ sku, on_hand })))
          .execute();
        const before = accepted([['GONE', 1]]);
        await place(stack.db, before);

        const placements: Placement[] = [];
        for (const { lines, again, cancelled, free } of wishes) {
          const repeated = again === 'before' ? before : again && placements.at(-1)?.order;
          const order = accepted(
            lines.map(([sku, quantity]) => [skus[sku]!, quantity]),
            { unitPrice: free ? 0 : 100, ...(repeated && { orderId: repeated.orderId }) },
          );
          placements.push(placement(order, { cancellation: cancelled ? cancellation() : null }));
        }
        const expected = oneAfterTheOther(stock, new Set([before.orderId]), placements);

        const taken = await placeOrders(stack.db, placements);
        expect(
          taken.map(
            (one) =>
              one && {
                status: one.record.status,
                ...(one.record.rejection && { rejection: one.record.rejection }),
              },
          ),
        ).toEqual(expected.outcomes);
        for (const one of taken) {
          if (!one) continue;
          const { workflowId: _w, subtotal: _s, ...order } = (await findOrder(stack.db, one.record.id))!;
          expect(one.record).toMatchObject({
            ...order,
            lines: order.lines.map((line) => expect.objectContaining(line) as unknown),
          });
        }
        const ledger = await stack.db
          .selectFrom('inventory.movements')
          .select(['sku', 'order_id as order', 'quantity', 'reserved_after as reservedAfter'])
          .where('sku', 'in', skus)
          .orderBy('id')
          .execute();
        expect(skusApart(ledger)).toEqual(expected.ledger);
        const levels = await stack.db
          .selectFrom('inventory.stock')
          .select(['sku', 'on_hand', 'reserved', 'version'])
          .where('sku', 'in', skus)
          .execute();
        for (const { sku, on_hand, reserved, version } of levels) {
          expect(on_hand).toBe(stock.get(sku));
          expect(on_hand - reserved).toBe(expected.left.get(sku));
          expect(version).toBe(1 + expected.ledger.filter((entry) => entry.sku === sku).length);
        }
      },
    ),
    { numRuns: 60 },
  );
  await expectStockAddsUp(stack.db);
});

test('batches of orders for crossing skus at once: no deadlock, none oversold', async () => {
  const skus = ['CROSS-A', 'CROSS-B', 'CROSS-C', 'CROSS-D'];
  for (const sku of skus) await stack.stock(sku, 100);
  const batches = Array.from({ length: 40 }, (_, batch) =>
    Array.from({ length: 10 }, (__, index) => {
      const rotated = [...skus.slice((batch + index) % 4), ...skus.slice(0, (batch + index) % 4)];
      return accepted((batch % 2 ? rotated : rotated.toReversed()).slice(0, 2).map((sku) => [sku, 1]));
    }),
  );
  const outcomes = await Promise.all(batches.map((batch, index) => placeAll(pools[index % 2]!, batch)));
  expect(outcomes.flat().filter((status) => status === 'pending').length).toBeGreaterThan(150);
  expect(new Set(outcomes.flat())).toEqual(new Set(['pending', 'rejected']));
  await expectStockAddsUp(stack.db);
});

test('the same orders in several batches at once, in any order, are each placed once', async () => {
  await stack.stock('SHARED', 15);
  const shared = Array.from({ length: 20 }, () => accepted([['SHARED', 1]]));
  // of these there is no stock, so no lock on it puts the batches one after the other
  const nowhere = Array.from({ length: 300 }, () => accepted([['NOWHERE', 1]]));
  const outcomes = await Promise.all(
    Array.from({ length: 16 }, (_, index) => {
      const orders = index < 8 ? nowhere : [...nowhere, ...shared];
      return placeAll(pools[index % 2]!, index % 4 < 2 ? orders : orders.toReversed());
    }),
  );
  const placed = outcomes.flat().filter((status) => status !== undefined);
  expect(placed.filter((status) => status === 'pending')).toHaveLength(15);
  expect(placed.filter((status) => status === 'rejected')).toHaveLength(5 + nowhere.length);
  expect(await stack.reserved('SHARED')).toBe(15);
});

test('an order that Postgres refuses does not hurt those that are placed with it', async () => {
  await stack.stock('MIXED', 100);
  const placeOrder = createPlacementQueue(pools[0]!);
  const first = accepted([['MIXED', 1]]);
  const sameNumber = { ...accepted([['MIXED', 1]]), number: first.number };
  const unreadable = { ...accepted([['MIXED', 1]]), note: 'a\u0000b' };
  const impossible = accepted([['MIXED', 0]]);
  const others = Array.from({ length: 6 }, () => accepted([['MIXED', 1]]));
  const orders = [first, ...others.slice(0, 3), sameNumber, unreadable, impossible, ...others.slice(3)];
  const results = await Promise.allSettled(orders.map((order) => placeOrder(placement(order))));
  const resultOf = (order: PlacedOrder) => results[orders.indexOf(order)];
  for (const order of [first, ...others]) {
    expect(resultOf(order)).toMatchObject({ value: { record: { id: order.orderId, status: 'pending' } } });
  }
  expect(resultOf(sameNumber)).toMatchObject({
    value: { record: { status: 'pending', number: orderNumber(sameNumber.orderId, 12) } },
  });
  expect(resultOf(unreadable)).toMatchObject({ status: 'rejected', reason: { code: '22P05' } });
  expect(resultOf(impossible)).toMatchObject({ status: 'rejected', reason: { code: '23514' } });
  expect(await stack.reserved('MIXED')).toBe(8);
});

test('orders that wait for a stock row that somebody holds do not keep others waiting', async () => {
  await stack.stock('HELD', 200);
  await stack.stock('OTHER', 10);
  const placeOrder = createPlacementQueue(pools[0]!);
  let held: Promise<unknown> | undefined;
  await pools[1]!.transaction().execute(async (trx) => {
    await sql`select from inventory.stock where sku = 'HELD' for update`.execute(trx);
    held = Promise.all(Array.from({ length: 200 }, () => placeOrder(placement(accepted([['HELD', 1]])))));
    const other = await placeOrder(placement(accepted([['OTHER', 1]])));
    expect(other?.record.status).toBe('pending');
    expect(await stack.reserved('HELD')).toBe(0);
  });
  await held;
  expect(await stack.reserved('HELD')).toBe(200);
});

test('a placement through the outbox leaves word with the order, or neither', async () => {
  await stack.stock('WORD', 2);
  const placedBefore = accepted([['WORD', 1]]);
  await place(stack.db, placedBefore);
  const fits = accepted([['WORD', 1]]);
  const silent = accepted([['WORD', 1]]);
  const rejected = accepted([['WORD', 1]]);
  const all = [
    placement(placedBefore, { word: { claimedUntil: null } }),
    placement(fits, { word: { claimedUntil: null } }),
    placement(silent),
    placement(rejected, { word: { claimedUntil: null } }),
  ];
  const impossible = placement(accepted([['WORD', 0]]), { word: { claimedUntil: null } });
  const outbox = async () =>
    (await sql`select order_id, accepted from ordering.outbox`.execute(stack.db)).rows;
  await expect(placeOrders(stack.db, [...all, impossible])).rejects.toMatchObject({ code: '23514' });
  expect(await outbox()).toEqual([]);
  expect(await findOrder(stack.db, fits.orderId)).toBeUndefined();
  const taken = await placeOrders(stack.db, all);
  expect(taken.map((one) => one?.record.status)).toEqual([undefined, 'pending', 'rejected', 'rejected']);
  const word = [fits, rejected].map((order) => ({ order_id: order.orderId, accepted: order }));
  expect(await outbox()).toEqual(expect.arrayContaining(word));
  expect(await outbox()).toHaveLength(2);
});

test('the last units, hammered from several processes: none oversold, every order placed once', async () => {
  await stack.stock('LAST', 37);
  const entry = fileURLToPath(new URL('harness/placing.ts', import.meta.url));
  const processes = Array.from({ length: 4 }, () =>
    fork(entry, [stack.databaseUrl], { execArgv: ['--import', 'tsx'], stdio: 'inherit' }),
  );
  const answerOf = async (child: ChildProcess): Promise<unknown> => {
    const died = once(child, 'exit').then(([code]) => Promise.reject(new Error(`ended with ${code}`)));
    return (await Promise.race([once(child, 'message'), died]))[0] as unknown;
  };
  const exited = processes.map((child) => once(child, 'exit'));
  expect(await Promise.all(processes.map(answerOf))).toEqual(processes.map(() => 'ready'));

  const shared = Array.from({ length: 30 }, () => accepted([['LAST', 1]]));
  const answers = await Promise.all(
    processes.map(async (child, index) => {
      const own = Array.from({ length: 60 }, () => accepted([['LAST', 1 + (index % 2)]]));
      const answer = answerOf(child);
      child.send([...own.slice(0, 30), ...(index % 2 ? shared : shared.toReversed()), ...own.slice(30)]);
      return (await answer) as (string | null)[];
    }),
  );
  await Promise.all(exited);

  const placed = answers.flat().filter((status) => status !== null);
  expect(placed).toHaveLength(4 * 60 + shared.length);
  expect(new Set(placed)).toEqual(new Set(['pending', 'rejected']));
  const rows = await stack.db
    .selectFrom('ordering.order_lines')
    .innerJoin('ordering.orders', 'ordering.orders.id', 'order_id')
    .select(['status', 'reserved_quantity'])
    .where('sku', '=', 'LAST')
    .execute();
  expect(rows).toHaveLength(placed.length);
  const holding = rows.filter(({ status }) => status === 'pending');
  expect(holding).toHaveLength(placed.filter((status) => status === 'pending').length);
  expect(holding.reduce((sum, row) => sum + row.reserved_quantity, 0)).toBe(37);
  expect(await stack.reserved('LAST')).toBe(37);
  await expectStockAddsUp(stack.db);
});
