import { sql } from 'kysely';
import { notificationIdFor, orderNumber, paymentIdFor } from '../domain/ids.ts';
import {
  type Cancellation,
  PENDING_VERSION,
  pendingOrder,
  type PlacedOrder,
  type Rejection,
} from '../domain/order.ts';
import { newPayment } from '../domain/payments.ts';
import type { OrderRecord } from '../domain/record.ts';
import type { OrderStatus } from '../domain/states.ts';
import { type Db, violatedConstraint } from './connect.ts';
import type { StepTaken } from './order-steps.ts';

/**
 * Places an order in one statement, which is one transaction and one round trip: locks the stock rows in sku order,
 * checks them, reserves all of the lines or none, and writes the order, its lines, its timeline, the stock ledger, and
 * the authorization to ask the payment company `provider` for, or the notification to send. The order is `pending` until
 * it is paid for (`confirmed` where it costs nothing), `rejected` for want of stock, or `cancelled` when a cancellation
 * came before the placement.
 *
 * The new stock is computed from what the lock returned, never from the row the update finds: under READ COMMITTED that
 * is first the version of the statement's snapshot, and the table's checks would fail on numbers that are history.
 *
 * Idempotent by the order's id: placed twice, or twice at once, it takes stock once; undefined the second time.
 */
export async function placeOrder(
  db: Db,
  order: PlacedOrder,
  provider: string,
  cancellation: Cancellation | null = null,
): Promise<StepTaken | undefined> {
  try {
    return await insertPlacement(db, order, provider, cancellation);
  } catch (error) {
    if (violatedConstraint(error) !== 'orders_number_key') throw error;
    return await insertPlacement(
      db,
      { ...order, number: orderNumber(order.orderId, 12) },
      provider,
      cancellation,
    );
  }
}

interface PlacementRow {
  number: string;
  status: OrderStatus;
  rejection: Rejection | null;
  cancellation: Cancellation | null;
  version: number;
  updatedAt: Date;
}

async function insertPlacement(
  db: Db,
  order: PlacedOrder,
  provider: string,
  cancellation: Cancellation | null,
): Promise<StepTaken | undefined> {
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
          when ${order.total}::bigint > 0 then 'pending'
          else 'confirmed'
        end as status
    ),
    placed as (
      insert into ordering.orders (
        id, number, customer_id, placed_by, request_hash, status, payment_method, payment_token, currency, total,
        shipping_address, note, rejection, cancellation, last_event_seq, created_at, updated_at, version,
        payment_provider, ship_by
      )
      select ${order.orderId}::uuid, ${order.number}, ${order.customerId}::uuid, ${order.placedBy},
        ${order.requestHash}, status, ${order.payment.method}, ${order.payment.token}, ${order.currency},
        ${order.total}::bigint, ${JSON.stringify(order.shippingAddress)}::jsonb, ${order.note ?? null}::text,
        (select body from rejection), ${given}::jsonb, case status when 'confirmed' then 3 else 2 end,
        ${order.placedAt}::timestamptz, case status when 'pending' then ${order.placedAt}::timestamptz else now() end,
        case status when 'pending' then ${PENDING_VERSION}::int else 1 end, ${provider}, ${order.shipBy ?? null}::timestamptz
      from outcome
      on conflict (id) do nothing
      returning *
    ),
    reserved as (
      update inventory.stock
      set on_hand = locked.on_hand, reserved = locked.reserved + wanted.quantity, version = locked.version + 1,
        updated_at = now()
      from wanted join locked on locked.sku = wanted.sku, placed
      where stock.sku = locked.sku and placed.status in ('pending', 'confirmed')
      returning stock.sku, wanted.quantity, stock.on_hand, stock.reserved
    ),
    ledger as (
      insert into inventory.movements (sku, type, quantity, order_id, on_hand_after, reserved_after)
      select sku, 'reservation', quantity, ${order.orderId}::uuid, on_hand, reserved from reserved order by sku
    ),
    order_lines as (
      insert into ordering.order_lines
        (order_id, created_at, position, id, sku, name, quantity, unit_price, cancelled_quantity, reserved_quantity)
      select placed.id, placed.created_at, position, wanted.id, sku, name, quantity, unit_price,
        case placed.status when 'cancelled' then quantity else 0 end,
        case when placed.status in ('pending', 'confirmed') then quantity else 0 end
      from wanted, placed
    ),
    payment as (
      insert into ordering.payments (id, order_id, ordinal, type, status, amount, currency, provider, created_at)
      select ${paymentIdFor(order.orderId, 0)}::uuid, id, 0, 'authorization', 'pending', total, currency,
        payment_provider, created_at
      from placed where status = 'pending'
    ),
    timeline as (
      insert into ordering.order_events (order_id, seq, type, actor, data)
      select placed.id, event.seq, event.type, event.actor, event.data
      from placed cross join lateral (
        values
          (1, 'order.placed', placed_by, jsonb_build_object('total', total, 'currency', currency), true),
          (2, 'stock.reserved', 'system', jsonb_build_object('items', (
            select jsonb_agg(jsonb_build_object('sku', sku, 'quantity', quantity) order by position) from wanted
          )), status in ('pending', 'confirmed')),
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
      where status <> 'pending'
    )
    select number, status, rejection, cancellation, version, updated_at as "updatedAt" from placed
  `.execute(db);
  const row = rows[0];
  if (!row) return undefined;
  const event = notificationIdFor(order.orderId, `order.${row.status}`, 'email');
  return {
    record: recordOf(order, provider, row),
    taken: true,
    ...(row.status !== 'pending' && { became: row.status }),
    notificationIds: row.status === 'pending' ? [] : [event],
  };
}

/** The order as the statement has written it. */
function recordOf(order: PlacedOrder, provider: string, row: PlacementRow): OrderRecord {
  const { workflowId: _w, subtotal: _s, ...pending } = pendingOrder(order);
  const { number, status, rejection, cancellation, version, updatedAt } = row;
  const holds = status === 'pending' || status === 'confirmed';
  const record: OrderRecord = {
    ...pending,
    number,
    status,
    lines: pending.lines.map((line) => ({
      ...line,
      cancelledQuantity: status === 'cancelled' ? line.quantity : 0,
      reservedQuantity: holds ? line.quantity : 0,
    })),
    ...(rejection && { rejection }),
    ...(cancellation && { cancellation }),
    payments: [],
    returns: [],
    placedBy: order.placedBy,
    requestHash: order.requestHash,
    paymentToken: order.payment.token,
    provider,
    payBy: null,
    shipBy: order.shipBy ?? null,
    version,
    updatedAt: updatedAt.toISOString(),
    step: 0,
  };
  if (status !== 'pending') return record;
  const authorization = { type: 'authorization', amount: order.total, authorizationId: null } as const;
  return { ...record, payments: [newPayment(record, order.placedAt, authorization)] };
}

/** The Postgres channel on which processes tell one another the ids of orders whose placement has ended. */
export const OUTCOME_CHANNEL = 'order_placed';

/** Tells the other processes that a placement has ended. After its transaction: a NOTIFY inside serialises commits. */
export async function notifyOutcome(db: Db, orderId: string): Promise<void> {
  await sql`select pg_notify(${OUTCOME_CHANNEL}, ${orderId})`.execute(db);
}
