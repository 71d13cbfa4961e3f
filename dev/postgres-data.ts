import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { StartFailure } from './failure.ts';
import { openLog } from './logs.ts';
import { commandAs, giveTo, type PostgresAccount } from './postgres-account.ts';
import type { PostgresBinaries } from './postgres-binaries.ts';

interface InitialiseOptions {
  dataDir: string;
  logFile: string;
  superuserPassword: string;
  binaries: PostgresBinaries;
  account: PostgresAccount;
  signal?: AbortSignal | undefined;
}

/**
 * Makes the data folder when there is none yet: beside its place, moved there when complete, so that a start that is
 * killed leaves nothing half.
 */
export async function initialisePostgres(options: InitialiseOptions): Promise<void> {
  const { dataDir, account } = options;
  if (isUsable(dataDir, options.binaries.major)) return;
  removeLeftovers(dataDir);
  const workDir = `${dataDir}.init-${process.pid}`;
  const passwordFile = join(workDir, 'password');
  mkdirSync(workDir, { recursive: true, mode: 0o700 });
  try {
    writeFileSync(passwordFile, `${options.superuserPassword}\n`, { mode: 0o600 });
    giveTo(account, workDir);
    await initdb(options, join(workDir, 'data'), passwordFile);
    renameSync(join(workDir, 'data'), dataDir);
  } finally {
    rmSync(workDir, { recursive: true, force: true });
  }
}

function isUsable(dataDir: string, major: string): boolean {
  if (!existsSync(dataDir)) return false;
  const names = readdirSync(dataDir);
  if (names.length === 0) {
    rmdirSync(dataDir);
    return false;
  }
  const hint = 'move it away, or start with --fresh (which deletes the data)';
  if (!names.includes('PG_VERSION')) {
    throw new StartFailure(`${dataDir} is not a Postgres data folder (it has no PG_VERSION): ${hint}`);
  }
  const found = readFileSync(join(dataDir, 'PG_VERSION'), 'utf8').trim();
  if (found === major) return true;
  throw new StartFailure(
    `${dataDir} was written by Postgres ${found || '?'}, this is Postgres ${major}: ${hint}`,
  );
}

function removeLeftovers(dataDir: string): void {
  const prefix = `${basename(dataDir)}.init-`;
  for (const name of readdirSync(dirname(dataDir))) {
    if (name.startsWith(prefix)) rmSync(join(dirname(dataDir), name), { recursive: true, force: true });
  }
}

async function initdb(options: InitialiseOptions, folder: string, passwordFile: string): Promise<void> {
  const { account, signal } = options;
  const [command, args] = commandAs(account, options.binaries.initdb, [
    `--pgdata=${folder}`,
    '--username=postgres',
    `--pwfile=${passwordFile}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--locale-provider=builtin',
    '--builtin-locale=C.UTF-8',
    '--locale=C',
    `--lc-ctype=${process.platform === 'darwin' ? 'en_US.UTF-8' : 'C.UTF-8'}`,
  ]);
  const log = openLog(options.logFile);
  const { uid, gid } = account;
  const child = spawn(command, args, {
    stdio: ['ignore', log.descriptor, log.descriptor],
    env: { ...process.env, LC_ALL: 'C' },
    ...(signal ? { signal } : {}),
    ...(uid !== undefined && gid !== undefined ? { uid, gid } : {}),
  });
  log.close();
  const [code] = await once(child, 'exit');
  if (code === 0) return;
  throw new StartFailure(`initdb failed: ${log.lastLine() ?? `exit code ${code}`} (log: ${log.file})`);
}
