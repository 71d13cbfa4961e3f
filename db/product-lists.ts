import { type SelectQueryBuilder, type SqlBool, sql } from 'kysely';
import type { Db } from './connect.ts';
import { createWordsAsMeant, firstSkus, type Sought, toTsquery, wordsAsWritten } from './product-words.ts';
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

export interface ProductLists {
  /**
   * The active products that match, in the given order (then by sku), from behind the position `after`. They have all
   * words of `q`, of which the last may be the start of one; where nothing has, all may be, and words that nothing starts
   * with are taken for misspelled. Without a `q` nothing is relevant: that is the order by sku.
   */
  list(filter: ProductFilter, page: ProductPage): Promise<ListedProduct[]>;
  /**
   * What choosing another category, or other prices, would find: the categories are counted as if none were chosen, the
   * prices told as if none were.
   */
  countFacets(filter: ProductFilter): Promise<Facets>;
}

/** How many products match, by category, and from which price to which. */
export interface Facets {
  categories: { category: string; count: number }[];
  price: { min: number; max: number } | null;
}

/** Lists read on `db`; searches by words on `search`, a database connection for searching. */
export function createProductLists({ db, search }: { db: Db; search: Db }): ProductLists {
  const wordsAsMeant = createWordsAsMeant(search);
  const searching = async <T>(q: string, find: (sought: Sought[]) => Promise<T[]>): Promise<T[]> => {
    const written = wordsAsWritten(q);
    if (written.length === 0) return [];
    const found = await find(written);
    if (found.length > 0) return found;
    const meant = await wordsAsMeant(q);
    return meant === undefined ? [] : await find(meant);
  };
  return {
    async list({ q, ...filter }, page) {
      if (q === undefined) return await inOrder(db, filter, page);
      const list = page.sort === 'relevance' ? byRelevance : inOrder;
      return await searching(q, (sought) => list(search, filter, page, sought));
    },
    async countFacets({ q, ...filter }) {
      const counted =
        q === undefined
          ? await countByCategory(db, filter)
          : await searching(q, (sought) => countByCategory(search, filter, sought));
      return facetsOf(counted, filter);
    },
  };
}

type Choice = Omit<ProductFilter, 'q'>;

const countByCategory = (
  db: Db,
  { minPrice = 0, maxPrice = Number.MAX_SAFE_INTEGER }: Choice,
  sought?: Sought[],
) =>
  matching(db, {}, sought)
    .select([
      'category',
      sql<number>`count(*) filter (where price between ${minPrice} and ${maxPrice})`.as('count'),
      sql<number>`min(price)`.as('min'),
      sql<number>`max(price)`.as('max'),
    ])
    .groupBy('category')
    .execute();

const MOST_CATEGORIES = 100;

function facetsOf(counted: Awaited<ReturnType<typeof countByCategory>>, { category }: Choice): Facets {
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
  filter: Choice,
  { sort, limit, after }: ProductPage,
  sought?: Sought[],
): Promise<Product[]> {
  const { column, descending } = SORTED_BY[sort];
  const from = { limit, after: after?.sku ?? '' };
  const rows = await ((sort === 'sku' && listed(db, filter, sought, from)) || matching(db, filter, sought))
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
  filter: Choice,
  { limit, after }: ProductPage,
  sought: Sought[],
): Promise<ListedProduct[]> {
  const rows = await db
    .selectFrom(
      matching(db, filter, sought)
        .select(productColumns)
        .select(sql<number>`ts_rank(search, ${toQuery(sought)})`.as('rank'))
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

const toQuery = (sought: Sought[]) => sql`to_tsquery('simple', ${toTsquery(sought)})`;

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

/**
 * The first by sku of those that match, where one word is sought and nothing else: read from the list of each word that it
 * may be, which reads no more than it returns. Common words have many products.
 */
function listed(
  db: Db,
  filter: Choice,
  sought: Sought[] = [],
  from: { limit: number; after: string },
): SelectQueryBuilder<Schema, 'catalogue.products', object> | undefined {
  const [only, ...more] = sought;
  if (only === undefined || more.length > 0 || ('start' in only && only.isCommon)) return undefined;
  if (Object.values(filter).some((value) => value !== undefined)) return undefined;
  return db.selectFrom('catalogue.products').where('sku', 'in', firstSkus(only, from));
}

function matching(
  db: Db,
  { category, minPrice, maxPrice }: Choice,
  sought?: Sought[],
): SelectQueryBuilder<Schema, 'catalogue.products', object> {
  return db
    .selectFrom('catalogue.products')
    .where(sql<SqlBool>`active`)
    .$if(sought !== undefined, (query) => query.where(sql<SqlBool>`search @@ ${toQuery(sought!)}`))
    .$if(category !== undefined, (query) => query.where('category', '=', category!))
    .$if(minPrice !== undefined, (query) => query.where('price', '>=', minPrice!))
    .$if(maxPrice !== undefined, (query) => query.where('price', '<=', maxPrice!));
}
