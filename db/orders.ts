import { type CompiledQuery, type RawBuilder, sql } from 'kysely';
import { jsonArrayFrom } from 'kysely/helpers/postgres';
import type { Order } from '../domain/order.ts';
import { type OrderRecord, toOrder } from '../domain/record.ts';
import { type Db, statements } from './connect.ts';
import { callRelay } from './relay-calls.ts';

/** A time inside JSON as the API writes it: RFC 3339 UTC with milliseconds. */
const rfc3339 = (column: string) =>
  sql<string>`to_char(${sql.ref(column)} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

/** What the API tells of orders; `readOrder` reads its rows. */
export const selectOrders = (db: Db) =>
  db
    .selectFrom('ordering.orders as orders')
    .select([
      'orders.id',
      'orders.number',
      'orders.customer_id as customerId',
      'orders.status',
      'orders.payment_status as paymentStatus',
      'orders.currency',
      'orders.total',
      'orders.shipping_address as shippingAddress',
      'orders.note',
      'orders.rejection',
      'orders.cancellation',
      'orders.version',
      'orders.created_at',
      'orders.updated_at',
    ])
    .select((builder) => [
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
            'line.reserved_quantity as reservedQuantity',
          ])
          .orderBy('line.position'),
      ).as('lines'),
      jsonArrayFrom(
        builder
          .selectFrom('ordering.shipments as shipment')
          .whereRef('shipment.order_id', '=', 'orders.id')
          .select([
            'shipment.id',
            'shipment.order_id as orderId',
            'shipment.carrier',
            'shipment.tracking_number as trackingNumber',
            'shipment.status',
            'shipment.lines',
            'shipment.events',
            rfc3339('shipment.created_at').as('createdAt'),
          ])
          .orderBy('shipment.ordinal'),
      ).as('shipments'),
    ]);

const selectRecords = (db: Db) =>
  selectOrders(db).select((builder) => [
    'orders.placed_by as placedBy',
    'orders.request_hash as requestHash',
    'orders.payment_token as paymentToken',
    'orders.payment_provider as provider',
    'orders.step',
    'orders.pay_by',
    'orders.ship_by',
    jsonArrayFrom(
      builder
        .selectFrom('ordering.payments as payment')
        .whereRef('payment.order_id', '=', 'orders.id')
        .select([
          'payment.id',
          'payment.type',
          'payment.status',
          'payment.amount',
          'payment.provider',
          'payment.reference',
          'payment.authorization_id as authorizationId',
          'payment.multicapture',
          'payment.awaiting',
          'payment.final',
          'payment.reason',
          'payment.return_id as returnId',
          rfc3339('payment.created_at').as('createdAt'),
        ])
        .orderBy('payment.ordinal'),
    ).as('payments'),
    jsonArrayFrom(
      builder
        .selectFrom('ordering.returns as returned')
        .whereRef('returned.order_id', '=', 'orders.id')
        .select([
          'returned.id',
          'returned.order_id as orderId',
          'returned.status',
          'returned.lines',
          'returned.reason',
          'returned.waived',
          rfc3339('returned.created_at').as('createdAt'),
          rfc3339('returned.updated_at').as('updatedAt'),
        ])
        .orderBy('returned.ordinal'),
    ).as('returns'),
  ]);

type RowOf<Select extends (db: Db) => { executeTakeFirstOrThrow(): Promise<unknown> }> = Awaited<
  ReturnType<ReturnType<Select>['executeTakeFirstOrThrow']>
>;
type OrderRow = RowOf<typeof selectOrders>;
type RecordRow = RowOf<typeof selectRecords>;

export const readOrder = (row: OrderRow): Order =>
  toOrder({ ...row, createdAt: row.created_at.toISOString(), updatedAt: row.updated_at.toISOString() });

function readRecord(row: RecordRow): OrderRecord {
  const { note, rejection, cancellation, pay_by, ship_by, created_at, updated_at, ...rest } = row;
  return {
    ...rest,
    ...(note !== null && { note }),
    ...(rejection && { rejection }),
    ...(cancellation && { cancellation }),
    payBy: pay_by?.toISOString() ?? null,
    shipBy: ship_by?.toISOString() ?? null,
    createdAt: created_at.toISOString(),
    updatedAt: updated_at.toISOString(),
  };
}

/** The statements that read one order by a key, built once: building one takes longer than reading the order. */
export const orderById = selectOrders(statements).where('orders.id', '=', '').compile();
const orderByNumber = selectOrders(statements).where('orders.number', '=', '').compile();
const recordById = selectRecords(statements).where('orders.id', '=', '').compile();

async function findOne<Row>(db: Db, statement: CompiledQuery<Row>, key: string): Promise<Row | undefined> {
  const { rows } = await db.executeQuery<Row>({ ...statement, parameters: [key] });
  return rows[0];
}

/** The order with this id, or undefined. */
export async function findOrder(db: Db, orderId: string): Promise<Order | undefined> {
  const row = await findOne(db, orderById, orderId);
  return row && readOrder(row);
}

/** The order with this number (`XXXXX-XXXXX`), or undefined. */
export async function findOrderByNumber(db: Db, number: string): Promise<Order | undefined> {
  const row = await findOne(db, orderByNumber, number);
  return row && readOrder(row);
}

/** All that is known of an order, or undefined. */
export async function findOrderRecord(db: Db, orderId: string): Promise<OrderRecord | undefined> {
  const row = await findOne(db, recordById, orderId);
  return row && readRecord(row);
}

/**
 * Locks the row of an order before its statement writes anything: only then does Postgres number the transaction, after
 * those of the steps before, and recorded events, which are read by these numbers, tell of an order in its order.
 */
export const lockOrder = (id: RawBuilder<unknown>) =>
  sql`select id from ordering.orders where id = ${id} for no key update`;

/** Notes something in the timeline of an order that is no step of it: its version stays. */
export async function recordEvent(
  db: Db,
  orderId: string,
  type: string,
  data: Record<string, unknown> = {},
): Promise<void> {
  await sql`
    with mine as materialized (${lockOrder(sql`${orderId}::uuid`)}),
    counted as (
      update ordering.orders set last_event_seq = last_event_seq + 1 from mine where orders.id = mine.id
      returning orders.id, last_event_seq
    )
    insert into ordering.order_events (order_id, seq, type, actor, data)
    select id, last_event_seq, ${type}, 'system', ${JSON.stringify(data)}::jsonb from counted
  `.execute(db);
  callRelay();
}

/** Notes that an order's workflow had to be started again. */
export const recordRestart = (db: Db, orderId: string): Promise<void> =>
  recordEvent(db, orderId, 'workflow.restarted');

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

/** The id of the order that a payment, a shipment or a return belongs to, or undefined. */
export async function orderIdOf(
  db: Db,
  kind: 'payments' | 'shipments' | 'returns',
  id: string,
): Promise<string | undefined> {
  const row = await db
    .selectFrom(`ordering.${kind}`)
    .select('order_id')
    .where('id', '=', id)
    .executeTakeFirst();
  return row?.order_id;
}

/** The shipments with this tracking number, of whichever orders. */
export const findTracked = (db: Db, trackingNumber: string): Promise<{ id: string; orderId: string }[]> =>
  db
    .selectFrom('ordering.shipments')
    .select(['id', 'order_id as orderId'])
    .where('tracking_number', '=', trackingNumber)
    .limit(100)
    .execute();
