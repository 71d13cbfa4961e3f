import { sql } from 'kysely';
import type { Db } from './connect.ts';

export interface NotificationToSend {
  id: string;
  channel: 'email' | 'sms' | 'push';
  recipient: string;
  template: string;
  variables: Record<string, unknown>;
  language: string;
  status: 'queued' | 'sent' | 'dead_letter';
  attempts: number;
  orderId: string | null;
  customerName: string | null;
}

/** What is needed to send a notification, or undefined where there is no such notification. */
export async function findNotification(db: Db, id: string): Promise<NotificationToSend | undefined> {
  return await db
    .selectFrom('messaging.notifications as notification')
    .leftJoin('identity.users as customer', 'customer.id', 'notification.customer_id')
    .select([
      'notification.id',
      'channel',
      'recipient',
      'template',
      'variables',
      'notification.language',
      'status',
      sql<number>`jsonb_array_length(attempts)`.as('attempts'),
      'order_id as orderId',
      'customer.name as customerName',
    ])
    .where('notification.id', '=', id)
    .executeTakeFirst();
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

/** Records a failed attempt; with `final` the notification becomes a dead letter that waits for a person. */
export async function markFailed(db: Db, id: string, error: string, final: boolean): Promise<void> {
  await sql`
    update messaging.notifications
    set status = ${final ? 'dead_letter' : 'queued'},
      attempts = attempts || jsonb_build_object('at', ${new Date().toISOString()}::text, 'error', ${error}::text)
    where id = ${id}::uuid and status = 'queued'
  `.execute(db);
}
