import { sql } from 'kysely';
import type { Db } from './connect.ts';
import { withPreferences } from './preferences.ts';

/** Forgets the carts that expired first, at most `limit`, and answers how many. Carts that are being ordered stay. */
export async function deleteExpiredCarts(db: Db, limit: number): Promise<number> {
  const { numAffectedRows } = await sql`
    delete from shopping.carts where id = any (array(
      select id from shopping.carts
      where expires_at <= now() and order_id is null
      order by expires_at
      limit ${limit}
      for update skip locked
    ))
  `.execute(db);
  return Number(numAffectedRows ?? 0n);
}

/**
 * Writes the reminders that are due, at most `limit`, and answers with how many carts that were and with the
 * notifications to send. A cart is reminded of once, until something in it is changed.
 */
export async function remindOfCarts(
  db: Db,
  limit: number,
): Promise<{ carts: number; notificationIds: string[] }> {
  const { rows } = await sql<{ carts: number; notificationIds: string[] }>`
    with due as (
      select id, customer_id, currency from shopping.carts
      where remind_at <= now() and customer_id is not null and order_id is null
      order by remind_at
      limit ${limit}
      for update skip locked
    ),
    marked as (
      update shopping.carts set remind_at = null from due where carts.id = due.id
    ),
    written as (
      insert into messaging.notifications
        (id, channel, recipient, template, variables, language, customer_id, event_type)
      select gen_random_uuid(), 'email', users.email, 'cart-reminder',
        jsonb_build_object('name', users.name, 'items', items, 'total', total, 'currency', due.currency), users.language, users.id,
        'cart.reminder'
      from due
      join identity.users on users.id = due.customer_id
      ${withPreferences}
      cross join lateral (
        select sum(quantity * products.price) as total, jsonb_agg(jsonb_build_object('sku', sku, 'name', name,
          'quantity', quantity, 'total', quantity * products.price) order by position) as items
        from shopping.cart_items join catalogue.products using (sku)
        where cart_id = due.id and active and products.currency = due.currency
      ) as content
      where items is not null and users.email is not null and coalesce(preferences.email, true)
      returning id
    )
    select (select count(*) from due)::int as carts, array(select id from written) as "notificationIds"
  `.execute(db);
  return rows[0]!;
}
