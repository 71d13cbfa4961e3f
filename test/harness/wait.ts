import { sql } from 'kysely';
import type { Db } from '../../db/connect.ts';

/** A long wait is looked at less and less often, because looking costs those who are waited for: by so much each time. */
const SLOWER = 1.2;
const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 1_000;

/** Waits until `probe` gives something truthy, and returns it. Fails with `what` after the deadline. Looks `everyMs`, if given. */
export async function eventually<T>(
  what: string,
  probe: () => T | Promise<T>,
  seconds = 20,
  everyMs?: number,
): Promise<Exclude<Awaited<T>, undefined | null | false | 0 | ''>> {
  const deadline = Date.now() + seconds * 1000;
  let last: unknown;
  for (let pause = everyMs ?? FIRST_PAUSE_MS; ; pause = everyMs ?? Math.min(pause * SLOWER, MAX_PAUSE_MS)) {
    try {
      const found = await probe();
      if (found) return found as Exclude<Awaited<T>, undefined | null | false | 0 | ''>;
      last = found;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) throw new Error(`Not within ${seconds} s: ${what}`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, pause));
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
