import { type Expression, type RawBuilder, type SelectQueryBuilder, type SqlBool, sql } from 'kysely';
import type { Db } from './connect.ts';
import { createMeanings, firstSkus, type Sought, toTsquery, wordsAsWritten } from './product-words.ts';
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

type ProductRow = Omit<ListedProduct, 'createdAt' | 'updatedAt'> & { createdAt: Date; updatedAt: Date };

export interface ProductLists {
  /**
   * The active products that match, in the given order (then by sku), from behind the position `after`. They have all
   * words of `q`, of which the last may be the start of one; where no product at all has, all may be, and words that nothing
   * starts with are taken for misspelled. Without a `q` nothing is relevant: that is the order by sku.
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

/** What walks an index is read on `db`; what has to find words on `search`, a connection for searching. */
interface Databases {
  db: Db;
  search: Db;
}

export function createProductLists(databases: Databases): ProductLists {
  const { search } = databases;
  const meanings = createMeanings(search);
  /** By the words as written where any product has them, whatever else is `chosen`, and else by what they mean. */
  const searching = async <Row>(
    q: string,
    query: (sought: Sought[]) => Query<Row>,
    order: Order,
    chosen: Choice = {},
  ) => {
    const written = wordsAsWritten(q);
    if (written.length === 0) return [];
    const any = isChoice(chosen) ? matching(databases, {}, written).select('sku').limit(1) : undefined;
    const remembered = meanings.remembered(q);
    if (remembered !== undefined)
      return await firstWithRows(search, { first: query(written), any, second: query(remembered) }, order);
    const found = await query(written).execute();
    if (found.length > 0 || (any && (await any.execute()).length > 0)) return found;
    const meant = await meanings.lookUp(q);
    return meant === undefined ? [] : await query(meant).execute();
  };
  return {
    async list({ q, ...filter }, page) {
      if (q === undefined) return (await inOrder(databases, filter, page).execute()).map(toProduct);
      const list = page.sort === 'relevance' ? byRelevance : inOrder;
      const query = (sought: Sought[]) => list(databases, filter, page, sought);
      const rows = await searching(q, query, orderOf(page.sort), filter);
      return rows.map(toProduct);
    },
    async countFacets({ q, ...filter }) {
      const counted = await (q === undefined
        ? countByCategory(databases, filter).execute()
        : searching(q, (sought) => countByCategory(databases, filter, sought), sql`category`));
      return facetsOf(counted, filter);
    },
  };
}

type Choice = Omit<ProductFilter, 'q'>;

const isChoice = (choice: Choice): boolean => Object.values(choice).some((value) => value !== undefined);

type Query<Row> = Expression<Row> & { execute(): Promise<Row[]> };
type Order = RawBuilder<unknown>;

/** The rows of the first query or, where neither it nor `any` has one, of the second: in one round trip. */
async function firstWithRows<Row>(
  db: Db,
  { first, any, second }: { first: Query<Row>; any: Query<unknown> | undefined; second: Query<Row> },
  order: Order,
): Promise<Row[]> {
  const { rows } = await sql<Row>`
    with first as materialized ${first}
    select * from first
    union all
    select * from ${second} as second where not exists (select from first) ${any ? sql`and not exists ${any}` : sql``}
    order by ${order}
  `.execute(db);
  return rows;
}

const countByCategory = (
  databases: Databases,
  { minPrice = 0, maxPrice = Number.MAX_SAFE_INTEGER }: Choice,
  sought?: Sought[],
) =>
  matching(databases, {}, sought)
    .select([
      'category',
      sql<number>`count(*) filter (where price between ${minPrice} and ${maxPrice})`.as('count'),
      sql<number>`min(price)`.as('min'),
      sql<number>`max(price)`.as('max'),
    ])
    .groupBy('category');

const MOST_CATEGORIES = 100;

function facetsOf(
  counted: Awaited<ReturnType<ReturnType<typeof countByCategory>['execute']>>,
  { category }: Choice,
): Facets {
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
  sku: { column: 'sku', as: 'sku', descending: false },
  name: { column: 'name', as: 'name', descending: false },
  price: { column: 'price', as: 'price', descending: false },
  '-price': { column: 'price', as: 'price', descending: true },
  newest: { column: 'created_at', as: 'createdAt', descending: true },
  relevance: { column: 'rank', as: 'rank', descending: true },
} as const;

const orderOf = (sort: ProductSort): Order => {
  const { as, descending } = SORTED_BY[sort];
  return sql`${sql.ref(as)} ${descending ? sql`desc` : sql`asc`}, sku`;
};

function inOrder(
  databases: Databases,
  filter: Choice,
  { sort: wanted, limit, after }: ProductPage,
  sought?: Sought[],
): Query<ProductRow> {
  const sort = wanted === 'relevance' ? 'sku' : wanted;
  const from = { limit, after: after?.sku ?? '' };
  return ((sort === 'sku' && listed(databases, filter, sought, from)) || matching(databases, filter, sought))
    .select(productColumns)
    .$if(after !== undefined, (query) => query.where(behind(sort, after!)))
    .orderBy(orderOf(sort))
    .limit(limit);
}

/** So many of the products that match are ranked, whichever are found first: what a common word costs is bounded. */
export const MOST_RANKED = 100;

function byRelevance(
  databases: Databases,
  filter: Choice,
  { limit, after }: ProductPage,
  sought: Sought[],
): Query<ProductRow> {
  const first = listed(databases, filter, sought, { limit: MOST_RANKED, after: '' });
  return (first ? databases.db : databases.search)
    .selectFrom(
      (first ?? matching(databases, filter, sought))
        .select(productColumns)
        .select(sql<number>`ts_rank(search, ${toQuery(sought)})`.as('rank'))
        .limit(MOST_RANKED)
        .as('found'),
    )
    .selectAll()
    .$if(after !== undefined, (query) => query.where(behind('relevance', after!)))
    .orderBy(orderOf('relevance'))
    .limit(limit);
}

const toQuery = (sought: Sought[]) => sql`to_tsquery('simple', ${toTsquery(sought)})`;

const behind = (sort: ProductSort, { value, sku }: { value: string | number; sku: string }) => {
  const { column, descending } = SORTED_BY[sort];
  const position = sql.ref(column);
  const from = sort === 'relevance' ? sql`${value}::real` : sql`${value}`;
  return descending
    ? sql<SqlBool>`${position} <= ${from} and (${position} < ${from} or sku > ${sku})`
    : sql<SqlBool>`(${position}, sku) > (${from}, ${sku})`;
};

/**
 * The first by sku of those that match, where one word is sought and nothing else: read from the list of each word that it
 * may be, which reads no more than it returns. Common words have many products.
 */
function listed(
  { db }: Databases,
  filter: Choice,
  sought: Sought[] = [],
  from: { limit: number; after: string },
): SelectQueryBuilder<Schema, 'catalogue.products', object> | undefined {
  const [only, ...more] = sought;
  if (only === undefined || more.length > 0 || ('start' in only && only.isCommon)) return undefined;
  if (isChoice(filter)) return undefined;
  return db.selectFrom('catalogue.products').where('sku', 'in', firstSkus(only, from));
}

function matching(
  { db, search }: Databases,
  { category, minPrice, maxPrice }: Choice,
  sought?: Sought[],
): SelectQueryBuilder<Schema, 'catalogue.products', object> {
  return (sought === undefined ? db : search)
    .selectFrom('catalogue.products')
    .where(sql<SqlBool>`active`)
    .$if(sought !== undefined, (query) => query.where(sql<SqlBool>`search @@ ${toQuery(sought!)}`))
    .$if(category !== undefined, (query) => query.where('category', '=', category!))
    .$if(minPrice !== undefined, (query) => query.where('price', '>=', minPrice!))
    .$if(maxPrice !== undefined, (query) => query.where('price', '<=', maxPrice!));
}
