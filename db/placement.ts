import { sql } from 'kysely';
import { notificationIdFor, orderNumber } from '../domain/ids.ts';
import type { Cancellation, OrderStatus, PlacedOrder, Rejection } from '../domain/order.ts';
import { type Db, violatedConstraint } from './connect.ts';

/** How the placement of an order ended. `replayed` when it had been placed before. */
export interface Placement {
  orderId: string;
  number: string;
  status: OrderStatus;
  rejection: Rejection | null;
  cancellation: Cancellation | null;
  version: number;
  updatedAt: string;
  notificationId: string;
  replayed: boolean;
}

/**
 * Places an order in one statement, which is one transaction and one round trip: locks the stock rows in sku order,
 * checks them, reserves all of the lines or none, and writes the order, its lines, its timeline, the stock ledger
 * and the notification to send. The outcome is `confirmed`, `rejected` for want of stock, or `cancelled` when a
 * cancellation came before the placement.
 *
 * The new stock is computed from what the lock returned, never from the row the update finds: under READ COMMITTED that
 * is first the version of the statement's snapshot, and the table's checks would fail on numbers that are history.
 *
 * Idempotent by the order's id: placed twice, or twice at once, it takes stock once and tells the first outcome.
 */
export async function placeOrder(
  db: Db,
  order: PlacedOrder,
  cancellation: Cancellation | null = null,
): Promise<Placement> {
  try {
    return (await insertPlacement(db, order, cancellation)) ?? (await existingPlacement(db, order.orderId));
  } catch (error) {
    if (violatedConstraint(error) !== 'orders_number_key') throw error;
    const longer = { ...order, number: orderNumber(order.orderId, 12) };
    return (await insertPlacement(db, longer, cancellation)) ?? (await existingPlacement(db, order.orderId));
  }
}

type PlacementRow = Pick<Placement, 'number' | 'status' | 'rejection' | 'cancellation' | 'version'> & {
  updated_at: Date;
};

