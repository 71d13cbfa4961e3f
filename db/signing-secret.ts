import { randomBytes } from 'node:crypto';
import type { Db } from './connect.ts';

/** The secret that all API processes on this database sign access tokens with; made at random by the first. */
export async function signingSecret(db: Db): Promise<string> {
  await db
    .insertInto('identity.signing_secret')
    .values({ secret: randomBytes(48).toString('base64url') })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  const { secret } = await db
    .selectFrom('identity.signing_secret')
    .select('secret')
    .executeTakeFirstOrThrow();
  return secret;
}
