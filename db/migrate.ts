import { readdir, readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Migration, Migrator, sql } from 'kysely';
import { databaseEnvironment } from '../config/env.ts';
import { connect } from './connect.ts';

const folder = new URL('./migrations/', import.meta.url);

/** The numbered SQL files of migrations/, oldest first. */
async function sqlMigrations(): Promise<Record<string, Migration>> {
  const files = (await readdir(folder)).filter((file) => file.endsWith('.sql')).sort();
  const migrations = await Promise.all(
    files.map(async (file) => {
      const text = await readFile(new URL(file, folder), 'utf8');
      const up: Migration['up'] = async (db) => void (await sql.raw(text).execute(db));
      return [basename(file, '.sql'), { up }] as const;
    }),
  );
  return Object.fromEntries(migrations);
}

/**
 * Brings the database to the newest schema and returns the names of the migrations it applied. Safe to run twice
 * and at once: Kysely's migrator takes a lock and runs all that is missing in one transaction.
 */
export async function migrateToLatest(databaseUrl: string): Promise<string[]> {
  const { db } = connect(databaseUrl, { max: 2, name: 'holdfast-migrate', statementSeconds: 0 });
  try {
    const { error, results = [] } = await new Migrator({
      db,
      provider: { getMigrations: sqlMigrations },
    }).migrateToLatest();
    if (error) throw new Error('The schema could not be brought up to date.', { cause: error });
    return results.map((result) => result.migrationName);
  } finally {
    await db.destroy();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const applied = await migrateToLatest(databaseEnvironment().DATABASE_URL);
  console.log(applied.length > 0 ? `Applied ${applied.join(', ')}.` : 'The schema is up to date.');
}
