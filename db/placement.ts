import { sql } from 'kysely';
import { orderNumber, paymentIdFor } from '../domain/ids.ts';
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
import { wantedChannels, withPreferences } from './preferences.ts';
import { callRelay } from './relay-calls.ts';

/** An order to place, and how. */
export interface Placement {
  order: PlacedOrder;
  /** The payment company to ask for the authorization. */
  provider: string;
  /** One that came before the placement. */
  cancellation: Cancellation | null;
  /**
   * Leaves word, in the same transaction, that the order's workflow has to hear of it. Until `claimedUntil` that is left
   * to whoever places the order.
   */
  word?: { claimedUntil: Date | null };
}

/**
 * Places orders in one statement, which is one transaction and one round trip however many they are, as if they came one
 * after the other: locks the stock rows in sku order, decides on each order with what the earlier ones have left,
 * reserves all of its lines or none, and writes orders, lines, timelines, the stock ledger, and the authorizations to ask
 * the payment companies for, or the notifications to send. An order is `pending` until it is paid for (`confirmed` where
 * it costs nothing), `rejected` for want of stock, or `cancelled` when a cancellation came before the placement.
 *
 * Idempotent by the order's id: placed twice, twice at once or twice in one batch, an order takes stock once. The results
 * are in the order given, undefined for an order that was placed before. Throws where Postgres refuses one of them; then
 * none is placed.
 */
export async function placeOrders(db: Db, placements: Placement[]): Promise<(StepTaken | undefined)[]> {
  try {
    return await insertPlacements(db, placements);
  } catch (error) {
    const constraint = violatedConstraint(error);
    // Somebody else has placed one of them meanwhile, which the statement sees the next time.
    if (constraint === 'orders_pkey') return await placeOrders(db, placements);
    const [only, ...others] = placements;
    if (!only || others.length > 0 || constraint !== 'orders_number_key') throw error;
    const number = orderNumber(only.order.orderId, 12);
    return await insertPlacements(db, [{ ...only, order: { ...only.order, number } }]);
  }
}

interface PlacementRow {
  id: string;
  status: OrderStatus;
  rejection: Rejection | null;
  version: number;
  updatedAt: Date;
  /** The notification that goes out by mail, where the order is told of already. */
  emailId: string | null;
}

/**
 * Only new orders take part. One that somebody else is placing at this moment looks new and would shift the decisions on
 * the others: its insert waits for the other one and violates the primary key, and all is undone. The orders are inserted
 * before anything else and in the order of their ids, so that two batches of the same ones do not deadlock.
 * They are looked up by a scalar subquery: a `not exists` planned while the table is empty goes on scanning it when it is
 * not any more.
 *
 * The new stock is computed from what the lock returned, never from the row the update finds: under READ COMMITTED that
 * is first the version of the statement's snapshot, and the table's checks would fail on numbers that are history.
 */
