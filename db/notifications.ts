import { type RawBuilder, sql } from 'kysely';
import type { Channel, QuietHours, RenderedMessage } from '../domain/notifications.ts';
import type { Db } from './connect.ts';
import { lockOrder } from './orders.ts';
import { quietHoursOf, wantedChannels, withPreferences } from './preferences.ts';
import { callRelay } from './relay-calls.ts';

export interface NotificationToSend {
  id: string;
  channel: Channel;
  recipient: string;
  template: string;
  variables: Record<string, unknown>;
  language: string;
  /** How often it was tried since it was made, or replayed. */
  attempts: number;
  customerName: string | null;
  quietHours: QuietHours | null;
  /** False for news of an order over a channel that its customer does not want any more. */
  isWanted: boolean;
  claimedUntil: Date;
  /** Aborted when it takes too long: whoever has not sent it by then gives up. */
  tooLate: AbortSignal;
  /** What its templates say of the order it is about. */
  order: Record<string, unknown> | null;
}

/** How long one sender has a notification for itself, unless it renews that; a sender that died holds it no longer. */
const CLAIM_SECONDS = 20;
/** How long sending may take, however often it is renewed. */
const SENDING_SECONDS = 40;

/** Takes the queued notifications that `picked` gives the ids of. */
async function claim(db: Db, picked: RawBuilder<unknown>): Promise<NotificationToSend[]> {
  const tooLate = AbortSignal.timeout(SENDING_SECONDS * 1000);
  const { rows } = await claimed(picked).execute(db);
  return rows.map((row) => ({ ...row, tooLate }));
}

const claimed = (picked: RawBuilder<unknown>) => sql<Omit<NotificationToSend, 'tooLate'>>`
  with picked as (${picked}),
  claimed as (
    update messaging.notifications
    set claimed_until = now() + make_interval(secs => ${CLAIM_SECONDS})
    from picked
    where notifications.id = picked.id and status = 'queued' and (claimed_until is null or claimed_until < now())
    returning notifications.*
  )
  select claimed.id, channel, recipient, template, variables, claimed.language, claimed_until as "claimedUntil",
    jsonb_array_length(attempts) - past_attempts as attempts, users.name as "customerName",
    ${quietHoursOf} as "quietHours", about.body as order,
    claimed.order_id is null or claimed.customer_id is null
      or claimed.channel in (select wanted.channel from ${wantedChannels} as wanted) as "isWanted"
  from claimed
  left join identity.users on users.id = claimed.customer_id
  ${withPreferences}
  left join lateral (
    select jsonb_build_object('number', number, 'currency', currency, 'total', total,
      'shippingAddress', shipping_address, 'rejection', rejection, 'cancellation', cancellation, 'lines', (
        select jsonb_agg(jsonb_build_object('sku', sku, 'name', name, 'quantity', quantity,
          'total', quantity * unit_price) order by position)
        from ordering.order_lines where order_id = orders.id
      )) as body
    from ordering.orders where orders.id = claimed.order_id
  ) as about on true
`;

/**
 * Takes a queued notification for this sender alone. Where it is not to be had, tells why: it is sent, a dead letter
 * (or unknown), or another sender is at it now.
 */
export async function claimNotification(
  db: Db,
  id: string,
): Promise<NotificationToSend | 'sent' | 'dead_letter' | 'claimed'> {
  const [notification] = await claim(db, sql`select ${id}::uuid as id`);
  if (notification) return notification;
  const known = await db
    .selectFrom('messaging.notifications')
    .select('status')
    .where('id', '=', id)
    .executeTakeFirst();
  if (!known) return 'dead_letter';
  return known.status === 'queued' ? 'claimed' : known.status;
}

/** Takes the queued notifications that are due, of each channel the earliest, at most as many as it says. */
export async function claimDue(db: Db, most: Record<Channel, number>): Promise<NotificationToSend[]> {
  const channels = Object.entries(most).filter(([, free]) => free > 0);
  const earliest = sql`
    select due.id
    from unnest(${channels.map(([channel]) => channel)}::text[], ${channels.map(([, free]) => free)}::int[])
      as wanted (channel, free)
    cross join lateral (
      select id from messaging.notifications
      where status = 'queued' and notifications.channel = wanted.channel and due_at <= now()
        and (claimed_until is null or claimed_until < now())
      order by due_at
      limit wanted.free
      for update skip locked
    ) as due
  `;
  return await claim(db, earliest);
}

