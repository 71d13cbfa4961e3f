import { sql } from 'kysely';
import { invalidField, OrderPlatformError } from '../domain/errors.ts';
import { isWanted, type WantedVersions } from '../domain/versions.ts';
import type { Db, Trx } from './connect.ts';
import type { MovementType } from './schema.ts';

/** How much of a sku there is: `available = onHand - reserved >= 0`. */
export interface StockLevel {
  sku: string;
  onHand: number;
  reserved: number;
  available: number;
  lowStockThreshold: number;
  version: number;
}

const stockColumns = [
  'sku',
  'on_hand as onHand',
  'reserved',
  sql<number>`on_hand - reserved`.as('available'),
  'low_stock_threshold as lowStockThreshold',
  'version',
] as const;

/** The stock of one sku, or undefined. */
export const findStock = (db: Db | Trx, sku: string): Promise<StockLevel | undefined> =>
  db.selectFrom('inventory.stock').select(stockColumns).where('sku', '=', sku).executeTakeFirst();

/** The stock by sku, from behind `afterSku`; with `lowStock` only what is at or below its threshold. */
export const listStock = (
  db: Db,
  page: { limit: number; afterSku?: string | undefined; lowStock?: boolean },
): Promise<StockLevel[]> =>
  db
    .selectFrom('inventory.stock')
    .select(stockColumns)
    .$if(page.lowStock === true, (query) =>
      query.where(sql<boolean>`on_hand - reserved <= low_stock_threshold`),
    )
    .$if(page.afterSku !== undefined, (query) => query.where('sku', '>', page.afterSku!))
    .orderBy('sku')
    .limit(page.limit)
    .execute();

/** The totals over all skus, in units. */
export const summarizeStock = (db: Db) =>
  db
    .selectFrom('inventory.stock')
    .select([
      sql<number>`count(*)`.as('skus'),
      sql<number>`coalesce(sum(on_hand), 0)::bigint`.as('onHand'),
      sql<number>`coalesce(sum(reserved), 0)::bigint`.as('reserved'),
      sql<number>`coalesce(sum(on_hand - reserved), 0)::bigint`.as('available'),
      sql<number>`count(*) filter (where on_hand - reserved <= low_stock_threshold)`.as('lowStock'),
      sql<number>`count(*) filter (where on_hand - reserved = 0)`.as('outOfStock'),
    ])
    .executeTakeFirstOrThrow();

const MAX_ON_HAND = 2_000_000_000;

/**
 * Sets how many units of a sku are on hand, making its stock if it is missing; the difference is a movement.
 * Throws `below_reserved` under what is reserved and `version_conflict`, also where there is no stock to be at one of the
 * `versions`.
 */
export async function putStock(
  trx: Trx,
  sku: string,
  level: { onHand: number; lowStockThreshold?: number | undefined },
  versions?: WantedVersions,
): Promise<{ stock: StockLevel; created: boolean }> {
  const { before, created } = versions
    ? { before: await findLocked(trx, sku), created: false }
    : await lockOrMake(trx, sku, level.lowStockThreshold);
  if (!before) throw new OrderPlatformError('version_conflict', `There is no stock of ${sku}.`);
  if (!isWanted(before.version, versions)) {
    throw new OrderPlatformError('version_conflict', `The stock of ${sku} is at version ${before.version}.`);
  }
  if (level.onHand < before.reserved) {
    throw new OrderPlatformError(
      'below_reserved',
      `${before.reserved} units of ${sku} are reserved, so it cannot be set to ${level.onHand}.`,
      { extra: { reserved: before.reserved } },
    );
  }
  const delta = level.onHand - before.onHand;
  const stock = await changeOnHand(trx, sku, delta, level.lowStockThreshold);
  if (delta !== 0) await recordAdjustment(trx, stock, delta, 'set');
  return { stock, created };
}

/** Adds `delta` units to what is on hand. Throws `not_found`, or `insufficient_stock` below what is reserved. */
export async function adjustStock(trx: Trx, sku: string, delta: number, reason: string): Promise<StockLevel> {
  const before = await lockStock(trx, sku);
  if (before.available + delta < 0) {
    throw new OrderPlatformError(
      'insufficient_stock',
      `${before.available} units of ${sku} are available, so ${-delta} cannot be taken away.`,
      { extra: { available: before.available } },
    );
  }
  if (before.onHand + delta > MAX_ON_HAND) {
    throw invalidField('/delta', `The stock can hold at most ${MAX_ON_HAND - before.onHand} more.`);
  }
  const stock = await changeOnHand(trx, sku, delta);
  await recordAdjustment(trx, stock, delta, reason);
  return stock;
}

