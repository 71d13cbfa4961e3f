import { randomUUID } from 'node:crypto';
import type { Db, Trx } from '../db/connect.ts';
import { claimKey, isReplay, type UsedKey } from '../db/idempotency-keys.ts';
import { commandIdFor } from '../domain/ids.ts';
import type { Request, Response } from 'express';
import { markReplayed, readIdempotencyKey, requestHashOf } from './preconditions.ts';
import type { Caller } from './tokens.ts';

/**
 * The Idempotency-Key of a POST with its scope, or undefined where the caller sent none. An order, which may be named by
 * its number, is told by `orderId`.
 */
export function usedKey(
  request: Request,
  caller: Pick<Caller, 'id'>,
  body: unknown,
  orderId?: string,
): UsedKey | undefined {
  const key = readIdempotencyKey(request);
  if (key === undefined) return undefined;
  return {
    caller: caller.id,
    route: routeOf(request, caller, orderId),
    key,
    requestHash: requestHashOf(body),
  };
}

/** The same for every way to name the thing that the path is about. */
function routeOf(
  { method, path, params: { id } }: Request,
  caller: Pick<Caller, 'id'>,
  orderId?: string,
): string {
  const named = decodeURIComponent(path);
  if (typeof id !== 'string') return `${method} ${named}`;
  const meant = id === 'me' ? caller.id : id.toLowerCase();
  return `${method} ${named.replace(`/${id}`, `/${orderId ?? meant}`)}`;
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

/**
 * Runs an effect that is idempotent by an id: the id is made of the request's key, or new where the caller sent none.
 * Where the same request was done before, the effect is skipped and the answer is marked as replayed. Returns the id.
 */
export async function onceById(
  db: Db,
  {
    request,
    response,
    caller,
    body,
    orderId,
  }: { request: Request; response: Response; caller: Caller; body: unknown; orderId?: string },
  effect: (id: string) => Promise<unknown>,
): Promise<string> {
  const used = usedKey(request, caller, body, orderId);
  const id = used ? commandIdFor(used.caller, used.route, used.key) : randomUUID();
  if (await wasDoneBefore(db, used, response)) return id;
  await effect(id);
  await noteDone(db, used, response);
  return id;
}

/** Whether the key's request was done before; marks the answer then. For effects that are idempotent themselves. */
export async function wasDoneBefore(db: Db, used: UsedKey | undefined, response: Response): Promise<boolean> {
  if (!used || !(await isReplay(db, used))) return false;
  markReplayed(response);
  return true;
}

/** Notes that the key's request was done; where the same one, at the same time, was sooner, marks the answer. */
export async function noteDone(db: Db, used: UsedKey | undefined, response: Response): Promise<void> {
  if (used && !(await claimKey(db, used))) markReplayed(response);
}
