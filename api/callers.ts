import type { Db } from '../db/connect.ts';
import { listDeletedUsers } from '../db/users.ts';
import { OrderPlatformError } from '../domain/errors.ts';
import { type ApiKeys, isApiKey } from './api-keys.ts';
import type { AccessTokens, Caller } from './tokens.ts';

/** Who calls, by what the `Authorization` header bears. */
export interface Callers {
  /** Throws `unauthenticated` for a token or an API key that is not good, and for somebody who was deleted. */
  verify(token: string): Promise<Caller>;
  /** Somebody was deleted: this process takes their tokens no more. */
  forget(userId: string): void;
  /** Learns who was deleted through other processes. */
  refresh(): Promise<void>;
}

/** Nobody waits for Postgres here, but for an API key that was not seen for a while: who was deleted is remembered. */
export function createCallers(deps: { db: Db; tokens: AccessTokens; apiKeys: ApiKeys }): Callers {
  const { db, tokens, apiKeys } = deps;
  let deleted = new Set<string>();
  let forgottenMeanwhile = new Set<string>();
  return {
    async verify(token) {
      if (isApiKey(token)) return await apiKeys.verify(token);
      const caller = await tokens.verify(token);
      if (deleted.has(caller.id)) {
        throw new OrderPlatformError('unauthenticated', 'The account of this access token was deleted.');
      }
      return caller;
    },
    forget(userId) {
      deleted.add(userId);
      forgottenMeanwhile.add(userId);
    },
    async refresh() {
      forgottenMeanwhile = new Set();
      const listed = await listDeletedUsers(db);
      deleted = new Set([...listed, ...forgottenMeanwhile]);
    },
  };
}