/** Removes the stock of a sku. Throws `not_found`, or `stock_reserved` while orders hold some of it. */
export async function deleteStock(trx: Trx, sku: string): Promise<void> {
  const before = await lockStock(trx, sku);
  if (before.reserved > 0) {
    throw new OrderPlatformError('stock_reserved', `${before.reserved} units of ${sku} are reserved.`, {
      extra: { reserved: before.reserved },
    });
  }
  if (before.onHand > 0) {
    await recordAdjustment(trx, { ...before, onHand: 0 }, -before.onHand, 'removed');
  }
  await trx.deleteFrom('inventory.stock').where('sku', '=', sku).execute();
}

export interface Movement {
  id: string;
  sku: string;
  type: MovementType;
  quantity: number;
  orderId?: string;
  reason?: string;
  onHandAfter: number;
  reservedAfter: number;
  at: string;
}

/** The ledger of a sku, newest first, from behind the movement `beforeId`. */
export async function listMovements(
  db: Db,
  sku: string,
  page: { limit: number; beforeId?: number | undefined },
): Promise<Movement[]> {
  const rows = await db
    .selectFrom('inventory.movements')
    .select(['id', 'sku', 'type', 'quantity', 'order_id', 'reason', 'on_hand_after', 'reserved_after', 'at'])
    .where('sku', '=', sku)
    .$if(page.beforeId !== undefined, (query) => query.where('id', '<', page.beforeId!))
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute();
  return rows.map((row) => ({
    id: String(row.id),
    sku: row.sku,
    type: row.type,
    quantity: row.quantity,
    ...(row.order_id !== null && { orderId: row.order_id }),
    ...(row.reason !== null && { reason: row.reason }),
    onHandAfter: row.on_hand_after,
    reservedAfter: row.reserved_after,
    at: row.at.toISOString(),
  }));
}

const findLocked = (trx: Trx, sku: string): Promise<StockLevel | undefined> =>
  trx
    .selectFrom('inventory.stock')
    .select(stockColumns)
    .where('sku', '=', sku)
    .forUpdate()
    .executeTakeFirst();

async function lockOrMake(
  trx: Trx,
  sku: string,
  lowStockThreshold = 0,
): Promise<{ before: StockLevel; created: boolean }> {
  for (;;) {
    const made = await trx
      .insertInto('inventory.stock')
      .values({ sku, on_hand: 0, low_stock_threshold: lowStockThreshold, version: 0 })
      .onConflict((conflict) => conflict.doNothing())
      .returning('sku')
      .executeTakeFirst();
    const before = await findLocked(trx, sku);
    if (before) return { before, created: made !== undefined };
    // It was there when it was to be made, and was deleted before it could be locked.
  }
}

async function lockStock(trx: Trx, sku: string): Promise<StockLevel> {
  const stock = await findLocked(trx, sku);
  if (!stock) throw new OrderPlatformError('not_found', `There is no stock of ${sku}.`);
  return stock;
}

const changeOnHand = (
  trx: Trx,
  sku: string,
  delta: number,
  lowStockThreshold?: number,
): Promise<StockLevel> =>
  trx
    .updateTable('inventory.stock')
    .set((stock) => ({
      on_hand: stock('on_hand', '+', delta),
      version: stock('version', '+', 1),
      updated_at: sql<Date>`now()`,
      ...(lowStockThreshold !== undefined && { low_stock_threshold: lowStockThreshold }),
    }))
    .where('sku', '=', sku)
    .returning(stockColumns)
    .executeTakeFirstOrThrow();

const recordAdjustment = (trx: Trx, after: StockLevel, quantity: number, reason: string) =>
  trx
    .insertInto('inventory.movements')
    .values({
      sku: after.sku,
      type: 'adjustment',
      quantity,
      reason,
      on_hand_after: after.onHand,
      reserved_after: after.reserved,
    })
    .execute();

/** Names who hears of stock that runs low or comes back. */
export const setStockManager = (db: Db, email: string) =>
  sql`
    insert into inventory.stock_manager (email) values (${email})
    on conflict (only_one) do update set email = excluded.email where stock_manager.email <> excluded.email
  `.execute(db);