async function insertPlacement(
  db: Db,
  order: PlacedOrder,
  cancellation: Cancellation | null,
): Promise<Placement | undefined> {
  const { lines } = order;
  const given = cancellation === null ? null : JSON.stringify(cancellation);
  const { rows } = await sql<PlacementRow>`
    with wanted as (
      select * from unnest(
        ${lines.map((line) => line.id)}::uuid[],
        ${lines.map((line) => line.sku)}::text[],
        ${lines.map((line) => line.name)}::text[],
        ${lines.map((line) => line.quantity)}::int[],
        ${lines.map((line) => line.unitPrice)}::bigint[]
      ) with ordinality as line (id, sku, name, quantity, unit_price, position)
    ),
    locked as (
      select sku, on_hand, reserved, version, on_hand - reserved as available
      from inventory.stock
      where sku = any (${lines.map((line) => line.sku)}::text[]) and ${given}::jsonb is null
      order by sku
      for update
    ),
    shortages as (
      select wanted.sku, quantity as requested, coalesce(available, 0) as available, position
      from wanted left join locked on locked.sku = wanted.sku
      where quantity > coalesce(available, 0)
    ),
    rejection as (
      select jsonb_build_object('code', 'insufficient_stock', 'items', jsonb_agg(
        jsonb_build_object('sku', sku, 'requested', requested, 'available', available) order by position
      )) as body
      from shortages
      having count(*) > 0 and ${given}::jsonb is null
    ),
    outcome as (
      select case
          when ${given}::jsonb is not null then 'cancelled'
          when exists (select from rejection) then 'rejected'
          else 'confirmed'
        end as status
    ),
    placed as (
      insert into ordering.orders (
        id, number, customer_id, placed_by, request_hash, status, payment_method, payment_token, currency, total,
        shipping_address, note, rejection, cancellation, last_event_seq, created_at
      )
      select ${order.orderId}::uuid, ${order.number}, ${order.customerId}::uuid, ${order.placedBy},
        ${order.requestHash}, status, ${order.payment.method}, ${order.payment.token}, ${order.currency},
        ${order.total}::bigint, ${JSON.stringify(order.shippingAddress)}::jsonb, ${order.note ?? null}::text,
        (select body from rejection), ${given}::jsonb, case status when 'confirmed' then 3 else 2 end,
        ${order.placedAt}::timestamptz
      from outcome
      on conflict (id) do nothing
      returning *
    ),
    reserved as (
      update inventory.stock
      set on_hand = locked.on_hand, reserved = locked.reserved + wanted.quantity, version = locked.version + 1,
        updated_at = now()
      from wanted join locked on locked.sku = wanted.sku, placed
      where stock.sku = locked.sku and placed.status = 'confirmed'
      returning stock.sku, wanted.quantity, stock.on_hand, stock.reserved
    ),
    ledger as (
      insert into inventory.movements (sku, type, quantity, order_id, on_hand_after, reserved_after)
      select sku, 'reservation', quantity, ${order.orderId}::uuid, on_hand, reserved from reserved order by sku
    ),
    order_lines as (
      insert into ordering.order_lines (order_id, position, id, sku, name, quantity, unit_price, cancelled_quantity)
      select placed.id, position, wanted.id, sku, name, quantity, unit_price,
        case placed.status when 'cancelled' then quantity else 0 end
      from wanted, placed
    ),
    timeline as (
      insert into ordering.order_events (order_id, seq, type, actor, data)
      select placed.id, event.seq, event.type, event.actor, event.data
      from placed cross join lateral (
        values
          (1, 'order.placed', placed_by, jsonb_build_object('total', total, 'currency', currency), true),
          (2, 'stock.reserved', 'system', jsonb_build_object('items', (
            select jsonb_agg(jsonb_build_object('sku', sku, 'quantity', quantity) order by position) from wanted
          )), status = 'confirmed'),
          (3, 'order.confirmed', 'system', '{}', status = 'confirmed'),
          (2, 'order.rejected', 'system', rejection, status = 'rejected'),
          (2, 'order.cancelled', cancellation ->> 'by', jsonb_build_object('reason', cancellation -> 'reason'),
            status = 'cancelled')
      ) as event (seq, type, actor, data, happened)
      where happened
    ),
    notification as (
      insert into messaging.notifications (id, channel, recipient, template, language, customer_id, order_id, event_type)
      select case status
          when 'confirmed' then ${notificationIdFor(order.orderId, 'order.confirmed', 'email')}::uuid
          when 'rejected' then ${notificationIdFor(order.orderId, 'order.rejected', 'email')}::uuid
          else ${notificationIdFor(order.orderId, 'order.cancelled', 'email')}::uuid
        end,
        'email', users.email, 'order-' || status, users.language, users.id, placed.id, 'order.' || status
      from placed join identity.users on users.id = placed.customer_id
    )
    select number, status, rejection, cancellation, version, updated_at from placed
  `.execute(db);
  return rows[0] && toPlacement(order.orderId, rows[0], false);
}

/** How the placement of an order ended, or undefined where it has not been placed. */
export async function findPlacement(db: Db, orderId: string): Promise<Placement | undefined> {
  const row = await db
    .selectFrom('ordering.orders')
    .select(['number', 'status', 'rejection', 'cancellation', 'version', 'updated_at'])
    .where('id', '=', orderId)
    .executeTakeFirst();
  return row && toPlacement(orderId, row, true);
}

async function existingPlacement(db: Db, orderId: string): Promise<Placement> {
  const placed = await findPlacement(db, orderId);
  if (!placed) throw new Error(`Order ${orderId} was neither placed nor there.`);
  return placed;
}

/** The Postgres channel on which processes tell one another the ids of orders whose placement has ended. */
export const OUTCOME_CHANNEL = 'order_placed';

/** Tells the other processes that a placement has ended. After its transaction: a NOTIFY inside serialises commits. */
export async function notifyOutcome(db: Db, orderId: string): Promise<void> {
  await sql`select pg_notify(${OUTCOME_CHANNEL}, ${orderId})`.execute(db);
}

function toPlacement(orderId: string, row: PlacementRow, replayed: boolean): Placement {
  const { updated_at, ...rest } = row;
  const event = row.rejection ? 'order.rejected' : row.cancellation ? 'order.cancelled' : 'order.confirmed';
  return {
    orderId,
    ...rest,
    updatedAt: updated_at.toISOString(),
    notificationId: notificationIdFor(orderId, event, 'email'),
    replayed,
  };
}
