import { sql } from 'kysely';
import type { Db } from './connect.ts';

export interface Product {
  sku: string;
  name: string;
  description: string;
  category: string;
  price: number;
  currency: string;
  imageUrl: string | null;
  active: boolean;
  version: number;
  createdAt: string;
  updatedAt: string;
}

export const productColumns = [
  'sku',
  'name',
  'description',
  'category',
  'price',
  'currency',
  'image_url as imageUrl',
  'active',
  'version',
  'created_at as createdAt',
  'updated_at as updatedAt',
] as const;

export const toProduct = <T extends { createdAt: Date; updatedAt: Date }>(row: T) => ({
  ...row,
  createdAt: row.createdAt.toISOString(),
  updatedAt: row.updatedAt.toISOString(),
});

/** The product with this sku, active or not, or undefined. */
export async function findProduct(db: Db, sku: string): Promise<Product | undefined> {
  const row = await db
    .selectFrom('catalogue.products')
    .select(productColumns)
    .where('sku', '=', sku)
    .executeTakeFirst();
  return row && toProduct(row);
}

/** What a product costs now, for the active ones of these skus. */
export interface Price {
  sku: string;
  name: string;
  price: number;
  currency: string;
}

/** All that accepting an order has to know. */
export interface Quote {
  /** Of those of its skus that are active products. */
  prices: Price[];
  customerExists: boolean;
  /** The fingerprint of the request that placed the order before, if any did. */
  requestHash: string | null;
}

/** All that accepting an order has to know, in one round trip. */
export async function quoteOrder(
  db: Db,
  order: { orderId: string; customerId: string; skus: string[] },
): Promise<Quote> {
  const { rows } = await sql<{ prices: Price[]; customer_exists: boolean; request_hash: string | null }>`
    select
      (select coalesce(jsonb_agg(jsonb_build_object('sku', sku, 'name', name, 'price', price, 'currency', currency)), '[]')
        from catalogue.products where sku = any (${order.skus}::text[]) and active) as prices,
      exists (select from identity.users where id = ${order.customerId}::uuid and role = 'customer' and deleted_at is null) as customer_exists,
      (select request_hash from ordering.orders where id = ${order.orderId}::uuid) as request_hash
  `.execute(db);
  const { prices, customer_exists: customerExists, request_hash: requestHash } = rows[0]!;
  return { prices, customerExists, requestHash };
}
