import { LRUCache } from 'lru-cache';
import type { Price, Quote } from '../db/products.ts';

/** What orders were quoted lately, for the time in which Postgres does not answer. */
export interface PriceMemory {
  remember(customerId: string, skus: string[], quote: Quote): void;
  /** What is known of an order, or undefined where anything of it is not. */
  recall(customerId: string, skus: string[]): Quote | undefined;
  isEmpty(): boolean;
}

const MAX_PRICES = 20_000;
const MAX_CUSTOMERS = 50_000;
/** Older prices are not promised to anybody. */
const FRESH_MS = 15 * 60_000;

export function createPriceMemory(): PriceMemory {
  const prices = new LRUCache<string, Price>({ max: MAX_PRICES, ttl: FRESH_MS });
  const customers = new LRUCache<string, true>({ max: MAX_CUSTOMERS, ttl: FRESH_MS });
  return {
    remember(customerId, skus, { prices: quoted, customerExists }) {
      for (const sku of skus) prices.delete(sku);
      for (const price of quoted) prices.set(price.sku, price);
      if (customerExists) customers.set(customerId, true);
    },
    recall(customerId, skus) {
      const known = skus.map((sku) => prices.get(sku)).filter((price) => price !== undefined);
      if (known.length < skus.length || !customers.has(customerId)) return undefined;
      return { prices: known, customerExists: true, requestHash: null };
    },
    isEmpty: () => prices.size === 0,
  };
}
