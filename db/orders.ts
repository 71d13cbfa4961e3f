import { type SqlBool, sql } from 'kysely';
import { jsonArrayFrom } from 'kysely/helpers/postgres';
import { type Order, type OrderStatus, orderWorkflowId, type PlacedOrder } from '../domain/order.ts';
import type { Db } from './connect.ts';

const selectOrders = (db: Db) =>
  db
    .selectFrom('ordering.orders as orders')
    .select([
      'orders.id',
      'orders.number',
      'orders.customer_id',
      'orders.placed_by',
      'orders.request_hash',
      'orders.status',
      'orders.payment_status',
      'orders.payment_method',
      'orders.payment_token',
      'orders.currency',
      'orders.total',
      'orders.shipping_address',
      'orders.note',
      'orders.rejection',
      'orders.cancellation',
      'orders.version',
      'orders.created_at',
      'orders.updated_at',
    ])
    .select((builder) =>
      jsonArrayFrom(
        builder
          .selectFrom('ordering.order_lines as line')
          .whereRef('line.order_id', '=', 'orders.id')
          .select([
            'line.id',
            'line.sku',
            'line.name',
            'line.quantity',
            'line.unit_price as unitPrice',
            sql<number>`line.quantity * line.unit_price`.as('total'),
            'line.cancelled_quantity as cancelledQuantity',
            'line.shipped_quantity as shippedQuantity',
            'line.returned_quantity as returnedQuantity',
          ])
          .orderBy('line.position'),
      ).as('lines'),
    );

type OrderRow = Awaited<ReturnType<ReturnType<typeof selectOrders>['executeTakeFirstOrThrow']>>;

const toOrder = (row: OrderRow): Order => ({
  id: row.id,
  number: row.number,
  workflowId: orderWorkflowId(row.id),
  customerId: row.customer_id,
  status: row.status,
  paymentStatus: row.payment_status,
  lines: row.lines,
  currency: row.currency,
  subtotal: row.total,
  total: row.total,
  shippingAddress: row.shipping_address,
  ...(row.rejection && { rejection: row.rejection }),
  ...(row.cancellation && { cancellation: row.cancellation }),
  shipments: [],
  ...(row.note !== null && { note: row.note }),
  version: row.version,
  createdAt: row.created_at.toISOString(),
  updatedAt: row.updated_at.toISOString(),
});

/** The order with this id, or undefined. */
export async function findOrder(db: Db, orderId: string): Promise<Order | undefined> {
  const row = await selectOrders(db).where('orders.id', '=', orderId).executeTakeFirst();
  return row && toOrder(row);
}

/** The order with this number (`XXXXX-XXXXX`), or undefined. */
export async function findOrderByNumber(db: Db, number: string): Promise<Order | undefined> {
  const row = await selectOrders(db).where('orders.number', '=', number).executeTakeFirst();
  return row && toOrder(row);
}

/** A placed order as it was accepted: what its workflow needs to go on from its row. */
export async function findPlacedOrder(db: Db, orderId: string): Promise<PlacedOrder | undefined> {
  const row = await selectOrders(db).where('orders.id', '=', orderId).executeTakeFirst();
  return (
    row && {
      orderId: row.id,
      number: row.number,
      customerId: row.customer_id,
      placedBy: row.placed_by,
      placedAt: row.created_at.toISOString(),
      requestHash: row.request_hash,
      lines: row.lines.map(({ id, sku, name, quantity, unitPrice }) => ({
        id,
        sku,
        name,
        quantity,
        unitPrice,
      })),
      currency: row.currency,
      total: row.total,
      shippingAddress: row.shipping_address,
      payment: { method: row.payment_method, token: row.payment_token },
      ...(row.note !== null && { note: row.note }),
    }
  );
}

