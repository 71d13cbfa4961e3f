import { type RawBuilder, sql } from 'kysely';
import type { Order } from '../domain/order.ts';
import { ORDER_STATUSES, type OrderStatus } from '../domain/states.ts';
import type { Db } from './connect.ts';
import { readOrder, selectOrders } from './orders.ts';
import { lower, startIs } from './prefixes.ts';

export interface OrderFilter {
  status?: OrderStatus | undefined;
  customerId?: string | undefined;
  sku?: string | undefined;
  createdFrom?: Date | undefined;
  createdTo?: Date | undefined;
  q?: string | undefined;
}

/** The place of an order in lists, which go from the newest to the oldest. */
export interface OrderPosition {
  createdAt: Date;
  id: string;
}

/** Limits are literals: Postgres then plans once, with the right size in mind, and keeps the plan. */
const SHORT_PAGE = 26;
const LONG_PAGE = 101;
/** How far a walk goes for one page where it drops entries. */
const LONGEST_WALK = 1000;
/** How many customers a search takes into account, and how many numbers. */
const MAX_FOUND = 100;

/**
 * The orders that match, newest first, after the position `after`; `createdTo` is exclusive. `q` is the start of a
 * number, or of a customer's name or email; the first 100 of each count.
 *
 * A list walks one index: under the customer, the customers found, the sku or the statuses, the first of these that the
 * filter names. The rest of the filter drops orders on the way. However few are left, the walk ends after 1000 entries,
 * so that a list always takes as long as it may: then the page is short, and the next one goes on after `walkedTo`.
 */
export async function listOrders(
  db: Db,
  filter: OrderFilter,
  page: { limit: number; after?: OrderPosition | undefined },
): Promise<{ orders: Order[]; walkedTo?: OrderPosition | undefined }> {
  const { status, customerId, sku, q } = filter;
  const found = q !== undefined && customerId === undefined ? await findStarting(db, q) : undefined;
  const walk = walkOf(filter, found?.customers);
  const drops = [
    status !== undefined && walk.key !== 'status' && sql`orders.status = ${status}`,
    sku !== undefined && walk.key !== 'sku' && holdsSku(sku),
    q !== undefined && customerId !== undefined && startsSo(customerId, q),
  ].filter((condition) => condition !== false);
  const dropping = drops.length > 0;
  const pageSize = page.limit <= SHORT_PAGE ? SHORT_PAGE : LONG_PAGE;
  const most = !dropping ? pageSize : found ? LONG_PAGE : LONGEST_WALK;
  const range = rangeOf(filter, page.after);

  const entries = sql`
    ${entriesOf(walk, range, sql`limit ${sql.lit(most)}`)}
    ${found ? sql`union ${numbered(found.orders, range)}` : sql``}
    order by created_at desc, id desc
  `;
  const kept = dropping ? keptOf(entries, drops) : entries;
  const rows = await selectOrders(db)
    .innerJoin(sql<OrderEntry>`(${kept} limit ${sql.lit(pageSize)})`.as('walked'), 'walked.id', 'orders.id')
    .orderBy('walked.created_at', 'desc')
    .orderBy('walked.id', 'desc')
    .limit(page.limit)
    .execute();
  const orders = rows.map(readOrder);
  if (!dropping || (!found && rows.length === page.limit)) return { orders };

  // Behind the end of the shortest walk the others have gone further, and newer orders may be missing.
  const { rows: ends } = await sql<OrderEntry>`
    ${entriesOf(walk, range, sql`offset ${sql.lit(most - 1)} limit 1`)}
    order by created_at desc, id desc limit 1
  `.execute(db);
  const end = ends[0];
  if (!end) return { orders };
  const walkedTo = { createdAt: end.created_at, id: end.id };
  return { orders: orders.filter((order) => !isBehind(order, walkedTo)), walkedTo };
}

interface OrderEntry {
  id: string;
  created_at: Date;
}

/** An index that has the orders under each of its keys newest first. */
interface Walk {
  table: 'ordering.orders' | 'ordering.order_lines';
  key: 'customer_id' | 'status' | 'sku';
  id: 'id' | 'order_id';
  under: RawBuilder<unknown>;
}

