import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { connect, type Db } from '../db/connect.ts';
import { demoUsers } from '../db/demo-data.ts';
import { createPlacementQueue, type PlaceOrder } from '../db/placement-queue.ts';
import { placeOrders } from '../db/placement.ts';
import { paint, say } from '../dev/report.ts';
import { lineIdFor, orderNumber } from '../domain/ids.ts';
import type { PlacedOrder } from '../domain/order.ts';
import { buyer } from './buyer.ts';
import { describe, figure } from './figures.ts';
import { type Spread, spreadOf } from './measure.ts';

const CLIENTS = 40;
const ROUNDS = 9;
const WARM_UP_SECONDS = 2;
const ROUND_SECONDS = 2;
const SEQUENTIAL = 300;
const SKU = 'HOT';

export interface PlacementRound {
  /** Placements per second: each order in a transaction of its own, and through the queue. */
  alone: number;
  queued: number;
}

export interface PlacementResults {
  rounds: PlacementRound[];
  /** Milliseconds of a placement through the queue, with nobody else there. */
  single: Spread;
  problems: string[];
}

/**
 * Placements of one hot item by 40 clients, on the database alone: each in a transaction of its own, on a connection of
 * its own, against the queue. Both are the same statement on the same row, one right after the other.
 */
export async function measurePlacements(databaseUrl: string): Promise<PlacementResults> {
  const { db } = connect(databaseUrl, { max: CLIENTS, name: 'holdfast-bench' });
  try {
    return await measure(db);
  } finally {
    await db.destroy();
  }
}

async function measure(db: Db): Promise<PlacementResults> {
  await db.insertInto('inventory.stock').values({ sku: SKU, on_hand: 1_000_000_000 }).execute();
  const alone: PlaceOrder = async (placement) => (await placeOrders(db, [placement]))[0];
  const queued = createPlacementQueue(db);
  let placed = 0;
  const rate = async (placeOrder: PlaceOrder, seconds: number): Promise<number> => {
    const began = performance.now();
    const deadline = began + seconds * 1000;
    let count = 0;
    const client = async (): Promise<void> => {
      for (; performance.now() < deadline; count += 1) await place(placeOrder);
    };
    await Promise.all(Array.from({ length: CLIENTS }, client));
    placed += count;
    return (count * 1000) / (performance.now() - began);
  };

  await rate(alone, WARM_UP_SECONDS);
  await rate(queued, WARM_UP_SECONDS);
  const rounds: PlacementRound[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    rounds.push({ alone: await rate(alone, ROUND_SECONDS), queued: await rate(queued, ROUND_SECONDS) });
  }
  const latencies: number[] = [];
  for (; latencies.length < SEQUENTIAL; placed += 1) {
    const began = performance.now();
    await place(queued);
    latencies.push(performance.now() - began);
  }
  return { rounds, single: spreadOf(latencies), problems: await checkStock(db, placed) };
}

/** Prints the figures. */
export function printPlacements({ rounds, single }: PlacementResults): void {
  say(`\n${paint.bold(`Placements of one hot item, ${CLIENTS} clients, the database alone`)}`);
  const figures = [
    figure(
      'one transaction an order',
      '/s',
      0,
      rounds.map(({ alone }) => alone),
    ),
    figure(
      'the queue',
      '/s',
      0,
      rounds.map(({ queued }) => queued),
    ),
    { name: 'the queue, 1 client', unit: 'ms', digits: 1, spread: single },
  ];
  for (const measured of figures) say(`  ${describe(measured)}`);
}

const place = async (placeOrder: PlaceOrder): Promise<void> => {
  const taken = await placeOrder({ order: newOrder(), provider: 'mock', cancellation: null });
  if (taken?.record.status !== 'pending') throw new Error(`An order is ${taken?.record.status}.`);
};

function newOrder(): PlacedOrder {
  const orderId = randomUUID();
  const customerId = demoUsers[0]!.id;
  return {
    orderId,
    number: orderNumber(orderId),
    customerId,
    placedBy: `customer:${customerId}`,
    placedAt: new Date().toISOString(),
    requestHash: 'bench',
    lines: [{ id: lineIdFor(orderId, SKU), sku: SKU, name: 'A hot item', quantity: 1, unitPrice: 1999 }],
    currency: 'USD',
    total: 1999,
    ...buyer,
  };
}

/** What of the stock does not add up after all those placements. */
async function checkStock(db: Db, placed: number): Promise<string[]> {
  const { rows } = await sql<Record<'reserved' | 'held' | 'moved' | 'last', number>>`
    select reserved,
      (select sum(reserved_quantity) from ordering.order_lines where sku = ${SKU}) as held,
      (select sum(quantity) from inventory.movements where sku = ${SKU}) as moved,
      (select reserved_after from inventory.movements where sku = ${SKU} order by id desc limit 1) as last
    from inventory.stock where sku = ${SKU}
  `.execute(db);
  return Object.entries(rows[0]!)
    .filter(([, units]) => units !== placed)
    .map(([name, units]) => `${name} is ${units} after ${placed} placements`);
}
