import { sql } from 'kysely';
import type { Db, Trx } from './connect.ts';
import type { Role } from '../domain/roles.ts';

/** Stores the hash of a new refresh token of a login (`family`), and forgets the user's expired ones. */
export async function insertRefreshToken(
  db: Db | Trx,
  token: { tokenHash: string; family: string; userId: string; expiresAt: Date },
): Promise<void> {
  await db
    .deleteFrom('identity.refresh_tokens')
    .where('user_id', '=', token.userId)
    .where('expires_at', '<', sql<Date>`now()`)
    .execute();
  await db
    .insertInto('identity.refresh_tokens')
    .values({
      token_hash: token.tokenHash,
      family: token.family,
      user_id: token.userId,
      expires_at: token.expiresAt,
    })
    .execute();
}

/**
 * Uses a refresh token up, puts its successor in its place, and tells whose it is. A token that was used before was
 * copied by somebody, so its whole family is revoked. Undefined for a token that is unknown, used, or expired.
 */
export async function rotateRefreshToken(
  db: Db,
  tokenHash: string,
  successor: { tokenHash: string; expiresAt: Date },
): Promise<{ id: string; role: Role } | undefined> {
  return await db.transaction().execute(async (trx) => {
    const token = await trx
      .selectFrom('identity.refresh_tokens as token')
      .innerJoin('identity.users as owner', 'owner.id', 'token.user_id')
      .select(['token.family', 'token.user_id as userId', 'token.used_at as usedAt', 'owner.role'])
      .select(sql<boolean>`token.expires_at <= now()`.as('expired'))
      .where('token.token_hash', '=', tokenHash)
      .where('owner.deleted_at', 'is', null)
      .forUpdate('token')
      .executeTakeFirst();
    if (!token || token.expired) return undefined;
    if (token.usedAt) {
      await trx.deleteFrom('identity.refresh_tokens').where('family', '=', token.family).execute();
      return undefined;
    }
    await trx
      .updateTable('identity.refresh_tokens')
      .set({ used_at: new Date() })
      .where('token_hash', '=', tokenHash)
      .execute();
    await insertRefreshToken(trx, { ...successor, family: token.family, userId: token.userId });
    return { id: token.userId, role: token.role };
  });
}

/** Ends the login that a refresh token belongs to; an unknown token ends nothing. */
export async function revokeRefreshTokens(db: Db, tokenHash: string): Promise<void> {
  await db
    .deleteFrom('identity.refresh_tokens')
    .where('family', 'in', (builder) =>
      builder.selectFrom('identity.refresh_tokens').select('family').where('token_hash', '=', tokenHash),
    )
    .execute();
}
