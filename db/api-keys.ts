import { type SqlBool, sql } from 'kysely';
import type { Role } from '../domain/roles.ts';
import type { Db, Trx } from './connect.ts';
import type { Position } from './customers.ts';

/** An API key as the API tells it, without the key. */
export interface ApiKey {
  id: string;
  name: string;
  role: Exclude<Role, 'customer'>;
  createdAt: string;
  expiresAt: string | null;
  lastUsedAt: string | null;
}

const columns = [
  'id',
  'name',
  'role',
  'created_at as createdAt',
  'expires_at as expiresAt',
  'last_used_at as lastUsedAt',
] as const;

type Row = Omit<ApiKey, 'createdAt' | 'expiresAt' | 'lastUsedAt'> & {
  createdAt: Date;
  expiresAt: Date | null;
  lastUsedAt: Date | null;
};

const toApiKey = (row: Row): ApiKey => ({
  ...row,
  createdAt: row.createdAt.toISOString(),
  expiresAt: row.expiresAt?.toISOString() ?? null,
  lastUsedAt: row.lastUsedAt?.toISOString() ?? null,
});

const selectApiKeys = (db: Db | Trx) =>
  db
    .selectFrom('identity.api_keys')
    .select(columns)
    .where(sql<SqlBool>`revoked_at is null`);

/** Stores the hash of a new key. */
export async function insertApiKey(
  db: Db | Trx,
  key: Pick<ApiKey, 'id' | 'name' | 'role' | 'expiresAt'> & { keyHash: string; createdBy: string },
): Promise<ApiKey> {
  const row = await db
    .insertInto('identity.api_keys')
    .values({
      id: key.id,
      name: key.name,
      role: key.role,
      key_hash: key.keyHash,
      created_by: key.createdBy,
      expires_at: key.expiresAt === null ? null : new Date(key.expiresAt),
    })
    .returning(columns)
    .executeTakeFirstOrThrow();
  return toApiKey(row);
}

/** The key with this id that was not revoked, or undefined. */
export async function findApiKey(db: Db, id: string): Promise<ApiKey | undefined> {
  const row = await selectApiKeys(db).where('id', '=', id).executeTakeFirst();
  return row && toApiKey(row);
}

/** The key with this hash that was not revoked, or undefined. */
export async function findApiKeyByHash(db: Db, keyHash: string): Promise<ApiKey | undefined> {
  const row = await selectApiKeys(db).where('key_hash', '=', keyHash).executeTakeFirst();
  return row && toApiKey(row);
}

/** The keys that were not revoked, newest first, after the position `after`. */
export async function listApiKeys(
  db: Db,
  page: { limit: number; after?: Position | undefined },
): Promise<ApiKey[]> {
  const { after } = page;
  const rows = await selectApiKeys(db)
    .$if(after !== undefined, (query) =>
      query.where(sql<SqlBool>`(created_at, id) < (${after!.createdAt}::timestamptz, ${after!.id}::uuid)`),
    )
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute();
  return rows.map(toApiKey);
}

/** Revokes a key for good, and gives its hash; undefined where there is none. Revoked twice it stays revoked. */
export async function revokeApiKey(db: Db, id: string): Promise<string | undefined> {
  const row = await db
    .updateTable('identity.api_keys')
    .set({ revoked_at: sql<Date>`coalesce(revoked_at, now())` })
    .where('id', '=', id)
    .returning('key_hash as keyHash')
    .executeTakeFirst();
  return row?.keyHash;
}

/** Notes when keys were used, all at once. */
export async function noteApiKeyUses(db: Db, uses: { id: string; at: Date }[]): Promise<void> {
  await sql`
    update identity.api_keys set last_used_at = used.at
    from (
      select id, at from jsonb_to_recordset(${JSON.stringify(uses)}::jsonb) as used (id uuid, at timestamptz) order by id
    ) as used
    where api_keys.id = used.id and (last_used_at is null or last_used_at < used.at)
  `.execute(db);
}
