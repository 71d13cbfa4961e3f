import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import { OrderPlatformError } from '../domain/errors.ts';
import { notificationIdFor, notificationIdsFor } from '../domain/ids.ts';
import { FATES, type Message, type OrderRecord, type Step, take, type TakenStep } from '../domain/record.ts';
import type { OrderStatus } from '../domain/states.ts';
import type { Db } from './connect.ts';
import { findOrderRecord, lockOrder } from './orders.ts';
import { HEAD_START, wantedChannels, withPreferences } from './preferences.ts';
import { callRelay } from './relay-calls.ts';

/** What a step left behind. `taken` is false where there was nothing to do. */
export interface StepTaken {
  record: OrderRecord;
  taken: boolean;
  /** The status that the order has from now on, where the step changed it. */
  became?: OrderStatus;
  /** The emails that this order has to send now. What goes over other channels is sent by the pump. */
  notificationIds: string[];
}

/** Reads an order and says what is to be done; undefined for nothing. Throws the domain error of a refusal. */
export type Decide = (order: OrderRecord) => Step | undefined;

const MAX_ATTEMPTS = 100;

/**
 * Takes a step of an order: reads the order, lets `decide` judge it, and writes all that the step changes in one
 * statement, which is one transaction, provided that no other step came between; else it starts over with what the other
 * one left. So a decision always holds for what it is written on, and no lock is held while it is made.
 *
 * `known` saves the first read to a caller that has the record already. A step with a `commandId` is taken once; who
 * names it beforehand is not refused either, whatever the step has left behind. Throws what `decide` throws,
 * `version_conflict` where the order is not at `expectedVersion`, and `not_found`.
 */
export async function takeStep(
  db: Db,
  orderId: string,
  decide: Decide,
  options: {
    expectedVersion?: number | undefined;
    commandId?: string | undefined;
    known?: OrderRecord;
  } = {},
): Promise<StepTaken> {
  let record = options.known;
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
    record ??= await findOrderRecord(db, orderId);
    if (!record) throw new OrderPlatformError('not_found', 'There is no such order.');
    const step = await decideOn(db, record, decide, options);
    if (!step) {
      // A pending order has told nobody anything yet.
      const notificationIds = record.status === 'pending' ? [] : await queuedNotifications(db, orderId);
      return { record, taken: false, notificationIds };
    }
    const taken = take(record, step);
    if (await writeStep(db, record, taken)) {
      const messages = step.messages ?? [];
      return {
        record: taken.after,
        taken: true,
        ...(taken.after.status !== record.status && { became: taken.after.status }),
        notificationIds: messages.map((message) => notificationIdFor(orderId, eventOf(message), 'email')),
      };
    }
    record = undefined;
    await delay(Math.random() * Math.min(attempt, 20));
  }
  throw new Error(`Order ${orderId} changed ${MAX_ATTEMPTS} times under a step.`);
}

async function decideOn(
  db: Db,
  record: OrderRecord,
  decide: Decide,
  { expectedVersion, commandId }: { expectedVersion?: number | undefined; commandId?: string | undefined },
): Promise<Step | undefined> {
  const stale = expectedVersion !== undefined && expectedVersion !== record.version;
  const conflict = () =>
    new OrderPlatformError('version_conflict', `The order is at version ${record.version}.`, {
      extra: { version: record.version },
    });
  let step: Step | undefined;
  try {
    step = decide(record);
  } catch (error) {
    if (commandId !== undefined && (await wasTaken(db, record.id, commandId))) return undefined;
    throw stale ? conflict() : error;
  }
  if (step?.commandId !== undefined && (await wasTaken(db, record.id, step.commandId))) return undefined;
  if (step && stale) throw conflict();
  return step;
}

/** Whether the step of this command was taken before. */
export const wasTaken = async (db: Db, orderId: string, commandId: string): Promise<boolean> =>
  (await db
    .selectFrom('ordering.order_events')
    .select('seq')
    .where('order_id', '=', orderId)
    .where('command_id', '=', commandId)
    .executeTakeFirst()) !== undefined;

