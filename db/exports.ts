import { sql } from 'kysely';
import type { Db } from './connect.ts';

/** Rows are read in parts by key, so that neither memory nor a connection is held while they are sent. */
const PART = 1000;

async function* inParts<T>(
  read: (after: string) => Promise<T[]>,
  first: string,
  keyOf: (row: T) => string,
): AsyncGenerator<T[]> {
  for (let after = first; ;) {
    const rows = await read(after);
    if (rows.length > 0) yield rows;
    if (rows.length < PART) return;
    after = keyOf(rows.at(-1)!);
  }
}

/** All products by sku, also those that are not sold any more, as they can be imported. */
export const exportProducts = (db: Db) =>
  inParts(
    (after) =>
      db
        .selectFrom('catalogue.products')
        .select([
          'sku',
          'name',
          'description',
          'category',
          'price',
          'currency',
          'image_url as imageUrl',
          'active',
        ])
        .where('sku', '>', after)
        .orderBy('sku')
        .limit(PART)
        .execute(),
    '',
    (row) => row.sku,
  );

/** All stock by sku; what is reserved and available is told, and not imported. */
export const exportStock = (db: Db) =>
  inParts(
    (after) =>
      db
        .selectFrom('inventory.stock')
        .select([
          'sku',
          'on_hand as onHand',
          'low_stock_threshold as lowStockThreshold',
          'reserved',
          sql<number>`on_hand - reserved`.as('available'),
        ])
        .where('sku', '>', after)
        .orderBy('sku')
        .limit(PART)
        .execute(),
    '',
    (row) => row.sku,
  );

interface ExportedLine {
  sku: string;
  name: string;
  quantity: number;
  unitPrice: number;
}

/** All orders by id, with their lines. */
export const exportOrders = (db: Db) =>
  inParts(
    (after) =>
      db
        .selectFrom('ordering.orders')
        .select([
          'id',
          'number',
          'customer_id as customerId',
          'status',
          'payment_status as paymentStatus',
          'currency',
          'total',
          sql<string>`shipping_address ->> 'country'`.as('country'),
          sql<ExportedLine[]>`(
            select jsonb_agg(jsonb_build_object(
              'sku', sku, 'name', name, 'quantity', quantity, 'unitPrice', unit_price
            ) order by position)
            from ordering.order_lines where order_id = orders.id
          )`.as('lines'),
          'created_at as createdAt',
          'updated_at as updatedAt',
        ])
        .where('id', '>', after)
        .orderBy('id')
        .limit(PART)
        .execute(),
    '00000000-0000-0000-0000-000000000000',
    (row) => row.id,
  );
