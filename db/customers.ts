import { type SqlBool, sql } from 'kysely';
import { OrderPlatformError } from '../domain/errors.ts';
import { isWanted, type WantedVersions } from '../domain/versions.ts';
import { type Db, type Trx, violatedConstraint } from './connect.ts';
import { lower, startIs } from './prefixes.ts';

/** A customer as the API tells it. */
export interface Customer {
  id: string;
  email: string;
  name: string;
  version: number;
  createdAt: string;
  updatedAt: string;
}

/** What can be said of a customer. */
export interface CustomerDetails {
  email: string;
  name: string;
}

const columns = [
  'id',
  'email',
  'name',
  'version',
  'created_at as createdAt',
  'updated_at as updatedAt',
] as const;

const toCustomer = <T extends { email: string | null; createdAt: Date; updatedAt: Date }>(row: T) => ({
  ...row,
  email: row.email!,
  createdAt: row.createdAt.toISOString(),
  updatedAt: row.updatedAt.toISOString(),
});

const selectCustomers = (db: Db | Trx) =>
  db
    .selectFrom('identity.users')
    .select(columns)
    .where(sql<SqlBool>`role = 'customer'`)
    .where(sql<SqlBool>`deleted_at is null`);

/** The customer with this id, or undefined: also for one that was deleted, and for staff. */
export async function findCustomer(db: Db | Trx, id: string): Promise<Customer | undefined> {
  const row = await selectCustomers(db).where('id', '=', id).executeTakeFirst();
  return row && toCustomer(row);
}

/** Adds a customer; undefined where the email, in whatever case, or the id has an account already. */
export async function insertCustomer(
  db: Db | Trx,
  customer: CustomerDetails & { id: string; passwordHash: string | null },
): Promise<Customer | undefined> {
  const row = await db
    .insertInto('identity.users')
    .values({
      id: customer.id,
      email: customer.email,
      name: customer.name,
      role: 'customer',
      password_hash: customer.passwordHash,
    })
    .onConflict((conflict) => conflict.doNothing())
    .returning(columns)
    .executeTakeFirst();
  return row && toCustomer(row);
}

/**
 * Changes what is given of a customer, and raises its version where that makes a difference. Undefined where there is no
 * such customer; throws `version_conflict` where it is at none of the `versions`, and `email_taken`.
 */
export async function updateCustomer(
  db: Db,
  id: string,
  change: { [Detail in keyof CustomerDetails]?: CustomerDetails[Detail] | undefined },
  versions: WantedVersions | undefined,
): Promise<Customer | undefined> {
  try {
    return await db.transaction().execute(async (trx) => {
      const before = await selectCustomers(trx).where('id', '=', id).forUpdate().executeTakeFirst();
      if (!before) return undefined;
      assertVersion(before.version, versions);
      const { email = before.email, name = before.name } = change;
      if (email === before.email && name === before.name) return toCustomer(before);
      const after = await trx
        .updateTable('identity.users')
        .set({ email, name, version: before.version + 1, updated_at: sql<Date>`now()` })
        .where('id', '=', id)
        .returning(columns)
        .executeTakeFirstOrThrow();
      return toCustomer(after);
    });
  } catch (error) {
    throw violatedConstraint(error) === 'users_email_key' ? emailTaken() : error;
  }
}

export const emailTaken = (): OrderPlatformError =>
  new OrderPlatformError('email_taken', 'There is an account with this email already.');

/** Throws `version_conflict` where versions are wanted and this is none of them. */
export function assertVersion(version: number, versions: WantedVersions | undefined): void {
  if (isWanted(version, versions)) return;
  throw new OrderPlatformError('version_conflict', `The customer is at version ${version}.`, {
    extra: { version },
  });
}

/** The place of a thing in lists, which go from the newest to the oldest. */
export interface Position {
  createdAt: Date;
  id: string;
}

/** Limits are literals, so that Postgres plans with the right size in mind. */
const SHORT_PAGE = 26;
const LONG_PAGE = 101;
/** How many names, last names and emails a search takes into account, each. */
const MAX_FOUND = 1000;

/**
 * The customers, newest first, after the position `after`. `q` is the start of a name, of a last name or of an email; the
 * first 1000 of each count, so that a search for one letter takes as long as it may.
 */
export async function listCustomers(
  db: Db,
  page: { q?: string | undefined; limit: number; after?: Position | undefined },
): Promise<Customer[]> {
  const { q, after } = page;
  const rows = await selectCustomers(db)
    .$if(q !== undefined, (query) => query.where(sql<SqlBool>`id = any (array(${startingWith(q!)}))`))
    .$if(after !== undefined, (query) =>
      query.where(sql<SqlBool>`(created_at, id) < (${after!.createdAt}::timestamptz, ${after!.id}::uuid)`),
    )
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(sql.lit(page.limit <= SHORT_PAGE ? SHORT_PAGE : LONG_PAGE))
    .execute();
  return rows.slice(0, page.limit).map(toCustomer);
}

const startingWith = (q: string) =>
  sql.join(
    [sql`lower(name)`, sql.raw(String.raw`lower(substring(name from '\S+$'))`), sql`lower(email)`].map(
      (column) => sql`(
        select id from identity.users where ${startIs(column, lower(q))}
        order by ${column} collate "C", id limit ${sql.lit(MAX_FOUND)}
      )`,
    ),
    sql` union `,
  );
