import { type RawBuilder, sql } from 'kysely';

/** A search word as the indexes on lower-case text have it. */
export const lower = (q: string) => sql`lower(${q}::text)`;

const LAST_CHARACTER = '\u{10FFFF}';

/** A prefix as a range, which is read from an index also by a plan that was made without knowing the prefix. */
export const startIs = (column: RawBuilder<unknown>, start: RawBuilder<unknown>) =>
  sql`${column} collate "C" >= ${start} and ${column} collate "C" < ${start} || ${LAST_CHARACTER}::text`;
