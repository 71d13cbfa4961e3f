import { sql } from 'kysely';
import type { RecordedEvent } from '../domain/events.ts';
import type { Db } from './connect.ts';
import { toldOfSent } from './notifications.ts';

/**
 * A place in the recorded events, those of orders and the messages about none, which are in the order of (xid, position).
 * Events are read up to the oldest transaction that still runs: what is behind that place is there for good, and nothing
 * comes in between.
 */
export interface EventPosition {
  /** An xid8 of Postgres in decimal: 64 bits, too many for a number. */
  xid: string;
  position: number;
}

/** Below zero where the first comes first. */
export const comparePositions = (one: EventPosition, other: EventPosition): number =>
  Number(BigInt(one.xid) - BigInt(other.xid)) || one.position - other.position;

export interface EventPage {
  events: (RecordedEvent & { position: EventPosition })[];
  /** Everything up to here has been read. */
  through: EventPosition;
  /** Whether there may be more behind it already. */
  more: boolean;
}

/** Limits are literals: Postgres then plans once, with the right size in mind, and keeps the plan. */
const PAGE = 500;

interface EventRow {
  horizon: string;
  xid: string;
  position: number;
  orderId: string | null;
  orderNumber: string | null;
  customerId: string;
  seq: number | null;
  type: string;
  at: Date;
  actor: string;
  data: Record<string, unknown>;
}

/**
 * The recorded events behind `after`, at most 500; fewer where there are no more for now. The place is written into the
 * statement, so that it is planned each time: a plan made when there were few events would go on scanning all of them.
 */
export async function readEvents(db: Db, after: EventPosition): Promise<EventPage> {
  const { rows } = await sql<EventRow | { horizon: string; xid: null }>`
    select now.horizon, event.*
    from (select pg_snapshot_xmin(pg_current_snapshot()) as horizon) as now
    left join lateral (
      (
        select xid, position, order_id as "orderId", number as "orderNumber", customer_id as "customerId",
          seq, type, at, actor, data
        from (
          select * from ordering.order_events
          where (xid, position) > ${place(after)} and position > 0 and xid < now.horizon
          order by xid, position
          limit ${sql.lit(PAGE)}
        ) as event
        join ordering.orders on orders.id = order_id
      )
      union all
      (
        select sent_xid, sent_position, null, null, customer_id, null, 'notification.sent',
          (attempts -> -1 ->> 'at')::timestamptz, 'system', ${toldOfSent}
        from messaging.notifications
        where (sent_xid, sent_position) > ${place(after)} and sent_position is not null and sent_xid < now.horizon
        order by sent_xid, sent_position
        limit ${sql.lit(PAGE)}
      )
      order by xid, position
      limit ${sql.lit(PAGE)}
    ) as event on true
  `.execute(db);
  const events = rows.filter((row) => row.xid !== null).map(toEvent);
  const horizon = { xid: rows[0]!.horizon, position: 0 };
  const more = events.length === PAGE;
  return { events, through: more ? events.at(-1)!.position : horizon, more };
}

const place = ({ xid, position }: EventPosition) =>
  sql`(${sql.lit(xid)}::xid8, ${sql.lit(position)}::bigint)`;

function toEvent(row: EventRow): EventPage['events'][number] {
  const { xid, position, customerId, type, at, actor, data } = row;
  const event = { customerId, type, at: at.toISOString(), actor, data, position: { xid, position } };
  const { orderId, orderNumber, seq } = row;
  return orderId === null ? event : { orderId, orderNumber: orderNumber!, seq: seq!, ...event };
}

/** The place behind which all events are that will be recorded from now on. */
export async function currentPosition(db: Db): Promise<EventPosition> {
  const { rows } = await sql<{ xid: string }>`select pg_snapshot_xmin(pg_current_snapshot()) as xid`.execute(
    db,
  );
  return { xid: rows[0]!.xid, position: 0 };
}

/** The Postgres channel on which processes hear that there are new recorded events. */
export const EVENTS_CHANNEL = 'events_recorded';
