import { createHash } from 'node:crypto';
import type { Db } from '../db/connect.ts';
import { readSigningKeys } from '../db/signing-keys.ts';

interface Key {
  kid: string;
  key: Uint8Array;
}

/** The keys that access tokens are signed with. */
export interface KeyRing {
  /** The key that signs now. */
  current(): Key;
  /** The key of this name, or the one of tokens that name none; undefined where it is not known, or not good any more. */
  find(kid: string | undefined): Promise<Uint8Array | undefined>;
  /** Whether what was signed under this name is still good. */
  holds(kid: string | undefined): boolean;
  refresh(): Promise<void>;
}

/** What tokens of earlier releases, which name no key, were signed with. */
const FIRST = 'first';
/** A name that is not known is looked up, but not more often than this, whatever tokens somebody makes up. */
const LOOK_UP_MS = 1_000;

const toKey = (secret: string): Uint8Array => createHash('sha256').update(secret).digest();

/** The keys that all API processes on this database share. */
export async function storedKeyRing(db: Db): Promise<KeyRing> {
  let keys = new Map<string, Uint8Array>();
  let current: Key;
  let lookedUpAt = 0;
  const refresh = async (): Promise<void> => {
    const read = await readSigningKeys(db);
    keys = new Map(read.map(({ kid, secret }) => [kid, toKey(secret)]));
    const { kid, secret } = read[0]!;
    current = { kid, key: toKey(secret) };
  };
  await refresh();
  let lookingUp: Promise<void> | undefined;
  const lookUp = async (): Promise<void> => {
    if (Date.now() - lookedUpAt >= LOOK_UP_MS) {
      lookedUpAt = Date.now();
      lookingUp = refresh();
    }
    await lookingUp;
  };
  return {
    current: () => current,
    async find(kid = FIRST) {
      if (!keys.has(kid)) await lookUp();
      return keys.get(kid);
    },
    holds: (kid = FIRST) => keys.has(kid),
    refresh,
  };
}

/** Keys from the environment: `secret` signs, what the others have signed is taken too. */
export function givenKeyRing(secret: string, others: readonly string[]): KeyRing {
  const all = [secret, ...others].map((one) => ({ kid: kidOf(one), key: toKey(one) }));
  const keys = new Map(all.map(({ kid, key }) => [kid, key]));
  const current = all[0]!;
  return {
    current: () => current,
    find: async (kid = current.kid) => keys.get(kid),
    holds: (kid = current.kid) => keys.has(kid),
    refresh: async () => undefined,
  };
}

const kidOf = (secret: string): string =>
  createHash('sha256').update(`kid of ${secret}`).digest('base64url').slice(0, 8);
