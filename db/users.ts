import { sql } from 'kysely';
import type { Db } from './connect.ts';
import type { Role } from '../domain/roles.ts';

export interface User {
  id: string;
  name: string;
  role: Role;
  passwordHash: string | null;
  version: number;
}

const selectUsers = (db: Db) =>
  db
    .selectFrom('identity.users')
    .select(['id', 'name', 'role', 'password_hash as passwordHash', 'version'])
    .where('deleted_at', 'is', null);

/** The user with this email, whatever its case, or undefined. */
export const findUserByEmail = (db: Db, email: string): Promise<User | undefined> =>
  selectUsers(db)
    .where((builder) => builder.fn('lower', ['email']), '=', email.toLowerCase())
    .executeTakeFirst();

/** The user with this id, or undefined. */
export const findUser = (db: Db, id: string): Promise<User | undefined> =>
  selectUsers(db).where('id', '=', id).executeTakeFirst();

/** Who was deleted while an access token issued before may still be good. */
export async function listDeletedUsers(db: Db): Promise<string[]> {
  const rows = await db
    .selectFrom('identity.users')
    .select('id')
    .where('deleted_at', '>', sql<Date>`now() - interval '65 minutes'`)
    .execute();
  return rows.map(({ id }) => id);
}
