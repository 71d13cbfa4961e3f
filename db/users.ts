import type { Db } from './connect.ts';
import type { Role } from '../domain/roles.ts';

export interface User {
  id: string;
  email: string;
  name: string;
  role: Role;
  passwordHash: string | null;
}

const userColumns = ['id', 'email', 'name', 'role', 'password_hash as passwordHash'] as const;

/** The user with this email, whatever its case, or undefined. */
export const findUserByEmail = (db: Db, email: string): Promise<User | undefined> =>
  db
    .selectFrom('identity.users')
    .select(userColumns)
    .where((builder) => builder.fn('lower', ['email']), '=', email.toLowerCase())
    .executeTakeFirst();
