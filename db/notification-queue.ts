import { sql } from 'kysely';
import type { Channel } from '../domain/notifications.ts';
import type { Db } from './connect.ts';
import { ERASED } from './erasure.ts';

interface Addressee {
  /** Where to send it. */
  recipient: string;
  customerId: string | null;
  language: string;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/**
 * Who is behind an address: a customer with its language, or nobody who is known, as where two share a phone number. A push
 * or an SMS may go to a customer's id: an SMS then goes to its phone number, where it gave one.
 */
export async function findAddressee(db: Db, channel: Channel, recipient: string): Promise<Addressee> {
  const query = db
    .selectFrom('identity.users as users')
    .leftJoin('messaging.preferences as preferences', 'customer_id', 'users.id')
    .select(['users.id', 'users.language', 'preferences.phone'])
    .where('role', '=', 'customer')
    .where('deleted_at', 'is', null)
    .limit(2);
  const isId = channel !== 'email' && UUID.test(recipient);
  const behind = isId
    ? query.where('users.id', '=', recipient)
    : channel === 'email'
      ? query.where(({ fn }) => fn('lower', ['users.email']), '=', recipient.toLowerCase())
      : query.where('preferences.phone', '=', recipient);
  const [found, another] = await behind.execute();
  if (!found || another) return { recipient, customerId: null, language: 'en' };
  const { id, language, phone } = found;
  const reached = channel === 'sms' ? (phone ?? id) : id;
  return { recipient: isId ? reached : recipient, customerId: id, language };
}

export interface NotificationToQueue {
  id: string;
  channel: Channel;
  recipient: string;
  template: string;
  variables: Record<string, unknown>;
  language: string;
  customerId: string | null;
}

/** Queues a notification, due now; one of the same id counts once. */
export async function queueNotification(db: Db, notification: NotificationToQueue): Promise<void> {
  const { variables, customerId, ...rest } = notification;
  await db
    .insertInto('messaging.notifications')
    .values({ ...rest, variables: JSON.stringify(variables), attempts: '[]', customer_id: customerId })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

/**
 * Lets notifications that were not sent be tried again from now on, with as many attempts as new ones; what went wrong
 * before stays on record. What was erased with its customer is sent to nobody any more. Answers how many they are.
 */
export async function replayNotification(db: Db, id: string): Promise<number> {
  const { rows } = await sql`
    update messaging.notifications set ${asNew} where id = ${id}::uuid and status <> 'sent' and ${notErased}
    returning id
  `.execute(db);
  return rows.length;
}

export interface ReplayFilter {
  status: 'queued' | 'dead_letter';
  channel?: Channel | undefined;
  from?: Date | undefined;
  /** Exclusive. */
  to?: Date | undefined;
}

const BATCH = 500;

/** The same for all that meet the filter and were made before now, newest first, batch by batch. */
export async function replayNotifications(
  db: Db,
  { status, channel, from, to }: ReplayFilter,
): Promise<number> {
  const end = to && to < new Date() ? to : new Date();
  let before = { created_at: end, id: '00000000-0000-0000-0000-000000000000' };
  for (let replayed = 0; ;) {
    const { rows } = await sql<{ id: string; created_at: Date; isReplayed: boolean }>`
      with part as (
        select id, created_at, channel from messaging.notifications
        where status = ${status} and (created_at, id) < (${before.created_at}::timestamptz, ${before.id}::uuid)
          and created_at >= ${from ?? '-infinity'}::timestamptz
        order by created_at desc, id desc
        limit ${BATCH}
      ),
      replayed as (
        update messaging.notifications set ${asNew}
        from part
        where notifications.id = part.id and status = ${status} and ${notErased}
          and (${channel ?? null}::text is null or notifications.channel = ${channel ?? null})
        returning notifications.id
      )
      select part.id, created_at, replayed.id is not null as "isReplayed"
      from part left join replayed on replayed.id = part.id
      order by created_at, id
    `.execute(db);
    replayed += rows.filter(({ isReplayed }) => isReplayed).length;
    if (rows.length < BATCH) return replayed;
    before = rows[0]!;
  }
}

const asNew = sql`
  status = 'queued', due_at = now(), past_attempts = jsonb_array_length(attempts)
`;

const notErased = sql`recipient <> ${sql.lit(ERASED)}`;
/** Whether a message was erased with its customer. */
export const isErased = ({ recipient }: { recipient: string }): boolean => recipient === ERASED;
