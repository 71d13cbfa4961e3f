import type { Db, Trx } from '../db/connect.ts';
import { claimKey, isReplay, type UsedKey } from '../db/idempotency-keys.ts';
import type { Request, Response } from 'express';
import { markReplayed, readIdempotencyKey, requestHashOf } from './preconditions.ts';
import type { Caller } from './tokens.ts';

/** The Idempotency-Key of a POST with its scope, or undefined where the caller sent none. */
export function usedKey(request: Request, caller: Caller, body: unknown): UsedKey | undefined {
  const key = readIdempotencyKey(request);
  if (key === undefined) return undefined;
  return {
    caller: caller.id,
    route: `${request.method} ${decodeURIComponent(request.path)}`,
    key,
    requestHash: requestHashOf(body),
  };
}

/**
 * Runs an effect in a transaction that also claims the request's key, so that the two happen together or not at all.
 * Where the same request had the key before, the effect is skipped, the answer is marked as replayed, and the result
 * is undefined.
 */
export async function oncePerKey<T>(
  db: Db,
  used: UsedKey | undefined,
  response: Response,
  effect: (trx: Trx) => Promise<T>,
): Promise<T | undefined> {
  return await db.transaction().execute(async (trx) => {
    if (used && !(await claimKey(trx, used))) {
      markReplayed(response);
      return undefined;
    }
    return await effect(trx);
  });
}

/** Whether the key's request was done before; marks the answer then. For effects that are idempotent themselves. */
export async function wasDoneBefore(db: Db, used: UsedKey | undefined, response: Response): Promise<boolean> {
  if (!used || !(await isReplay(db, used))) return false;
  markReplayed(response);
  return true;
}