async function queuedNotifications(db: Db, orderId: string): Promise<string[]> {
  const rows = await db
    .selectFrom('messaging.notifications')
    .select('id')
    .where('order_id', '=', orderId)
    .where('status', '=', 'queued')
    .where('channel', '=', 'email')
    .execute();
  return rows.map(({ id }) => id);
}

const eventOf = ({ event, of }: Message): string => (of === undefined ? event : `${event}:${of}`);

/**
 * Writes a step; false where another step came first. The new stock is computed as in placeOrder. Where the stock of a
 * unit was deleted meanwhile, the ledger refuses the whole step, as it knows no movement without what is left after it.
 */
async function writeStep(db: Db, before: OrderRecord, { step, after }: TakenStep): Promise<boolean> {
  const { id } = before;
  const json = (value: unknown) => JSON.stringify(value ?? null);
  const units = unitsOf(before, step);
  const positions = (all: { id: string }[], changed: { id: string }[] = []) =>
    json(changed.map((one) => ({ ...one, ordinal: all.findIndex((candidate) => candidate.id === one.id) })));
  const events = step.events.map(({ type, actor, data }, index) => ({
    position: index + 1,
    type,
    actor: actor ?? step.by,
    data: data ?? {},
    ...(index === 0 && { command_id: step.commandId }),
  }));
  const messages = (step.messages ?? []).map((message) => ({
    ids: notificationIdsFor(id, eventOf(message)),
    template: message.template,
    event: message.event,
    email: message.to === 'customer' ? null : message.to.email,
    variables: message.variables ?? {},
  }));
  if (units.some(({ movement }) => movement === 'return')) await ensureStock(db, units);

  const { rows } = await sql`
    with mine as materialized (${lockOrder(sql`${id}::uuid`)}),
    counted as (
      update ordering.orders
      set status = ${after.status}, payment_status = ${after.paymentStatus},
        rejection = ${after.rejection ? json(after.rejection) : null}::jsonb,
        cancellation = ${after.cancellation ? json(after.cancellation) : null}::jsonb,
        shipping_address = ${json(after.shippingAddress)}::jsonb, note = ${after.note ?? null}::text,
        pay_by = ${after.payBy}::timestamptz, version = ${after.version}::int, step = ${after.step}::int,
        last_event_seq = last_event_seq + ${events.length}::int, updated_at = ${after.updatedAt}::timestamptz
      from mine
      where orders.id = mine.id and step = ${before.step}::int
      returning orders.id, currency, customer_id, last_event_seq - ${events.length}::int as seq_before
    ),
    moved as (
      select units.* from counted, jsonb_to_recordset(${json(units)}::jsonb) as units (
        line_id uuid, sku text, quantity int, movement text, reserved int, on_hand int,
        cancelled int, shipped int, returned int
      )
    ),
    locked as (
      select sku, on_hand, reserved, version
      from inventory.stock
      where sku in (select sku from moved)
      order by sku
      for update
    ),
    stock as (
      update inventory.stock
      set on_hand = locked.on_hand + moved.on_hand, reserved = locked.reserved + moved.reserved,
        version = locked.version + 1, updated_at = now()
      from moved join locked on locked.sku = moved.sku
      where stock.sku = locked.sku
      returning stock.sku, stock.on_hand, stock.reserved
    ),
    ledger as (
      insert into inventory.movements (sku, type, quantity, order_id, on_hand_after, reserved_after)
      select sku, movement, quantity, ${id}::uuid, stock.on_hand, stock.reserved
      from moved left join stock using (sku)
      order by sku
    ),
    order_lines as (
      update ordering.order_lines
      set reserved_quantity = reserved_quantity + moved.reserved,
        cancelled_quantity = cancelled_quantity + moved.cancelled,
        shipped_quantity = shipped_quantity + moved.shipped,
        returned_quantity = returned_quantity + moved.returned
      from moved
      where order_id = ${id}::uuid and order_lines.id = moved.line_id
    ),
    payments as (
      insert into ordering.payments (id, order_id, ordinal, type, status, amount, currency, provider, reference,
        authorization_id, multicapture, awaiting, final, reason, return_id, created_at)
      select payment.id, counted.id, ordinal, type, status, amount, currency, provider, reference,
        "authorizationId", multicapture, awaiting, final, reason, "returnId", "createdAt"
      from counted, jsonb_to_recordset(${positions(after.payments, step.payments)}::jsonb) as payment (
        id uuid, ordinal int, type text, status text, amount bigint, provider text, reference text,
        "authorizationId" uuid, multicapture boolean, awaiting boolean, final boolean, reason text, "returnId" uuid,
        "createdAt" timestamptz
      )
      on conflict (id) do update set status = excluded.status, reference = excluded.reference,
        multicapture = excluded.multicapture, awaiting = excluded.awaiting, reason = excluded.reason, updated_at = now()
    ),
    shipments as (
      insert into ordering.shipments (id, order_id, ordinal, carrier, tracking_number, status, lines, events, created_at)
      select shipment.id, counted.id, ordinal, carrier, "trackingNumber", status, lines, events, "createdAt"
      from counted, jsonb_to_recordset(${positions(after.shipments, step.shipments)}::jsonb) as shipment (
        id uuid, ordinal int, carrier text, "trackingNumber" text, status text, lines jsonb, events jsonb,
        "createdAt" timestamptz
      )
      -- Null, and so the whole step fails, where another order has made a shipment of this id just now.
      on conflict (id) do update set tracking_number = excluded.tracking_number, status = excluded.status,
        events = excluded.events, order_id = case shipments.order_id when excluded.order_id then excluded.order_id end
    ),
    returns as (
      insert into ordering.returns (id, order_id, ordinal, status, lines, reason, waived, created_at, updated_at)
      select returned.id, counted.id, ordinal, status, lines, reason, waived, "createdAt", "updatedAt"
      from counted, jsonb_to_recordset(${positions(after.returns, step.returns)}::jsonb) as returned (
        id uuid, ordinal int, status text, lines jsonb, reason text, waived bigint, "createdAt" timestamptz,
        "updatedAt" timestamptz
      )
      on conflict (id) do update set status = excluded.status, waived = excluded.waived,
        updated_at = excluded.updated_at
    ),
    timeline as (
      insert into ordering.order_events (order_id, seq, type, actor, data, command_id, at)
      select counted.id, seq_before + position, type, actor, data, command_id, ${step.at}::timestamptz
      from counted, jsonb_to_recordset(${json(events)}::jsonb) as event (
        position int, type text, actor text, data jsonb, command_id uuid
      )
    ),
    notifications as (
      insert into messaging.notifications
        (id, channel, recipient, template, variables, language, customer_id, order_id, event_type, due_at)
      select (ids ->> channel)::uuid, channel, recipient, template, variables,
        case when message.email is null then users.language else 'en' end,
        case when message.email is null then users.id end, counted.id, event, now() + head_start
      from counted
      cross join jsonb_to_recordset(${json(messages)}::jsonb) as message (
        ids jsonb, template text, event text, email text, variables jsonb
      )
      left join identity.users on users.id = counted.customer_id
      ${withPreferences}
      cross join lateral (
        select * from ${wantedChannels} as wanted where message.email is null
        union all
        select 'email', message.email, ${HEAD_START} where message.email is not null
      ) as told
      on conflict (id) do nothing
    )
    select id from counted
  `.execute(db);
  callRelay();
  return rows.length > 0;
}

/** What each unit that a step moves does to its line and to the stock. */
function unitsOf({ lines }: OrderRecord, { units }: Step) {
  if (!units) return [];
  const { movement, reserved, onHand, counter } = FATES[units.fate];
  return units.of.map(({ lineId, quantity }) => ({
    line_id: lineId,
    sku: lines.find(({ id }) => id === lineId)!.sku,
    quantity,
    movement,
    reserved: reserved * quantity,
    on_hand: onHand * quantity,
    cancelled: counter === 'cancelledQuantity' ? quantity : 0,
    shipped: counter === 'shippedQuantity' ? quantity : 0,
    returned: counter === 'returnedQuantity' ? quantity : 0,
  }));
}

/** Goods may come back of which there is no stock any more. */
async function ensureStock(db: Db, units: { sku: string }[]): Promise<void> {
  await db
    .insertInto('inventory.stock')
    .values(units.map(({ sku }) => ({ sku, on_hand: 0 })))
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}
