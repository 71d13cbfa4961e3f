import { randomBytes } from 'node:crypto';
import { sql } from 'kysely';
import type { Db, Trx } from './connect.ts';

/** A key that signs access tokens; `kid` is the name under which tokens refer to it. */
export interface SigningKey {
  kid: string;
  secret: string;
}

/** How long a retired key still verifies: longer than any token it has signed. */
const VERIFIES_FOR = sql`interval '65 minutes'`;

/** The keys that may have signed a token that is good, the one that signs now first. Makes one where there is none. */
export async function readSigningKeys(db: Db): Promise<SigningKey[]> {
  const read = () =>
    db
      .selectFrom('identity.signing_keys')
      .select(['kid', 'secret'])
      .where(({ or, eb }) =>
        or([eb('retired_at', 'is', null), eb('retired_at', '>', sql<Date>`now() - ${VERIFIES_FOR}`)]),
      )
      .orderBy(sql`retired_at is null`, 'desc')
      .orderBy('created_at', 'desc')
      .orderBy('kid')
      .execute();
  const keys = await read();
  if (keys.length > 0) return keys;
  await insertSigningKey(db);
  return await read();
}

/**
 * Makes a new key the one that signs. The others are retired: what they have signed is good until it expires, or, with
 * `revoke`, not any more. Returns the new key's `kid`.
 */
export async function rotateSigningKey(db: Db, { revoke }: { revoke: boolean }): Promise<string> {
  return await db.transaction().execute(async (trx) => {
    const over = revoke ? sql<boolean>`true` : sql<boolean>`retired_at < now() - ${VERIFIES_FOR}`;
    await trx.deleteFrom('identity.signing_keys').where(over).execute();
    await trx
      .updateTable('identity.signing_keys')
      .set({ retired_at: sql<Date>`now()` })
      .where('retired_at', 'is', null)
      .execute();
    return await insertSigningKey(trx);
  });
}

async function insertSigningKey(db: Db | Trx): Promise<string> {
  const kid = randomBytes(6).toString('base64url');
  await db
    .insertInto('identity.signing_keys')
    .values({ kid, secret: randomBytes(48).toString('base64url') })
    .execute();
  return kid;
}
