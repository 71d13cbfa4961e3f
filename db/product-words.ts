import { type RawBuilder, sql } from 'kysely';
import { LRUCache } from 'lru-cache';
import type { Db } from './connect.ts';

/** What stands between words for Postgres too: for catalogue.spaced(), and beyond ASCII for its parser. */
const BETWEEN_WORDS = /[^\p{Alphabetic}\p{M}\p{Nd}\u200c\u200d]+/u;

/** As Postgres does it: each letter by itself becomes one other. */
const lowered = (text: string): string =>
  text.replace(/\p{Lu}/gu, (letter) => String.fromCodePoint(letter.toLowerCase().codePointAt(0)!));

/** Each word costs a look into the index; what comes behind so many is not looked for. */
const MOST_WORDS = 10;

const wordsOf = (q: string): string[] => lowered(q).split(BETWEEN_WORDS).filter(Boolean).slice(0, MOST_WORDS);

/** What a product has to have: any of these words, or any that starts so; `isCommon`: very many words do. */
export type Sought = { anyOf: string[] } | { start: string; isCommon?: true };

/** All words, the last of which may be still being typed. Empty where `q` has no word. */
export const wordsAsWritten = (q: string): Sought[] =>
  wordsOf(q).map((word, index, all) => (index === all.length - 1 ? { start: word } : { anyOf: [word] }));

/** As a tsquery: products that have one of each. */
export const toTsquery = (sought: Sought[]): string =>
  sought
    .map((one) =>
      'start' in one ? `'${one.start}':*` : `(${one.anyOf.map((word) => `'${word}'`).join(' | ')})`,
    )
    .join(' & ');

/** Shorter words have too little to go by. */
const SHORTEST = 4;
/** So many that look alike (pg_trgm) are looked at more closely. */
const MOST_SIMILAR = 25;
/** A word that more than so many begin with is looked up as their common start. */
const MOST_CONTINUED = 25;

const REMEMBERED = { max: 1000, ttl: 60_000 };

/** What a `q` means with which nothing is found. Undefined where that is no more than what was written. */
export interface Meanings {
  /** Looked up, but for the words of the last minute. */
  lookUp(q: string): Promise<Sought[] | undefined>;
  /** Undefined too where a word of it is not of the last minute. */
  remembered(q: string): Sought[] | undefined;
}

/**
 * Each word may be the start of one, and those that no word of a product starts with are replaced by those that they are
 * probably misspellings of. Words with digits are names of something and stay as they are.
 */
export function createMeanings(db: Db): Meanings {
  const memory = new LRUCache<string, KnownWords>(REMEMBERED);
  const meaningOfAll = (words: string[], known: (KnownWords | undefined)[]): Sought[] | undefined => {
    const meant = words.map((word, index) =>
      meaningOf(word, known[index] ?? NOTHING, index === words.length - 1),
    );
    return meant.some(({ isMore }) => isMore) ? meant.map(({ sought }) => sought) : undefined;
  };
  return {
    async lookUp(q) {
      const words = wordsOf(q);
      const unknown = words.filter((word) => !memory.has(word));
      const found = new Map(unknown.length === 0 ? [] : await lookUp(db, unknown));
      for (const [word, known] of found) memory.set(word, known);
      return meaningOfAll(
        words,
        words.map((word) => found.get(word) ?? memory.get(word)),
      );
    },
    remembered(q) {
      const words = wordsOf(q);
      const known = words.map((word) => memory.get(word));
      return known.includes(undefined) ? undefined : meaningOfAll(words, known);
    },
  };
}

/** What a word may be, and whether that is more than what is looked for as written. */
function meaningOf(
  word: string,
  { continued, similar }: KnownWords,
  isLast: boolean,
): { sought: Sought; isMore: boolean } {
  if (continued.length > MOST_CONTINUED) return { sought: { start: word, isCommon: true }, isMore: true };
  if (continued.length > 0) {
    return { sought: { anyOf: continued }, isMore: !isLast && continued.some((longer) => longer !== word) };
  }
  const corrected = probablyMeant(word, similar);
  return corrected.length > 0
    ? { sought: { anyOf: corrected }, isMore: true }
    : { sought: { start: word }, isMore: false };
}

interface KnownWords {
  /** Words of products on sale that start with it, itself too: all, or one too many. */
  continued: string[];
  /** Where none does, words of products on sale that look alike. */
  similar: string[];
}
const NOTHING: KnownWords = { continued: [], similar: [] };

async function lookUp(db: Db, words: string[]): Promise<[string, KnownWords][]> {
  const { rows } = await sql<KnownWords & { written: string }>`
    select written, continued, case
      when continued = '{}' and written ~ ${`^[[:alpha:]]{${SHORTEST},}$`}
      then array(
        select word from catalogue.words
        where (select true from catalogue.product_words where product_words.word = words.word limit 1)
        order by word <-> written limit ${MOST_SIMILAR}
      )
      else '{}'
    end as similar
    from unnest(${words}::text[]) as written
    cross join lateral (select array(${wordsStarting(sql.ref('written'))}) as continued) as known
  `.execute(db);
  return rows.map((row) => [row.written, row]);
}

/** The first words of products on sale with this start. Each is a look into the index, however many products have it. */
const wordsStarting = (start: RawBuilder<unknown>) => sql`
  with recursive starting (word) as (
    (select word from catalogue.product_words where word >= ${start} and word < ${pastAll(start)} order by word limit 1)
    union all
    select following.word from starting cross join lateral (
      select word from catalogue.product_words
      where product_words.word > starting.word and product_words.word < ${pastAll(start)} order by word limit 1
    ) as following
  )
  select word from starting limit ${MOST_CONTINUED + 1}
`;

/** What comes behind every word with this start. */
const pastAll = (start: RawBuilder<unknown>) => sql`${start} || chr(1114111) collate "C"`;

/**
 * The skus of the first products on sale with what is sought, from behind `after`. None where it is the start of very many
 * words.
 */
export const firstSkus = (sought: Sought, { limit, after }: { limit: number; after: string }) => sql<string>`(
  with sought as materialized (
    ${'start' in sought ? wordsStarting(sql`${sought.start}::text`) : sql`select unnest(${sought.anyOf}::text[]) as word`}
  )
  select distinct sku from sought cross join lateral (
    select sku from catalogue.product_words where product_words.word = sought.word and sku > ${after}
    order by sku limit ${limit}
  ) as listed
  where (select count(*) from sought) <= ${MOST_CONTINUED}
  order by sku limit ${limit}
)`;

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
