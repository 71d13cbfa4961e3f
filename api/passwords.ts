import { hash, verify } from '@node-rs/argon2';
import pLimit from 'p-limit';
import { OrderPlatformError } from '../domain/errors.ts';

const AT_ONCE = 2;
const MAX_WAITING = 100;

/** Passwords, kept as argon2id hashes. Both are costly by design: a few at a time leave the machine to the orders. */
export interface Passwords {
  /** Runs something that hashes or checks, when it is its turn. Throws `rate_limited` while too many wait. */
  inTurn<T>(work: () => Promise<T>): Promise<T>;
  hash(password: string): Promise<string>;
  /** Whether this is the password; takes as long where there is none, so that nobody learns who has an account. */
  matches(passwordHash: string | null | undefined, password: string): Promise<boolean>;
}

export function createPasswords(): Passwords {
  const turns = pLimit(AT_ONCE);
  const nobodys = hash('a password nobody has');
  return {
    inTurn(work) {
      if (turns.pendingCount >= MAX_WAITING) {
        throw new OrderPlatformError('rate_limited', 'Too many logins at once. Please try again.');
      }
      return turns(work);
    },
    hash: (password) => hash(password),
    matches: async (passwordHash, password) =>
      (await verify(passwordHash ?? (await nobodys), password)) && Boolean(passwordHash),
  };
}
