import { sql } from 'kysely';
import type { Language, Preferences, QuietHours } from '../domain/notifications.ts';
import type { Db } from './connect.ts';

/** So long an email of an order is its workflow's to send, before the pump takes it up. */
export const HEAD_START = sql`interval '30 seconds'`;

/** Joins the preferences of `users`; by their key, also where the plan was made while there were none. */
export const withPreferences = sql`
  left join lateral (
    select * from messaging.preferences where customer_id = users.id offset 0
  ) as preferences on true
`;

/** The channels over which `users` with their `preferences` want to be told of their orders: email and push by default. */
export const wantedChannels = sql`(
  select channel, recipient, head_start
  from (values
    ('email', users.email, coalesce(preferences.email, true), ${HEAD_START}),
    ('push', users.id::text, coalesce(preferences.push, true), interval '0'),
    ('sms', coalesce(preferences.phone, users.id::text), coalesce(preferences.sms, false), interval '0')
  ) as channels (channel, recipient, is_wanted, head_start)
  where is_wanted and recipient is not null and users.deleted_at is null
)`;

interface PreferencesRow {
  email: boolean;
  sms: boolean;
  push: boolean;
  phone: string | null;
  quietHours: QuietHours | null;
  language: Language;
}

/** The quiet hours of joined `preferences`, as QuietHours or null. */
export const quietHoursOf = sql<QuietHours | null>`
  case when preferences.quiet_start is not null then jsonb_build_object(
    'start', preferences.quiet_start, 'end', preferences.quiet_end, 'timeZone', preferences.time_zone
  ) end
`;

/** How a customer wants to be told; undefined where there is no such customer. */
export async function findPreferences(db: Db, customerId: string): Promise<Preferences | undefined> {
  const { rows } = await sql<PreferencesRow>`
    select coalesce(preferences.email, true) as email, coalesce(sms, false) as sms, coalesce(push, true) as push, phone,
      ${quietHoursOf} as "quietHours", users.language
    from identity.users
    ${withPreferences}
    where users.id = ${customerId}::uuid and role = 'customer' and deleted_at is null
  `.execute(db);
  const [row] = rows;
  if (!row) return undefined;
  const { email, sms, push, phone, quietHours, language } = row;
  return {
    channels: { email, sms, push },
    ...(phone !== null && { phone }),
    ...(quietHours && { quietHours }),
    language,
  };
}

/**
 * Replaces how a customer wants to be told, in one statement; false where there is no such customer. What waits for the
 * end of quiet hours is looked at again.
 */
export async function putPreferences(
  db: Db,
  customerId: string,
  { channels, phone, quietHours, language }: PreferencesToPut,
): Promise<boolean> {
  const { rows } = await sql`
    with customer as (
      update identity.users set language = ${language} where id = ${customerId}::uuid and role = 'customer' and deleted_at is null
      returning id
    ),
    looked_at as (
      update messaging.notifications set due_at = now()
      from customer
      where customer_id = customer.id and status = 'queued' and channel <> 'email' and due_at > now()
    )
    insert into messaging.preferences
      (customer_id, email, sms, push, phone, quiet_start, quiet_end, time_zone)
    select id, ${channels.email}, ${channels.sms}, ${channels.push}, ${phone ?? null}, ${quietHours?.start ?? null},
      ${quietHours?.end ?? null}, ${quietHours?.timeZone ?? null}
    from customer
    on conflict (customer_id) do update
    set email = excluded.email, sms = excluded.sms, push = excluded.push, phone = excluded.phone,
      quiet_start = excluded.quiet_start, quiet_end = excluded.quiet_end, time_zone = excluded.time_zone,
      updated_at = now()
    returning customer_id
  `.execute(db);
  return rows.length > 0;
}

interface PreferencesToPut extends Omit<Preferences, 'phone' | 'quietHours'> {
  phone?: string | undefined;
  quietHours?: QuietHours | undefined;
}
