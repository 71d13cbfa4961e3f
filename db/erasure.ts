import { sql } from 'kysely';
import { ORDER_STATUSES, isFinal } from '../domain/states.ts';
import type { WantedVersions } from '../domain/versions.ts';
import type { Db, Trx } from './connect.ts';
import { assertVersion } from './customers.ts';

/** What stands where a person's data stood. */
export const ERASED = '(deleted)';
/** How many orders, notifications and pushes one pass erases. */
const BATCH = 1000;
/** For so long after a deletion something that was under way may still leave a trace. */
const LATE_HOURS = 24;
const PAUSE_MINUTES = 10;

const ENDED = sql.join(ORDER_STATUSES.filter(isFinal).map((status) => sql.lit(status)));

/**
 * Deletes a customer: its row keeps only the id, for its orders; everything else of identity goes, with its cart, its
 * preferences, and the messages that were sent to its email or phone without naming it. What orders, notifications and pushes
 * tell is for `eraseTraces`. False where there is no such customer; deleted twice it stays deleted. Throws
 * `version_conflict`.
 */
export async function deleteCustomer(
  db: Db,
  id: string,
  versions: WantedVersions | undefined,
): Promise<boolean> {
  return await db.transaction().execute(async (trx) => {
    const customer = await trx
      .selectFrom('identity.users')
      .select(['email', 'version', 'deleted_at'])
      .where('id', '=', id)
      .where('role', '=', 'customer')
      .forUpdate()
      .executeTakeFirst();
    if (!customer) return false;
    if (customer.deleted_at) return true;
    assertVersion(customer.version, versions);
    await trx
      .updateTable('identity.users')
      .set({
        email: null,
        name: '',
        password_hash: null,
        version: customer.version + 1,
        updated_at: sql<Date>`now()`,
        deleted_at: sql<Date>`now()`,
        erase_at: sql<Date>`now()`,
      })
      .where('id', '=', id)
      .execute();
    await trx.deleteFrom('identity.refresh_tokens').where('user_id', '=', id).execute();
    await trx.deleteFrom('identity.customer_addresses').where('customer_id', '=', id).execute();
    const preferences = await trx
      .deleteFrom('messaging.preferences')
      .where('customer_id', '=', id)
      .returning('phone')
      .executeTakeFirst();
    await trx.deleteFrom('shopping.carts').where('customer_id', '=', id).execute();
    await eraseNotifications(
      trx,
      sql`customer_id is null and lower(recipient) in (lower(${customer.email}::text), ${preferences?.phone ?? null}::text)`,
    );
    return true;
  });
}

/**
 * Erases what orders that have ended, notifications and pushes tell of a deleted customer, at most 1000 of each; orders
 * still under way keep the address they need. Done again it goes on with what is left, and says with `erase_at` when that is to
 * be; once nothing is left, and nothing can follow, never. Nothing is erased of a customer who was not deleted.
 */
export async function eraseTraces(db: Db, customerId: string): Promise<void> {
  const deleted = sql`exists (select from identity.users where id = ${customerId}::uuid and deleted_at is not null)`;
  const notifications = await eraseNotifications(
    db,
    sql`customer_id = ${customerId}::uuid and (recipient <> ${ERASED} or body is not null) and ${deleted}`,
  );
  const pushes = await sql`
    delete from messaging.push_messages
    where id in (select id from messaging.push_messages where recipient = ${customerId} and ${deleted} limit ${BATCH})
  `.execute(db);
  const orders = await sql`
    update ordering.orders
    set shipping_address = jsonb_build_object('name', ${ERASED}::text, 'line1', ${ERASED}::text, 'city', ${ERASED}::text,
        'postalCode', ${ERASED}::text, 'country', shipping_address -> 'country'),
      note = null, version = version + 1, step = step + 1
    where status in (${ENDED}) and id in (
      select id from ordering.orders
      where customer_id = ${customerId}::uuid and status in (${ENDED}) and ${deleted}
        and (shipping_address ->> 'name' <> ${ERASED} or note is not null)
      limit ${BATCH}
    )
  `.execute(db);
  const isFull = [notifications, pushes.numAffectedRows ?? 0n, orders.numAffectedRows ?? 0n].some(
    (rows) => rows >= BATCH,
  );
  await sql`
    update identity.users
    set erase_at = case
      when ${isFull}::boolean then now()
      when deleted_at > now() - make_interval(hours => ${LATE_HOURS}) or exists (
        select from ordering.orders where customer_id = users.id and status not in (${ENDED})
      ) then now() + make_interval(mins => ${PAUSE_MINUTES})
    end
    where id = ${customerId}::uuid and deleted_at is not null
  `.execute(db);
}

/** The deleted customers of whom traces may be left, those that have waited longest first. */
export async function dueErasures(db: Db, limit: number): Promise<string[]> {
  const rows = await db
    .selectFrom('identity.users')
    .select('id')
    .where('erase_at', '<=', sql<Date>`now()`)
    .orderBy('erase_at')
    .limit(limit)
    .execute();
  return rows.map(({ id }) => id);
}

/** The server's words in `attempts` may name the recipient: their times stay. What was queued is not sent any more. */
async function eraseNotifications(db: Db | Trx, which: ReturnType<typeof sql>): Promise<bigint> {
  const { numAffectedRows } = await sql`
    update messaging.notifications
    set recipient = ${ERASED}, variables = '{}', subject = null, body = null, claimed_until = null,
      status = case status when 'queued' then 'dead_letter' else status end,
      attempts = (
        select coalesce(jsonb_agg(jsonb_build_object('at', attempt -> 'at') order by position), '[]')
        from jsonb_array_elements(attempts) with ordinality as made (attempt, position)
      )
    where id in (select id from messaging.notifications where ${which} limit ${BATCH})
  `.execute(db);
  return numAffectedRows ?? 0n;
}
