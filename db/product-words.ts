import { sql } from 'kysely';
import type { Db } from './connect.ts';

/** The same characters as in catalogue.spaced(): what stands between words. */
const BETWEEN_WORDS = /[\s!-/:-@[-`{-~]+/u;

/** Each word costs a look into the index; what comes behind so many is not looked for. */
const MOST_WORDS = 10;

const wordsOf = (q: string): string[] =>
  q.toLowerCase().split(BETWEEN_WORDS).filter(Boolean).slice(0, MOST_WORDS);

/** As a tsquery: products that have all words, the last of which may be still being typed. Empty where `q` has no word. */
export const wordsAsWritten = (q: string): string =>
  wordsOf(q)
    .map((word, index, all) => (index === all.length - 1 ? startsWith(word) : exactly(word)))
    .join(' & ');

const startsWith = (word: string): string => `'${word}':*`;
const exactly = (word: string): string => `'${word}'`;

/** Shorter words have too little to go by. */
const SHORTEST = 4;
/** So many that look alike (pg_trgm) are looked at more closely. */
const MOST_SIMILAR = 25;
/** A word that more than so many begin with is looked up as their common start. */
const MOST_CONTINUED = 25;

/**
 * The same, if each word may be the start of one, and those that no word of a product starts with are replaced by those
 * that they are probably misspellings of. Words with digits are names of something and stay as they are. Empty where that
 * is no more than what was written.
 */
export async function wordsAsMeant(db: Db, q: string): Promise<string> {
  const written = wordsOf(q);
  const plain = written.filter((word) => word.length >= SHORTEST && /^\p{L}+$/u.test(word));
  const known = plain.length === 0 ? new Map<string, KnownWords>() : await lookUp(db, plain);
  let isMore = false;
  const meant = written.map((word, index) => {
    const { continued = [], similar = [] } = known.get(word) ?? {};
    const corrected = continued.length === 0 ? probablyMeant(word, similar) : [];
    const wasExact = index < written.length - 1;
    isMore ||= corrected.length > 0 || (wasExact && (continued.length !== 1 || continued[0] !== word));
    if (corrected.length > 0) return anyOf(corrected);
    return continued.length > 0 && continued.length <= MOST_CONTINUED ? anyOf(continued) : startsWith(word);
  });
  return isMore ? meant.join(' & ') : '';
}

const anyOf = (words: string[]): string => `(${words.map(exactly).join(' | ')})`;

interface KnownWords {
  /** Words of products that start with it, itself too. */
  continued: string[];
  /** Where none does, those that look alike. */
  similar: string[];
}

async function lookUp(db: Db, words: string[]): Promise<Map<string, KnownWords>> {
  const { rows } = await sql<KnownWords & { written: string }>`
    select written, continued, case when continued = '{}' then array(
      select word from catalogue.words order by word <-> written limit ${MOST_SIMILAR}
    ) else '{}' end as similar
    from unnest(${words}::text[]) as written
    cross join lateral (
      select array(
        select word from catalogue.words
        where word >= written collate "C" and word < written || chr(1114111) collate "C"
        order by word limit ${MOST_CONTINUED + 1}
      ) as continued
    ) as known
  `.execute(db);
  return new Map(rows.map((row) => [row.written, row]));
}

/** Those of the similar words that the fewest slips lead to: one in a short word, at most two in a long one. */
function probablyMeant(written: string, similar: string[]): string[] {
  const slips = similar.map((word) => slipsBetween(written, word));
  const fewest = Math.min(...slips);
  const allowed = written.length > 5 ? 2 : 1;
  return fewest > allowed ? [] : similar.filter((_, index) => slips[index] === fewest);
}

/** Letters added, left out, changed, or swapped with the next one (optimal string alignment distance). */
function slipsBetween(one: string, other: string): number {
  const rows: number[][] = [Array.from({ length: other.length + 1 }, (_, column) => column)];
  for (let i = 1; i <= one.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= other.length; j += 1) {
      const changed = rows[i - 1]![j - 1]! + (one[i - 1] === other[j - 1] ? 0 : 1);
      const swapped =
        one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1] ? rows[i - 2]![j - 2]! + 1 : Infinity;
      row.push(Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, changed, swapped));
    }
    rows.push(row);
  }
  return rows[one.length]![other.length]!;
}
