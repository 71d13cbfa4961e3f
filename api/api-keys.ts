import { createHash, randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { type ApiKey, findApiKeyByHash, noteApiKeyUses } from '../db/api-keys.ts';
import type { Db } from '../db/connect.ts';
import { OrderPlatformError } from '../domain/errors.ts';
import type { Caller } from './tokens.ts';

/** Begins every key, so that scanners of repositories and logs can find one that got lost. */
const PREFIX = 'hfk_';
const KEY = /^hfk_[\w-]{43}$/;

/** So long a key that was revoked in another process may go on working. */
const TRUSTED_MS = 5_000;
const NOTED_MS = 60_000;
const MAX_KEYS = 10_000;

export const isApiKey = (token: string): boolean => KEY.test(token);

/** A new key, and the hash under which it is stored: 256 random bits need no slow one. */
export function newApiKey(): { key: string; keyHash: string } {
  const key = PREFIX + randomBytes(32).toString('base64url');
  return { key, keyHash: hashApiKey(key) };
}

const hashApiKey = (key: string): string => createHash('sha256').update(key).digest('base64url');

export interface ApiKeys {
  /** Whose key this is. Throws `unauthenticated` for one that is unknown, revoked or expired. */
  verify(key: string): Promise<Caller>;
  /** The key with this hash was revoked: this process asks for it anew. */
  forget(keyHash: string): void;
  /** Writes down which keys were used since the last time, each once a minute. */
  writeUses(): Promise<void>;
}

/**
 * Remembers a key that was found good for 5 seconds, so that not every request asks for it, and longer while Postgres
 * does not answer.
 */
export function createApiKeys(db: Db): ApiKeys {
  const known = new LRUCache<string, ApiKey>({
    max: MAX_KEYS,
    ttl: TRUSTED_MS,
    fetchMethod: (keyHash) => findApiKeyByHash(db, keyHash),
    allowStaleOnFetchRejection: true,
    noDeleteOnFetchRejection: true,
    ignoreFetchAbort: true,
  });
  const noted = new LRUCache<string, true>({ max: MAX_KEYS, ttl: NOTED_MS });
  let uses = new Map<string, Date>();
  return {
    async verify(key) {
      const keyHash = hashApiKey(key);
      const found = await known.fetch(keyHash);
      // The cache keeps a stale entry that was not found any more.
      if (!found) known.delete(keyHash);
      if (!found || (found.expiresAt !== null && Date.parse(found.expiresAt) <= Date.now())) {
        throw new OrderPlatformError('unauthenticated', 'The API key is not valid or has expired.');
      }
      if (!noted.has(found.id)) {
        noted.set(found.id, true);
        uses.set(found.id, new Date());
      }
      return { id: found.id, role: found.role };
    },
    forget: (keyHash) => void known.delete(keyHash),
    async writeUses() {
      if (uses.size === 0) return;
      const writing = uses;
      uses = new Map();
      try {
        await noteApiKeyUses(
          db,
          [...writing].map(([id, at]) => ({ id, at })),
        );
      } catch (error) {
        uses = new Map([...writing, ...uses]);
        throw error;
      }
    },
  };
}
