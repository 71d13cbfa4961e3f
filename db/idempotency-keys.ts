import { OrderPlatformError } from '../domain/errors.ts';
import type { Db, Trx } from './connect.ts';

/** Who used which key where, and the fingerprint of what was asked. */
export interface UsedKey {
  caller: string;
  route: string;
  key: string;
  requestHash: string;
}

/**
 * Claims an Idempotency-Key in the transaction of its effect: `false` when the same request had it before, so that
 * there is nothing to do again. Two at once wait for one another. Throws `idempotency_key_reused` when it belongs to
 * another request.
 */
export async function claimKey(db: Db | Trx, used: UsedKey): Promise<boolean> {
  const inserted = await db
    .insertInto('identity.idempotency_keys')
    .values({ caller: used.caller, route: used.route, key: used.key, request_hash: used.requestHash })
    .onConflict((conflict) => conflict.doNothing())
    .returning('key')
    .executeTakeFirst();
  return inserted !== undefined || !(await isReplay(db, used));
}

/** Whether this very request was done before. Throws `idempotency_key_reused` when another one was. */
export async function isReplay(db: Db | Trx, used: UsedKey): Promise<boolean> {
  const known = await db
    .selectFrom('identity.idempotency_keys')
    .select('request_hash')
    .where('caller', '=', used.caller)
    .where('route', '=', used.route)
    .where('key', '=', used.key)
    .executeTakeFirst();
  if (known && known.request_hash !== used.requestHash) {
    throw new OrderPlatformError(
      'idempotency_key_reused',
      'This Idempotency-Key was used for a request with another body.',
    );
  }
  return known !== undefined;
}