/** Lets a sender that is still at it have the notification for longer. Does nothing where the claim has run out. */
export async function renewClaim(db: Db, notification: NotificationToSend): Promise<void> {
  const { id, claimedUntil } = notification;
  const { rows } = await sql<{ claimedUntil: Date }>`
    update messaging.notifications set claimed_until = now() + make_interval(secs => ${CLAIM_SECONDS})
    where id = ${id}::uuid and status = 'queued' and claimed_until = ${claimedUntil}
    returning claimed_until as "claimedUntil"
  `.execute(db);
  notification.claimedUntil = rows[0]?.claimedUntil ?? claimedUntil;
}

/** What an event tells of a notification that was sent: with the text of a push, which so reaches whoever follows the events. */
export const toldOfSent = sql`
  jsonb_build_object('notificationId', id, 'channel', channel, 'template', template)
    || case channel when 'push' then jsonb_build_object('title', subject, 'body', body) else '{}' end
`;

/**
 * Records that a notification was sent, with the text that was sent, as an event: in its order's timeline, without raising
 * the order's version, or as one of its own where it is about no order and its customer is known. Recorded twice it counts
 * once.
 */
export async function markSent(
  db: Db,
  id: string,
  { subject, text, version }: RenderedMessage,
): Promise<void> {
  await sql`
    with mine as materialized (
      ${lockOrder(sql`(select order_id from messaging.notifications where id = ${id}::uuid)`)}
    ),
    sent as (
      update messaging.notifications
      set status = 'sent', subject = ${subject}, body = ${text}, template_version = ${version},
        attempts = attempts || jsonb_build_object('at', ${new Date().toISOString()}::text),
        sent_xid = case when ${isEvent} then pg_current_xact_id() end,
        sent_position = case when ${isEvent} then nextval('ordering.order_events_position') end
      where id = ${id}::uuid and status <> 'sent' and order_id is not distinct from (select id from mine)
      returning order_id, ${toldOfSent} as told
    ),
    counted as (
      update ordering.orders
      set last_event_seq = last_event_seq + 1
      from sent
      where orders.id = sent.order_id
      returning orders.id, last_event_seq, told
    )
    insert into ordering.order_events (order_id, seq, type, actor, data)
    select id, last_event_seq, 'notification.sent', 'system', told from counted
  `.execute(db);
  callRelay();
}

const isEvent = sql`order_id is null and customer_id is not null`;

/**
 * Records a failed attempt and gives up the claim; with `final` the notification becomes a dead letter that waits for a
 * person, else its workflow has it from now on. Does nothing when the claim had run out and is another sender's by now.
 */
export async function markFailed(
  db: Db,
  { id, claimedUntil }: Pick<NotificationToSend, 'id' | 'claimedUntil'>,
  error: string,
  final: boolean,
): Promise<void> {
  await sql`
    update messaging.notifications
    set status = ${final ? 'dead_letter' : 'queued'}, claimed_until = null, due_at = null,
      attempts = attempts || jsonb_build_object('at', ${new Date().toISOString()}::text, 'error', ${error}::text)
    where id = ${id}::uuid and status = 'queued' and claimed_until = ${claimedUntil}
  `.execute(db);
}

/** Gives up the claim on a notification that has to wait, and leaves it to the pump at `dueAt`. */
export async function hold(
  db: Db,
  { id, claimedUntil }: Pick<NotificationToSend, 'id' | 'claimedUntil'>,
  dueAt: Date,
): Promise<void> {
  await sql`
    update messaging.notifications set claimed_until = null, due_at = ${dueAt}
    where id = ${id}::uuid and status = 'queued' and claimed_until = ${claimedUntil}
  `.execute(db);
}

/** Leaves to the pump what no workflow could be started for. */
export async function takeBack(db: Db, id: string, dueAt: Date): Promise<void> {
  await sql`
    update messaging.notifications set due_at = ${dueAt}
    where id = ${id}::uuid and status = 'queued' and due_at is null
  `.execute(db);
}