/** Notes in the timeline that the order's workflow was lost and goes on from the order's row. */
export async function recordRestart(db: Db, orderId: string): Promise<void> {
  await sql`
    with counted as (
      update ordering.orders set last_event_seq = last_event_seq + 1 where id = ${orderId}::uuid
      returning id, last_event_seq
    )
    insert into ordering.order_events (order_id, seq, type, actor)
    select id, last_event_seq, 'workflow.restarted', 'system' from counted
  `.execute(db);
}

export interface OrderFilter {
  status?: OrderStatus | undefined;
  customerId?: string | undefined;
  sku?: string | undefined;
  createdFrom?: Date | undefined;
  createdTo?: Date | undefined;
  q?: string | undefined;
}

/** The orders that match, newest first, after the position `after`; `createdTo` is exclusive. */
export async function listOrders(
  db: Db,
  filter: OrderFilter,
  page: { limit: number; after?: { createdAt: Date; id: string } | undefined },
): Promise<Order[]> {
  const named = filter.q === undefined ? [] : await customersNamed(db, filter.q);
  const rows = await selectOrders(db)
    .$if(filter.status !== undefined, (query) => query.where('orders.status', '=', filter.status!))
    .$if(filter.customerId !== undefined, (query) =>
      query.where('orders.customer_id', '=', filter.customerId!),
    )
    .$if(filter.createdFrom !== undefined, (query) =>
      query.where('orders.created_at', '>=', filter.createdFrom!),
    )
    .$if(filter.createdTo !== undefined, (query) => query.where('orders.created_at', '<', filter.createdTo!))
    .$if(filter.sku !== undefined, (query) =>
      query.where(({ exists, selectFrom }) =>
        exists(
          selectFrom('ordering.order_lines as wanted')
            .select('wanted.sku')
            .whereRef('wanted.order_id', '=', 'orders.id')
            .where('wanted.sku', '=', filter.sku!),
        ),
      ),
    )
    .$if(filter.q !== undefined, (query) =>
      query.where(({ or, eb }) =>
        or([
          eb('orders.number', 'like', prefixOf(filter.q!.toUpperCase())),
          eb('orders.customer_id', '=', sql<string>`any (${named})`),
        ]),
      ),
    )
    .$if(page.after !== undefined, (query) =>
      query.where(
        sql<SqlBool>`(orders.created_at, orders.id) < (${page.after!.createdAt}, ${page.after!.id}::uuid)`,
      ),
    )
    .orderBy('orders.created_at', 'desc')
    .orderBy('orders.id', 'desc')
    .limit(page.limit)
    .execute();
  return rows.map(toOrder);
}

const MAX_NAMED_CUSTOMERS = 100;

/** The ids of the customers whose name or email starts with `q`, whatever its case. */
async function customersNamed(db: Db, q: string): Promise<string[]> {
  const users = await db
    .selectFrom('identity.users')
    .select('id')
    .where(({ or, eb }) => or([eb('email', 'ilike', prefixOf(q)), eb('name', 'ilike', prefixOf(q))]))
    .limit(MAX_NAMED_CUSTOMERS)
    .execute();
  return users.map(({ id }) => id);
}

const prefixOf = (q: string): string => `${q.replaceAll(/[\\%_]/g, String.raw`\$&`)}%`;

export interface OrderEvent {
  seq: number;
  type: string;
  at: string;
  actor: string;
  data: Record<string, unknown>;
}

/** The timeline of an order from behind `afterSeq`, oldest first. */
export async function listOrderEvents(
  db: Db,
  orderId: string,
  page: { limit: number; afterSeq: number },
): Promise<OrderEvent[]> {
  const rows = await db
    .selectFrom('ordering.order_events')
    .select(['seq', 'type', 'at', 'actor', 'data'])
    .where('order_id', '=', orderId)
    .where('seq', '>', page.afterSeq)
    .orderBy('seq')
    .limit(page.limit)
    .execute();
  return rows.map(({ at, ...event }) => ({ ...event, at: at.toISOString() }));
}
