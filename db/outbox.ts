import { sql } from 'kysely';
import type { PlacedOrder } from '../domain/order.ts';
import type { Db } from './connect.ts';

/**
 * Leaves word that the workflow of this order has to hear of it; once, however often it is left. A dispatcher that is
 * about to tell an earlier word has to come again.
 */
export async function leaveWord(db: Db, accepted: PlacedOrder): Promise<void> {
  await db
    .insertInto('ordering.outbox')
    .values({ order_id: accepted.orderId, accepted: JSON.stringify(accepted) })
    .onConflict((conflict) => conflict.column('order_id').doUpdateSet({ claimed_until: null }))
    .execute();
}

export interface Claim {
  /** Until then no other dispatcher tells these orders. */
  until: Date;
  orders: PlacedOrder[];
}

/**
 * Takes the oldest orders whose workflows have still to hear of them, at most `limit` and none that
 * has waited for less than `minAgeSeconds`, for this dispatcher alone, for `seconds`: what a dispatcher that died has taken is free again after that.
 */
export async function claimWaiting(
  db: Db,
  { limit, seconds, minAgeSeconds }: { limit: number; seconds: number; minAgeSeconds: number },
): Promise<Claim> {
  const { rows } = await sql<{ accepted: PlacedOrder; until: Date }>`
    with oldest as (
      select order_id from ordering.outbox
      where (claimed_until is null or claimed_until < now())
        and created_at <= now() - make_interval(secs => ${minAgeSeconds})
      order by created_at, order_id
      limit ${limit}
      for update skip locked
    ),
    claimed as (
      update ordering.outbox
      set claimed_until = now() + make_interval(secs => ${seconds})
      from oldest
      where outbox.order_id = oldest.order_id
      returning outbox.order_id, accepted, created_at, outbox.claimed_until as until
    )
    select accepted, until from claimed order by created_at, order_id
  `.execute(db);
  return { until: rows[0]?.until ?? new Date(0), orders: rows.map(({ accepted }) => accepted) };
}

/** Forgets the orders of a claim whose workflows have heard of them, and lets go of those that could not be told. */
export async function settleClaim(
  db: Db,
  { until }: Pick<Claim, 'until'>,
  told: string[],
  untold: string[],
): Promise<void> {
  await sql`
    with told as (
      delete from ordering.outbox where order_id = any (${told}::uuid[]) and claimed_until = ${until}
    )
    update ordering.outbox set claimed_until = null
    where order_id = any (${untold}::uuid[]) and claimed_until = ${until}
  `.execute(db);
}

/** A word that whoever left it has claimed for himself. */
export interface OwnWord {
  orderId: string;
  claimedUntil: Date;
}

/** Forgets words whose workflows have heard of them; none that was left again meanwhile. */
export async function forgetWords(db: Db, words: OwnWord[]): Promise<void> {
  await sql`
    delete from ordering.outbox
    using unnest(${words.map(({ orderId }) => orderId)}::uuid[], ${words.map(({ claimedUntil }) => claimedUntil)}::timestamptz[])
      as heard (order_id, claimed_until)
    where outbox.order_id = heard.order_id and outbox.claimed_until = heard.claimed_until
  `.execute(db);
}

/** Leaves a word to the dispatchers. */
export async function releaseWord(db: Db, { orderId, claimedUntil }: OwnWord): Promise<void> {
  await db
    .updateTable('ordering.outbox')
    .set({ claimed_until: null })
    .where('order_id', '=', orderId)
    .where('claimed_until', '=', claimedUntil)
    .execute();
}

/** Whether the workflow of this order has still to hear of it: one that is not there then was never started. */
export const isWaiting = async (db: Db, orderId: string): Promise<boolean> =>
  (await db
    .selectFrom('ordering.outbox')
    .select('order_id')
    .where('order_id', '=', orderId)
    .executeTakeFirst()) !== undefined;

/** How many orders wait for their workflows to hear of them, and since when the oldest does. */
export async function countWaiting(db: Db): Promise<{ count: number; oldest: Date | null }> {
  return await db
    .selectFrom('ordering.outbox')
    .select(({ fn }) => [fn.countAll<number>().as('count'), fn.min('created_at').as('oldest')])
    .executeTakeFirstOrThrow();
}
