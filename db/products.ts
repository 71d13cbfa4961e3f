import { type SqlBool, sql } from 'kysely';
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

export interface ProductFilter {
  q?: string | undefined;
  category?: string | undefined;
  minPrice?: number | undefined;
  maxPrice?: number | undefined;
}

export type ProductSort = 'sku' | 'price' | '-price' | 'name';

const productColumns = [
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

const toProduct = <T extends { createdAt: Date; updatedAt: Date }>(row: T) => ({
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

/** The active products that match, in the given order (then by sku), from behind the position `after`. */
export async function listProducts(
  db: Db,
  filter: ProductFilter,
  page: { sort: ProductSort; limit: number; after?: { value: string | number; sku: string } | undefined },
): Promise<Product[]> {
  const column = page.sort === '-price' ? 'price' : page.sort;
  const descending = page.sort === '-price';
  const rows = await db
    .selectFrom('catalogue.products')
    .select(productColumns)
    .where(sql<SqlBool>`active`)
    .$if(filter.q !== undefined, (query) => {
      const pattern = `%${filter.q!.replaceAll(/[\\%_]/g, String.raw`\$&`)}%`;
      return query.where(({ or, eb }) =>
        or([eb('name', 'ilike', pattern), eb('sku', 'ilike', pattern), eb('description', 'ilike', pattern)]),
      );
    })
    .$if(filter.category !== undefined, (query) => query.where('category', '=', filter.category!))
    .$if(filter.minPrice !== undefined, (query) => query.where('price', '>=', filter.minPrice!))
    .$if(filter.maxPrice !== undefined, (query) => query.where('price', '<=', filter.maxPrice!))
    .$if(page.after !== undefined, (query) => {
      const { value, sku } = page.after!;
      const position = sql.ref(column);
      return query.where(
        descending
          ? sql<SqlBool>`${position} <= ${value} and (${position} < ${value} or sku > ${sku})`
          : sql<SqlBool>`(${position}, sku) > (${value}, ${sku})`,
      );
    })
    .orderBy(column, descending ? 'desc' : 'asc')
    .orderBy('sku')
    .limit(page.limit)
    .execute();
  return rows.map(toProduct);
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
