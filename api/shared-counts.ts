import { createHash } from 'node:crypto';
import type { Store } from 'express-rate-limit';
import type { Logger } from 'pino';
import type { Db } from '../db/connect.ts';
import { exchangeCounts, purgeCounts } from '../db/rate-counts.ts';
import { repeat } from './repeating.ts';

/** Counts for rate limits that all API processes on one database share. */
export interface SharedCounts {
  /** Where express-rate-limit keeps the counts of a policy; processes with the same policy count together. */
  store(policy: string): Store;
  stop(): Promise<void>;
}

interface Counter {
  hits: number;
  /** Those of the hits that the other processes do not know of yet. */
  unsent: number;
  endsAt: number;
}

const EXCHANGE_MS = 1_000;
const EXCHANGES_A_PURGE = 60;

/**
 * Counts in the process, and exchanges every second with the others what was counted, in one statement for all callers.
 * So no request waits for a count, a caller that spreads over processes gets away with what it does in a second, and
 * while Postgres is away each process counts alone. Postgres sees hashes of the keys only.
 */
export function createSharedCounts(db: Db, logger: Logger): SharedCounts {
  const counters = new Map<string, Counter>();
  let forgiven = new Set<string>();
  let exchanges = 0;

  const exchange = async (): Promise<void> => {
    const now = Date.now();
    const sent = new Map<string, { counter: Counter; hits: number }>();
    const counts = [];
    for (const [key, counter] of counters) {
      if (counter.endsAt <= now) counters.delete(key);
      else if (counter.unsent !== 0) {
        const hash = hashOf(key);
        sent.set(hash, { counter, hits: counter.unsent });
        counts.push({ key: hash, hits: counter.unsent, msLeft: counter.endsAt - now });
      }
    }
    const forgetting = forgiven;
    forgiven = new Set();
    if (counts.length > 0 || forgetting.size > 0) {
      try {
        const known = await exchangeCounts(db, { forgiven: [...forgetting].map(hashOf), counts });
        for (const { key, hits, msLeft } of known) {
          const { counter, hits: told } = sent.get(key)!;
          counter.unsent -= told;
          counter.hits = hits + counter.unsent;
          counter.endsAt = Date.now() + msLeft;
        }
      } catch (error) {
        for (const key of forgetting) forgiven.add(key);
        throw error;
      }
    }
    exchanges += 1;
    if (exchanges % EXCHANGES_A_PURGE === 0) await purgeCounts(db);
  };
  const exchanging = repeat('exchange rate counts', EXCHANGE_MS, exchange, logger);

  const store = (policy: string): Store => {
    let windowMs = 60_000;
    const named = (key: string) => `${policy} ${key}`;
    const live = (key: string): Counter | undefined => {
      const counter = counters.get(named(key));
      return counter && counter.endsAt > Date.now() ? counter : undefined;
    };
    const told = ({ hits, endsAt }: Counter) => ({
      totalHits: Math.max(hits, 1),
      resetTime: new Date(endsAt),
    });
    return {
      init(options) {
        windowMs = options.windowMs;
      },
      get(key) {
        const counter = live(key);
        return counter && told(counter);
      },
      increment(key) {
        const counter = live(key) ?? { hits: 0, unsent: 0, endsAt: Date.now() + windowMs };
        counters.set(named(key), counter);
        counter.hits += 1;
        counter.unsent += 1;
        return told(counter);
      },
      decrement(key) {
        const counter = live(key);
        if (!counter) return;
        counter.hits -= 1;
        counter.unsent -= 1;
      },
      resetKey(key) {
        counters.delete(named(key));
        forgiven.add(named(key));
      },
    };
  };
  return { store, stop: exchanging.stop };
}

const hashOf = (key: string): string => createHash('sha256').update(key).digest('base64url');
