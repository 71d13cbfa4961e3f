import { type RawBuilder, sql } from 'kysely';
import {
  type Channel,
  NOTIFICATION_STATUSES,
  type Notification,
  type NotificationStatus,
} from '../domain/notifications.ts';
import type { Db } from './connect.ts';

export interface NotificationFilter {
  channel?: Channel | undefined;
  status?: NotificationStatus | undefined;
  customerId?: string | undefined;
  orderId?: string | undefined;
}

/** Where a page ends: a list is newest first. */
export interface NotificationPosition {
  createdAt: Date;
  id: string;
}

/** A list that drops some of what it walks looks at so many for one page. */
const MAX_WALKED = 1_000;

const columns = sql`
  id, channel, recipient, template, subject, body, status, attempts, customer_id as "customerId",
  order_id as "orderId", event_type as "eventType", created_at as "createdAt"
`;

interface NotificationRow extends Omit<Notification, 'customerId' | 'orderId' | 'eventType' | 'createdAt'> {
  customerId: string | null;
  orderId: string | null;
  eventType: string | null;
  createdAt: Date;
}

/** A notification by its id; undefined where there is none. */
export async function findNotification(db: Db, id: string): Promise<Notification | undefined> {
  const { rows } = await sql<NotificationRow>`
    select ${columns} from messaging.notifications where id = ${id}::uuid
  `.execute(db);
  return rows[0] && toNotification(rows[0]);
}

/**
 * The notifications that meet the filter, newest first, after a position. Walks one index: that of the order, of the
 * customer, or of the statuses. Where the walk has ended before the page was full, `walkedTo` says where to go on.
 */
export async function listNotifications(
  db: Db,
  filter: NotificationFilter,
  { limit, after }: { limit: number; after?: NotificationPosition | undefined },
): Promise<{ notifications: Notification[]; walkedTo?: NotificationPosition }> {
  const { key, under } = walkOf(filter);
  const conditions = conditionsOf(filter);
  const most = conditions.length === 0 ? limit : MAX_WALKED;
  const before = after ?? { createdAt: 'infinity' as const, id: '00000000-0000-0000-0000-000000000000' };
  const { rows } = await sql<NotificationRow & { keeps: boolean }>`
    select ${columns}, keeps from (
      select entry.*, ${sql.join([sql`true`, ...conditions], sql` and `)} as keeps
      from unnest(${under}) as wanted (key)
      cross join lateral (
        select * from messaging.notifications
        where ${sql.ref(key)} = wanted.key and (created_at, id) < (${before.createdAt}::timestamptz, ${before.id}::uuid)
        order by created_at desc, id desc
        limit ${most}
      ) as entry
      order by entry.created_at desc, entry.id desc
      limit ${most}
    ) as walked
    order by created_at desc, id desc
  `.execute(db);
  const kept = rows.filter(({ keeps }) => keeps).slice(0, limit);
  const end = rows.at(-1);
  const notifications = kept.map(toNotification);
  if (kept.length === limit || rows.length < most || !end) return { notifications };
  return { notifications, walkedTo: { createdAt: end.createdAt, id: end.id } };
}

type Walk = { key: 'order_id' | 'customer_id' | 'status'; under: RawBuilder<unknown> };

function walkOf({ orderId, customerId, status }: NotificationFilter): Walk {
  if (orderId !== undefined) return { key: 'order_id', under: sql`${[orderId]}::uuid[]` };
  if (customerId !== undefined) return { key: 'customer_id', under: sql`${[customerId]}::uuid[]` };
  return { key: 'status', under: sql`${status === undefined ? NOTIFICATION_STATUSES : [status]}::text[]` };
}

/** What the walk does not see to. */
function conditionsOf({ channel, status, customerId, orderId }: NotificationFilter): RawBuilder<unknown>[] {
  const isOf = orderId !== undefined;
  return [
    ...(channel === undefined ? [] : [sql`entry.channel = ${channel}`]),
    ...(customerId !== undefined && isOf
      ? [sql`entry.customer_id is not distinct from ${customerId}::uuid`]
      : []),
    ...(status !== undefined && (isOf || customerId !== undefined) ? [sql`entry.status = ${status}`] : []),
  ];
}

function toNotification({ customerId, orderId, eventType, ...row }: NotificationRow): Notification {
  const { id, channel, recipient, template, subject, body, status, attempts, createdAt } = row;
  return {
    id,
    channel,
    recipient,
    template,
    subject,
    body,
    status,
    attempts,
    ...(customerId !== null && { customerId }),
    ...(orderId !== null && { orderId }),
    ...(eventType !== null && { eventType }),
    createdAt: createdAt.toISOString(),
  };
}