async function insertPlacements(db: Db, placements: Placement[]): Promise<(StepTaken | undefined)[]> {
  const once = new Map(placements.toReversed().map((placement) => [placement.order.orderId, placement]));
  const given = placements
    .filter((placement) => once.get(placement.order.orderId) === placement)
    .map(toGiven);
  const { rows } = await sql<PlacementRow>`
    with recursive given as (
      select * from rows from (jsonb_to_recordset(${JSON.stringify(given)}::jsonb) as (
        id uuid, accepted jsonb, provider text, cancellation jsonb, total bigint, "paymentId" uuid,
        word jsonb
      )) with ordinality as placement (
        id, accepted, provider, cancellation, total, payment_id, word, ordinal
      )
    ),
    fresh as (
      select given.* from given where (select orders.id from ordering.orders where orders.id = given.id) is null
    ),
    wanted as (
      select ordinal, cancellation is null as takes_stock, line.*
      from fresh cross join lateral rows from (jsonb_to_recordset(accepted -> 'lines') as (
        id uuid, sku text, name text, quantity int, "unitPrice" bigint
      )) with ordinality as line (id, sku, name, quantity, unit_price, position)
    ),
    locked as (
      select sku, on_hand, reserved, version
      from inventory.stock
      where sku = any (array(select sku from wanted where takes_stock))
      order by sku
      for update
    ),
    decided as (
      select 0::bigint as ordinal, null::jsonb as shortages, null::jsonb as items,
        (select jsonb_object_agg(sku, on_hand - reserved) from locked) as available
      union all
      select decided.ordinal + 1, basket.shortages, basket.items,
        case when basket.shortages is null then decided.available || basket.available_after else decided.available end
      from decided cross join lateral (
        select
          jsonb_agg(jsonb_build_object('sku', sku, 'requested', quantity, 'available', available) order by position)
            filter (where quantity > available) as shortages,
          jsonb_agg(jsonb_build_object('sku', sku, 'quantity', quantity) order by position) as items,
          coalesce(jsonb_object_agg(sku, available - quantity), '{}') as available_after
        from (
          select sku, quantity, position, coalesce((decided.available ->> sku)::int, 0) as available
          from wanted where takes_stock and wanted.ordinal = decided.ordinal + 1
        ) as line
      ) as basket
      where decided.ordinal < ${given.length}::int
    ),
    judged as (
      select fresh.*, items,
        case when shortages is not null
          then jsonb_build_object('code', 'insufficient_stock', 'items', shortages) end as rejection,
        case
          when cancellation is not null then 'cancelled'
          when shortages is not null then 'rejected'
          when total > 0 then 'pending'
          else 'confirmed'
        end as status
      from fresh join decided using (ordinal)
    ),
    outcome as (
      select judged.*, status in ('pending', 'confirmed') as holds,
        case status when 'pending' then ${PENDING_VERSION}::int else 1 end as version,
        case status when 'pending' then (accepted ->> 'placedAt')::timestamptz else now() end as updated_at
      from judged
    ),
    placed as (
      insert into ordering.orders (
        id, number, customer_id, placed_by, request_hash, status, payment_method, payment_token, currency, total,
        shipping_address, note, rejection, cancellation, last_event_seq, created_at, updated_at, version,
        payment_provider, ship_by
      )
      select id, number, "customerId", "placedBy", "requestHash", status, payment ->> 'method', payment ->> 'token',
        currency, total, "shippingAddress", note, rejection, cancellation, case status when 'confirmed' then 3 else 2 end,
        "placedAt", updated_at, version, provider, "shipBy"
      from outcome cross join lateral jsonb_to_record(accepted) as placed (
        number text, "customerId" uuid, "placedBy" text, "requestHash" text, payment jsonb, currency text,
        "shippingAddress" jsonb, note text, "placedAt" timestamptz, "shipBy" timestamptz
      )
      order by id
      returning id, status, rejection, version, updated_at
    ),
    lines as (
      select wanted.*, outcome.id as order_id, (accepted ->> 'placedAt')::timestamptz as placed_at, status, holds,
        on_hand, locked.version as stock_version,
        reserved + sum(quantity) filter (where holds) over (partition by sku order by ordinal) as reserved
      from wanted join outcome using (ordinal) left join locked using (sku)
    ),
    stock as (
      update inventory.stock
      set on_hand = taken.on_hand, reserved = taken.reserved, version = taken.version, updated_at = now()
      from (
        select sku, on_hand, max(reserved) as reserved, stock_version + count(*) as version
        from lines where holds group by sku, on_hand, stock_version
      ) as taken
      where stock.sku = taken.sku
    ),
    ledger as (
      insert into inventory.movements (sku, type, quantity, order_id, on_hand_after, reserved_after)
      select sku, 'reservation', quantity, order_id, on_hand, reserved from lines where holds order by sku, ordinal
    ),
    order_lines as (
      insert into ordering.order_lines
        (order_id, created_at, position, id, sku, name, quantity, unit_price, cancelled_quantity, reserved_quantity)
      select order_id, placed_at, position, id, sku, name, quantity, unit_price,
        case status when 'cancelled' then quantity else 0 end, case when holds then quantity else 0 end
      from lines
    ),
    payments as (
      insert into ordering.payments (id, order_id, ordinal, type, status, amount, currency, provider, created_at)
      select payment_id, id, 0, 'authorization', 'pending', total, accepted ->> 'currency', provider, updated_at
      from outcome where status = 'pending'
    ),
    timeline as (
      insert into ordering.order_events (order_id, seq, type, actor, data)
      select id, 1, 'order.placed', accepted ->> 'placedBy',
        jsonb_build_object('total', accepted -> 'total', 'currency', accepted -> 'currency')
      from outcome
      union all
      select id, 2, 'stock.reserved', 'system', jsonb_build_object('items', items) from outcome where holds
      union all
      select id, 3, 'order.confirmed', 'system', '{}' from outcome where status = 'confirmed'
      union all
      select id, 2, 'order.rejected', 'system', rejection from outcome where status = 'rejected'
      union all
      select id, 2, 'order.cancelled', cancellation ->> 'by', jsonb_build_object('reason', cancellation -> 'reason')
      from outcome where status = 'cancelled'
    ),
    notifications as (
      insert into messaging.notifications
        (id, channel, recipient, template, language, customer_id, order_id, event_type, due_at)
      select gen_random_uuid(), channel, recipient, 'order-' || status, users.language,
        users.id, outcome.id, 'order.' || status, now() + head_start
      from outcome join identity.users on users.id = (accepted ->> 'customerId')::uuid
      ${withPreferences}
      cross join lateral ${wantedChannels} as wanted
      where status <> 'pending'
      returning id, order_id, channel
    ),
    outbox as (
      insert into ordering.outbox (order_id, accepted, claimed_until)
      select id, accepted, (word ->> 'claimedUntil')::timestamptz from outcome where word is not null
      on conflict do nothing
    )
    select id, status, rejection, version, updated_at as "updatedAt",
      (select notifications.id from notifications where order_id = placed.id and channel = 'email') as "emailId"
    from placed
  `.execute(db);
  callRelay();
  const written = new Map(rows.map((row) => [row.id, row]));
  return placements.map((placement) => {
    const row = written.get(placement.order.orderId);
    return row && once.get(placement.order.orderId) === placement ? stepOf(placement, row) : undefined;
  });
}

