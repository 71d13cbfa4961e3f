import { randomBytes } from 'node:crypto';
import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { codeOf, StartFailure } from './failure.ts';

export interface Secrets {
  readonly postgresPassword: string;
  readonly postgresSuperuserPassword: string;
}

/** The secrets of this data folder: made at random on first use, in a file that only its owner may read. */
export function loadSecrets(dataDir: string): Secrets {
  const file = join(dataDir, 'secrets.json');
  return read(file) ?? create(file);
}

function create(file: string): Secrets {
  const secrets: Secrets = {
    postgresPassword: randomBytes(24).toString('hex'),
    postgresSuperuserPassword: randomBytes(24).toString('hex'),
  };
  const draft = `${file}.${process.pid}`;
  try {
    writeFileSync(draft, `${JSON.stringify(secrets, undefined, 2)}\n`, { mode: 0o600, flush: true });
    linkSync(draft, file);
    return secrets;
  } catch (error) {
    const other = codeOf(error) === 'EEXIST' ? read(file) : undefined;
    if (other) return other;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}

function read(file: string): Secrets | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  const secrets = parse(text);
  if (secrets) return secrets;
  throw new StartFailure(
    `${file} is damaged: restore it, or start with --fresh (which deletes the data that its passwords open)`,
  );
}

function parse(text: string): Secrets | undefined {
  try {
    const { postgresPassword, postgresSuperuserPassword } = JSON.parse(text) as Record<string, unknown>;
    if (typeof postgresPassword !== 'string' || typeof postgresSuperuserPassword !== 'string')
      return undefined;
    return { postgresPassword, postgresSuperuserPassword };
  } catch {
    return undefined;
  }
}
