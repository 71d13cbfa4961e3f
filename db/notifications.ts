import { sql } from 'kysely';
import type { Db } from './connect.ts';

export interface NotificationToSend {
  id: string;
  channel: 'email' | 'sms' | 'push';
  recipient: string;
  template: string;
  variables: Record<string, unknown>;
  language: string;
  attempts: number;
  customerName: string | null;
  claimedUntil: Date;
  /** What its templates say of the order it is about. */
  order: Record<string, unknown> | null;
}

/** How long one sender has a notification for itself; a sender that died holds it no longer than that. */
const CLAIM_SECONDS = 20;

/**
 * Takes a queued notification for this sender alone. Where it is not to be had, tells why: it is sent, a dead letter
 * (or unknown), or another sender is at it now.
 */
export async function claimNotification(
  db: Db,
  id: string,
): Promise<NotificationToSend | 'sent' | 'dead_letter' | 'claimed'> {
  const { rows } = await sql<NotificationToSend>`
    with claimed as (
      update messaging.notifications
      set claimed_until = now() + make_interval(secs => ${CLAIM_SECONDS})
      where id = ${id}::uuid and status = 'queued' and (claimed_until is null or claimed_until < now())
      returning *
    )
    select claimed.id, channel, recipient, template, variables, claimed.language,
      claimed_until as "claimedUntil", jsonb_array_length(attempts) as attempts, users.name as "customerName", about.body as order
    from claimed
    left join identity.users on users.id = claimed.customer_id
    left join lateral (
      select jsonb_build_object('number', number, 'currency', currency, 'total', total,
        'shippingAddress', shipping_address, 'rejection', rejection, 'cancellation', cancellation, 'lines', (
          select jsonb_agg(jsonb_build_object('sku', sku, 'name', name, 'quantity', quantity,
            'total', quantity * unit_price) order by position)
          from ordering.order_lines where order_id = orders.id
        )) as body
      from ordering.orders where orders.id = claimed.order_id
    ) as about on true
  `.execute(db);
  if (rows[0]) return rows[0];
  const known = await db
    .selectFrom('messaging.notifications')
    .select('status')
    .where('id', '=', id)
    .executeTakeFirst();
  if (!known) return 'dead_letter';
  return known.status === 'queued' ? 'claimed' : known.status;
}

/**
 * Records that a notification was sent, with the text that was sent, and notes it in its order's timeline without
 * raising the order's version. Recorded twice it counts once.
 */
export async function markSent(
  db: Db,
  id: string,
  content: { subject: string; body: string },
): Promise<void> {
  await sql`
    with sent as (
      update messaging.notifications
      set status = 'sent', subject = ${content.subject}, body = ${content.body},
        attempts = attempts || jsonb_build_object('at', ${new Date().toISOString()}::text)
      where id = ${id}::uuid and status <> 'sent'
      returning id, order_id, channel, template
    ),
    counted as (
      update ordering.orders
      set last_event_seq = last_event_seq + 1
      from sent
      where orders.id = sent.order_id
      returning orders.id, last_event_seq
    )
    insert into ordering.order_events (order_id, seq, type, actor, data)
    select counted.id, last_event_seq, 'notification.sent', 'system',
      jsonb_build_object('notificationId', sent.id, 'channel', channel, 'template', template)
    from counted join sent on sent.order_id = counted.id
  `.execute(db);
}

/**
 * Records a failed attempt and gives up the claim; with `final` the notification becomes a dead letter that waits for a
 * person. Does nothing when the claim had run out and is another sender's by now.
 */
export async function markFailed(
  db: Db,
  { id, claimedUntil }: Pick<NotificationToSend, 'id' | 'claimedUntil'>,
  error: string,
  final: boolean,
): Promise<void> {
  await sql`
    update messaging.notifications
    set status = ${final ? 'dead_letter' : 'queued'}, claimed_until = null,
      attempts = attempts || jsonb_build_object('at', ${new Date().toISOString()}::text, 'error', ${error}::text)
    where id = ${id}::uuid and status = 'queued' and claimed_until = ${claimedUntil}
  `.execute(db);
}