/** A placement as the statement reads it. */
const toGiven = ({ order, ...how }: Placement) => ({
  id: order.orderId,
  accepted: order,
  total: order.total,
  ...how,
  paymentId: paymentIdFor(order.orderId, 0),
});

/** The order as the statement has written it, and what it still has to tell. */
function stepOf({ order, provider, cancellation }: Placement, row: PlacementRow): StepTaken {
  const { workflowId: _w, subtotal: _s, ...pending } = pendingOrder(order);
  const { status, rejection, version, updatedAt, emailId } = row;
  const holds = status === 'pending' || status === 'confirmed';
  const record: OrderRecord = {
    ...pending,
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
  if (status !== 'pending')
    return { record, taken: true, became: status, notificationIds: emailId === null ? [] : [emailId] };
  const authorization = { type: 'authorization', amount: order.total, authorizationId: null } as const;
  const payments = [newPayment(record, order.placedAt, authorization)];
  return { record: { ...record, payments }, taken: true, notificationIds: [] };
}

/** The Postgres channel on which processes tell one another the ids of orders whose placement has ended. */
export const OUTCOME_CHANNEL = 'order_placed';

/** Tells the other processes that a placement has ended. After its transaction: a NOTIFY inside serialises commits. */
export async function notifyOutcome(db: Db, orderId: string): Promise<void> {
  await sql`select pg_notify(${OUTCOME_CHANNEL}, ${orderId})`.execute(db);
}
