import { sql } from 'kysely';
import type { Db } from './connect.ts';

/** How often something was done under a key in the window that ends in `msLeft`. */
export interface RateCount {
  key: string;
  hits: number;
  msLeft: number;
}

/**
 * Forgets the counts of the keys in `forgiven`, adds those in `counts` to what other processes have counted, and returns
 * the sums with what is left of their windows. A window begins with whoever counts first; one that is over begins anew.
 */
export async function exchangeCounts(
  db: Db,
  { forgiven, counts }: { forgiven: string[]; counts: RateCount[] },
): Promise<RateCount[]> {
  if (forgiven.length > 0) {
    await sql`delete from identity.rate_counts where key = any (${forgiven}::text[])`.execute(db);
  }
  if (counts.length === 0) return [];
  const { rows } = await sql<RateCount>`
    insert into identity.rate_counts as known (key, hits, ends_at)
    select key, hits, now() + make_interval(secs => "msLeft" / 1000.0)
    from jsonb_to_recordset(${JSON.stringify(counts)}::jsonb) as counted (key text, hits int, "msLeft" int)
    order by key
    on conflict (key) do update set
      hits = greatest(0, excluded.hits + case when known.ends_at > now() then known.hits else 0 end),
      ends_at = case when known.ends_at > now() then known.ends_at else excluded.ends_at end
    returning key, hits, ceil(extract(epoch from ends_at - now()) * 1000)::int as "msLeft"
  `.execute(db);
  return rows;
}

/** Removes the counts of windows that are over. */
export async function purgeCounts(db: Db): Promise<void> {
  await sql`delete from identity.rate_counts where ends_at < now() - interval '1 minute'`.execute(db);
}