function walkOf({ status, customerId, sku }: OrderFilter, customers?: string[]): Walk {
  const under = customers ?? (customerId === undefined ? undefined : [customerId]);
  if (under) {
    return { table: 'ordering.orders', key: 'customer_id', id: 'id', under: sql`${under}::uuid[]` };
  }
  if (sku !== undefined) {
    return { table: 'ordering.order_lines', key: 'sku', id: 'order_id', under: sql`${[sku]}::text[]` };
  }
  const statuses = status === undefined ? ORDER_STATUSES : [status];
  return { table: 'ordering.orders', key: 'status', id: 'id', under: sql`${statuses}::text[]` };
}

/** The entries of the walk in the range: of each key those that `take` says. */
const entriesOf = ({ table, key, id, under }: Walk, range: Range, take: RawBuilder<unknown>) => sql`
  select entry.id, entry.created_at
  from unnest(${under}) as wanted (key)
  cross join lateral (
    select ${sql.ref(id)} as id, created_at from ${sql.table(table)}
    where ${sql.ref(key)} = wanted.key and ${within(range, id)}
    order by created_at desc, ${sql.ref(id)} desc
    ${take}
  ) as entry
`;

/** Of these entries those whose orders meet the conditions. `offset 0` keeps the order of things: each is looked up by its id. */
const keptOf = (entries: RawBuilder<unknown>, conditions: RawBuilder<unknown>[]) => sql`
  select entry.id, entry.created_at
  from (${entries}) as entry
  cross join lateral (select * from ordering.orders where orders.id = entry.id offset 0) as orders
  where ${sql.join(conditions, sql` and `)}
  order by entry.created_at desc, entry.id desc
`;

const numbered = (ids: string[], range: Range) => sql`
  select id, created_at from ordering.orders where id = any (${ids}::uuid[]) and ${within(range, 'id')}
`;

/** From a time on, and up to a position, exclusive. */
interface Range {
  from: Date | '-infinity';
  before: { createdAt: Date | 'infinity'; id: string };
}

const NIL = '00000000-0000-0000-0000-000000000000';

function rangeOf({ createdFrom, createdTo }: OrderFilter, after?: OrderPosition): Range {
  const end = { createdAt: createdTo ?? ('infinity' as const), id: NIL };
  const before = after && !(createdTo && createdTo <= after.createdAt) ? after : end;
  return { from: createdFrom ?? '-infinity', before };
}

const within = ({ from, before }: Range, id: 'id' | 'order_id') => sql`
  (created_at, ${sql.ref(id)}) < (${before.createdAt}::timestamptz, ${before.id}::uuid)
  and created_at >= ${from}::timestamptz
`;

const isBehind = ({ createdAt, id }: Order, position: OrderPosition): boolean => {
  const at = position.createdAt.toISOString();
  return createdAt < at || (createdAt === at && id < position.id);
};

const holdsSku = (sku: string) => sql`exists (
  select from ordering.order_lines as wanted
  where wanted.sku = ${sku} and wanted.created_at = orders.created_at and wanted.order_id = orders.id
  offset 0
)`;

/** Whether an order of this customer has a number that starts so, or the customer a name or an email. */
const startsSo = (customerId: string, q: string) => sql`(
  ${startIs(sql`orders.number`, upper(q))}
  or exists (
    select from identity.users
    where users.id = ${customerId}::uuid
      and (${startIs(sql`lower(name)`, lower(q))} or ${startIs(sql`lower(email)`, lower(q))})
  )
)`;

/** The customers whose name or email starts so, and the orders whose number does. */
async function findStarting(db: Db, q: string): Promise<{ customers: string[]; orders: string[] }> {
  const customersBy = (column: RawBuilder<unknown>) => sql`(
    select id from identity.users where ${startIs(column, lower(q))}
    order by ${column} collate "C", id limit ${sql.lit(MAX_FOUND)}
  )`;
  const { rows } = await sql<{ customers: string[]; orders: string[] }>`
    select
      array(${customersBy(sql`lower(name)`)} union ${customersBy(sql`lower(email)`)}) as customers,
      array(
        select id from ordering.orders where ${startIs(sql`number`, upper(q))}
        order by number limit ${sql.lit(MAX_FOUND)}
      ) as orders
  `.execute(db);
  return rows[0]!;
}

const upper = (q: string) => sql`upper(${q}::text)`;
