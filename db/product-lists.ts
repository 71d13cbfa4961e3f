import { type SelectQueryBuilder, type SqlBool, sql } from 'kysely';
import type { Db } from './connect.ts';
import { wordsAsMeant, wordsAsWritten } from './product-words.ts';
import { type Product, productColumns, toProduct } from './products.ts';
import type { Schema } from './schema.ts';

export interface ProductFilter {
  q?: string | undefined;
  category?: string | undefined;
  minPrice?: number | undefined;
  maxPrice?: number | undefined;
}

export const PRODUCT_SORTS = ['sku', 'name', 'price', '-price', 'newest', 'relevance'] as const;
export type ProductSort = (typeof PRODUCT_SORTS)[number];

export interface ProductPage {
  sort: ProductSort;
  limit: number;
  /** The product before the first one: what it is sorted by, and its sku. */
  after?: { value: string | number; sku: string } | undefined;
}

export interface ListedProduct extends Product {
  /** How well it fits what was searched for, in a list by relevance. */
  rank?: number;
}

/**
 * The active products that match, in the given order (then by sku), from behind the position `after`. They have all words
 * of `q`, of which the last may be the start of one; where nothing has, all may be, and words that nothing starts with
 * are taken for misspelled. With a `q`, `db` is a connection for searching. Without one nothing is relevant: that is the order by sku.
 */
export async function listProducts(
  db: Db,
  filter: ProductFilter,
  page: ProductPage,
): Promise<ListedProduct[]> {
  if (filter.q === undefined) return await inOrder(db, filter, page);
  return await searching(db, filter.q, (words) =>
    page.sort === 'relevance' ? byRelevance(db, filter, page, words) : inOrder(db, filter, page, words),
  );
}

/** How many products match, by category, and from which price to which. */
export interface Facets {
  categories: { category: string; count: number }[];
  price: { min: number; max: number } | null;
}

const MOST_CATEGORIES = 100;

/**
 * What choosing another category, or other prices, would find: the categories are counted as if none were chosen, the
 * prices told as if none were. With a `q`, `db` is a connection for searching.
 */
export async function countFacets(
  db: Db,
  { q, category, minPrice = 0, maxPrice = Number.MAX_SAFE_INTEGER }: ProductFilter,
): Promise<Facets> {
  const count = (words?: string) =>
    matching(db, {}, words)
      .select([
        'category',
        sql<number>`count(*) filter (where price between ${minPrice} and ${maxPrice})`.as('count'),
        sql<number>`min(price)`.as('min'),
        sql<number>`max(price)`.as('max'),
      ])
      .groupBy('category')
      .execute();
  const counted = q === undefined ? await count() : await searching(db, q, count);
  const priced = counted.filter((one) => category === undefined || one.category === category);
  return {
    categories: counted
      .filter((one) => one.count > 0)
      .map((one) => ({ category: one.category, count: one.count }))
      .sort((a, b) => b.count - a.count || (a.category < b.category ? -1 : 1))
      .slice(0, MOST_CATEGORIES),
    price:
      priced.length === 0
        ? null
        : { min: Math.min(...priced.map(({ min }) => min)), max: Math.max(...priced.map(({ max }) => max)) },
  };
}

/** What `find` finds with the words as written, or else as they were probably meant. */
async function searching<T>(db: Db, q: string, find: (words: string) => Promise<T[]>): Promise<T[]> {
  const written = wordsAsWritten(q);
  if (written === '') return [];
  const found = await find(written);
  if (found.length > 0) return found;
  const meant = await wordsAsMeant(db, q);
  return meant === '' ? [] : await find(meant);
}

const SORTED_BY = {
  sku: { column: 'sku', descending: false },
  name: { column: 'name', descending: false },
  price: { column: 'price', descending: false },
  '-price': { column: 'price', descending: true },
  newest: { column: 'created_at', descending: true },
  relevance: { column: 'sku', descending: false },
} as const;

async function inOrder(
  db: Db,
  filter: ProductFilter,
  { sort, limit, after }: ProductPage,
  words?: string,
): Promise<Product[]> {
  const { column, descending } = SORTED_BY[sort];
  const rows = await matching(db, filter, words)
    .select(productColumns)
    .$if(after !== undefined, (query) => query.where(behind(column, after!, descending)))
    .orderBy(column, descending ? 'desc' : 'asc')
    .orderBy('sku')
    .limit(limit)
    .execute();
  return rows.map(toProduct);
}

/** So many of the products that match are ranked, whichever are found first: what a common word costs is bounded. */
export const MOST_RANKED = 100;

async function byRelevance(
  db: Db,
  filter: ProductFilter,
  { limit, after }: ProductPage,
  words: string,
): Promise<ListedProduct[]> {
  const rows = await db
    .selectFrom(
      matching(db, filter, words)
        .select(productColumns)
        .select(sql<number>`ts_rank(search, ${toQuery(words)})`.as('rank'))
        .limit(MOST_RANKED)
        .as('found'),
    )
    .selectAll()
    .$if(after !== undefined, (query) => query.where(behind('rank', after!, true)))
    .orderBy('rank', 'desc')
    .orderBy('sku')
    .limit(limit)
    .execute();
  return rows.map(toProduct);
}

const toQuery = (words: string) => sql`to_tsquery('simple', ${words})`;

const behind = (
  column: string,
  { value, sku }: { value: string | number; sku: string },
  descending: boolean,
) => {
  const position = sql.ref(column);
  const from = column === 'rank' ? sql`${value}::real` : sql`${value}`;
  return descending
    ? sql<SqlBool>`${position} <= ${from} and (${position} < ${from} or sku > ${sku})`
    : sql<SqlBool>`(${position}, sku) > (${from}, ${sku})`;
};

function matching(
  db: Db,
  { category, minPrice, maxPrice }: ProductFilter,
  words?: string,
): SelectQueryBuilder<Schema, 'catalogue.products', object> {
  return db
    .selectFrom('catalogue.products')
    .where(sql<SqlBool>`active`)
    .$if(words !== undefined, (query) => query.where(sql<SqlBool>`search @@ ${toQuery(words!)}`))
    .$if(category !== undefined, (query) => query.where('category', '=', category!))
    .$if(minPrice !== undefined, (query) => query.where('price', '>=', minPrice!))
    .$if(maxPrice !== undefined, (query) => query.where('price', '<=', maxPrice!));
}
