import { sql } from 'kysely';
import type { Db } from '../../db/connect.ts';

/** Waits until `probe` gives something truthy, and returns it. Fails with `what` after the deadline. */
export async function eventually<T>(
  what: string,
  probe: () => T | Promise<T>,
  seconds = 20,
  everyMs = 50,
): Promise<Exclude<Awaited<T>, undefined | null | false | 0 | ''>> {
  const deadline = Date.now() + seconds * 1000;
  let last: unknown;
  for (;;) {
    try {
      const found = await probe();
      if (found) return found as Exclude<Awaited<T>, undefined | null | false | 0 | ''>;
      last = found;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) throw new Error(`Not within ${seconds} s: ${what}`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

/** Waits until so many statements wait for a lock in this database; others have their own test going on in them. */
export const untilLockedOut = (db: Db, count = 1): Promise<boolean> =>
  eventually(`${count} wait for a lock`, async () => {
    const { rows } = await sql`
      select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
    `.execute(db);
    return rows.length >= count;
  });
