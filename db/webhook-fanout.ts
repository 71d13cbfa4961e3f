import { sql } from 'kysely';
import { isMeant, type RecordedEvent } from '../domain/events.ts';
import { deliveryIdFor } from '../domain/ids.ts';
import type { WebhookPayload } from '../domain/webhooks.ts';
import type { Db, Trx } from './connect.ts';
import {
  currentPosition,
  type EventPage,
  EVENTS_CHANNEL,
  type EventPosition,
  readEvents,
} from './recorded-events.ts';

/** Whether there are recorded events that nobody has looked at, and deliveries whose workflows have to hear of them. */
export async function findWork(db: Db): Promise<{ events: boolean; deliveries: boolean }> {
  const { rows } = await sql<{ events: boolean; deliveries: boolean }>`
    select
      ${haveEvents('ordering.order_events', 'xid', 'position')}
        or ${haveEvents('messaging.notifications', 'sent_xid', 'sent_position')} as events,
      exists (select from messaging.webhook_deliveries where tell_at <= now()) as deliveries
  `.execute(db);
  return rows[0]!;
}

/** Whether a table has events behind the cursor; they are at the place that its columns `xid` and `position` say. */
function haveEvents(table: string, xid: string, position: string) {
  const place = sql`event.${sql.ref(xid)}, event.${sql.ref(position)}`;
  return sql`exists (
    select from messaging.webhook_cursor as cursor cross join lateral (
      select from ${sql.table(table)} as event
      where (${place}) > (cursor.xid, cursor.position) and event.${sql.ref(position)} > 0
        and event.${sql.ref(xid)} < pg_snapshot_xmin(pg_current_snapshot())
      order by ${place}
      limit 1
    ) as next
  )`;
}

/**
 * Takes the next recorded events, makes a delivery for each endpoint that an event is meant for, moves the cursor behind
 * them, and tells the processes that listen: all of it in one transaction. One caller at a time does it; the others
 * return at once.
 */
export async function fanOut(db: Db): Promise<void> {
  await db.transaction().execute(async (trx) => {
    const cursor = await lockCursor(trx);
    if (!cursor) return;
    const position = await currentPosition(trx);
    const endpoints = await findEndpoints(trx);
    const through = endpoints.length === 0 ? position : await makeDeliveries(trx, cursor);
    await sql`
      update messaging.webhook_cursor set xid = ${through.xid}::xid8, position = ${through.position}
    `.execute(trx);
    await sql`select pg_notify(${EVENTS_CHANNEL}, '')`.execute(trx);
  });
}

async function lockCursor(trx: Trx): Promise<EventPosition | undefined> {
  return await trx
    .selectFrom('messaging.webhook_cursor')
    .select(['xid', 'position'])
    .forUpdate()
    .skipLocked()
    .executeTakeFirst();
}

/** Read after the position up to which events are taken: each statement sees what was committed before it. */
const findEndpoints = (trx: Trx) =>
  trx
    .selectFrom('messaging.webhook_endpoints')
    .select(['id', 'event_types as eventTypes'])
    .where('enabled', '=', true)
    .where('deleted_at', 'is', null)
    .execute();

async function makeDeliveries(trx: Trx, after: EventPosition): Promise<EventPosition> {
  const { events, through } = await readEvents(trx, after);
  const endpoints = await findEndpoints(trx);
  const deliveries = events.flatMap((event) =>
    endpoints
      .filter(({ eventTypes }) => isMeant(eventTypes, event.type))
      .map(({ id: endpointId }) => ({
        id: deliveryIdFor(endpointId, identityOf(event)),
        endpoint_id: endpointId,
        event_type: event.type,
        order_id: event.orderId ?? null,
        payload: JSON.stringify(payloadOf(event)),
      })),
  );
  await sql`
    insert into messaging.webhook_deliveries (id, endpoint_id, event_type, order_id, payload)
    select * from jsonb_to_recordset(${JSON.stringify(deliveries)}::jsonb) as delivery (
      id uuid, endpoint_id uuid, event_type text, order_id uuid, payload text
    )
    on conflict (id) do nothing
  `.execute(trx);
  return through;
}

const identityOf = ({ orderId, seq, data }: RecordedEvent): string =>
  orderId === undefined ? `notification:${String(data['notificationId'])}` : `${orderId}:${seq}`;

const payloadOf = ({ type, at, position: _, ...data }: EventPage['events'][number]): WebhookPayload => ({
  type,
  timestamp: at,
  data,
});
