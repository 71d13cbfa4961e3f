import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import type { Db, Trx } from './connect.ts';
import type { Role } from '../domain/roles.ts';
import type { User } from './users.ts';

/** A refresh token is stored as its hash. */
interface NewRefreshToken {
  tokenHash: string;
  expiresAt: Date;
}

/** Stores a new refresh token of a login (`family`), and forgets the user's expired ones. */
async function insertRefreshToken(
  trx: Trx,
  token: NewRefreshToken & { family: string; userId: string },
): Promise<void> {
  await trx
    .deleteFrom('identity.refresh_tokens')
    .where('user_id', '=', token.userId)
    .where('expires_at', '<', sql<Date>`now()`)
    .execute();
  await trx
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
 * Stores the first refresh token of a login; until the transaction ends its user is neither changed nor deleted. False
 * where the password that opened it has been changed meanwhile.
 */
export async function openLogin(trx: Trx, user: User, token: NewRefreshToken): Promise<boolean> {
  const unchanged = await trx
    .selectFrom('identity.users')
    .select('id')
    .where('id', '=', user.id)
    .where('password_hash', '=', user.passwordHash)
    .forShare()
    .executeTakeFirst();
  if (!unchanged) return false;
  await insertRefreshToken(trx, { ...token, family: randomUUID(), userId: user.id });
  return true;
}

/**
 * Changes a user's password and ends all logins but the one that it opens with `token`. False where the password has been
 * changed meanwhile.
 */
export async function changePassword(
  db: Db,
  user: User,
  passwordHash: string,
  token: NewRefreshToken,
): Promise<boolean> {
  return await db.transaction().execute(async (trx) => {
    const { numUpdatedRows } = await trx
      .updateTable('identity.users')
      .set({ password_hash: passwordHash })
      .where('id', '=', user.id)
      .where('password_hash', '=', user.passwordHash)
      .executeTakeFirst();
    if (numUpdatedRows === 0n) return false;
    await trx.deleteFrom('identity.refresh_tokens').where('user_id', '=', user.id).execute();
    await insertRefreshToken(trx, { ...token, family: randomUUID(), userId: user.id });
    return true;
  });
}

/**
 * The owner of a refresh token, locked: whoever ends or goes on with one of its logins does so alone, and locks it before
 * any token.
 */
const lockOwner = (trx: Trx, tokenHash: string): Promise<{ id: string; role: Role } | undefined> =>
  trx
    .selectFrom('identity.users')
    .select(['id', 'role'])
    .where('deleted_at', 'is', null)
    .where('id', 'in', (builder) =>
      builder.selectFrom('identity.refresh_tokens').select('user_id').where('token_hash', '=', tokenHash),
    )
    .forNoKeyUpdate()
    .executeTakeFirst();

/**
 * Uses a refresh token up, puts its successor in its place, and tells whose it is. A token that was used before was
 * copied by somebody, so its whole family is revoked. Undefined for a token that is unknown, used, or expired.
 */
export async function rotateRefreshToken(
  db: Db,
  tokenHash: string,
  successor: NewRefreshToken,
): Promise<{ id: string; role: Role } | undefined> {
  return await db.transaction().execute(async (trx) => {
    const owner = await lockOwner(trx, tokenHash);
    if (!owner) return undefined;
    const token = await trx
      .selectFrom('identity.refresh_tokens')
      .select(['family', 'used_at as usedAt'])
      .select(sql<boolean>`expires_at <= now()`.as('expired'))
      .where('token_hash', '=', tokenHash)
      .forUpdate()
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
    await insertRefreshToken(trx, { ...successor, family: token.family, userId: owner.id });
    return owner;
  });
}

/** Ends the login that a refresh token belongs to; an unknown token ends nothing. */
export async function revokeRefreshTokens(db: Db, tokenHash: string): Promise<void> {
  await db.transaction().execute(async (trx) => {
    await lockOwner(trx, tokenHash);
    await trx
      .deleteFrom('identity.refresh_tokens')
      .where('family', 'in', (builder) =>
        builder.selectFrom('identity.refresh_tokens').select('family').where('token_hash', '=', tokenHash),
      )
      .execute();
  });
}
