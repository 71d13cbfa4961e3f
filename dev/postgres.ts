import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Client } from 'pg';
import { type ChildLike, type Launch, startChild, untilReady } from './child.ts';
import { codeOf, messageOf, StartFailure } from './failure.ts';
import { host } from './ports.ts';
import { choosePostgresAccount, commandAs, giveTo } from './postgres-account.ts';
import { postgresBinaries } from './postgres-binaries.ts';
import { initialisePostgres } from './postgres-data.ts';
import { looksLikePostgres } from './processes.ts';

export interface PostgresOptions extends Launch {
  dataDir: string;
  port: number;
  logFile: string;
  superuserPassword: string;
  appPassword: string;
  settings?: Record<string, string>;
}

export interface RunningPostgres {
  /** As the role `holdfast`, which owns the database `holdfast` and nothing else. */
  url: string;
  superuserUrl: string;
  version: string;
  child: ChildLike;
  pid: number;
  stop(): Promise<void>;
  kill(): Promise<void>;
}

const settings = {
  listen_addresses: host,
  unix_socket_directories: '',
  max_connections: '200',
  shared_buffers: '256MB',
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_line_prefix: '%m [%p] ',
};

const startSeconds = 60;

/** Starts Postgres on the folder, made on first use, and returns when the application's role can connect. */
export async function startPostgres(options: PostgresOptions): Promise<RunningPostgres> {
  mkdirSync(dirname(options.dataDir), { recursive: true });
  const binaries = await postgresBinaries();
  const account = choosePostgresAccount(options.dataDir, binaries.postgres);
  await initialisePostgres({ ...options, binaries, account });
  giveTo(account, options.dataDir);
  removeStaleLock(options.dataDir);

  const all = Object.entries({ ...settings, port: String(options.port), ...options.settings });
  const flags = all.flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const [command, args] = commandAs(account, binaries.postgres, ['-D', options.dataDir, ...flags]);
  const superuserUrl = `postgres://postgres:${options.superuserPassword}@${host}:${options.port}/postgres`;
  const launch = () =>
    startChild({
      ...options,
      name: 'Postgres',
      command,
      args,
      env: { ...withoutPostgresVariables(process.env), LC_ALL: 'C' },
      uid: account.uid,
      gid: account.gid,
      stopSignal: 'SIGINT',
      stopTimeout: 20_000,
    });

  const deadline = Date.now() + startSeconds * 1000;
  for (;;) {
    const child = await launch();
    try {
      await untilReady(child, () => accepts(superuserUrl), startSeconds);
      const version = await prepareDatabase(superuserUrl, options.appPassword);
      return {
        url: `postgres://holdfast:${options.appPassword}@${host}:${options.port}/holdfast`,
        superuserUrl,
        version,
        child,
        pid: child.pid,
        stop: () => child.stop(),
        kill: () => child.kill(),
      };
    } catch (error) {
      await child.stop();
      const leftBehind = /pre-existing shared memory block/.test(child.lastLogLine() ?? '');
      if (!leftBehind || options.signal?.aborted || Date.now() > deadline) throw error;
    }
  }
}

/** The environment without `PGHOST`, `PGSSLMODE` and the like, which are about some other Postgres. */
export function withoutPostgresVariables(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('PG')));
}

/**
 * Postgres recovers from its own stale lock file, but not when another program has got the pid in it since.
 */
function removeStaleLock(dataDir: string): void {
  const file = join(dataDir, 'postmaster.pid');
  let pid: number;
  try {
    pid = Number(readFileSync(file, 'utf8').split('\n')[0]);
  } catch {
    return;
  }
  if (!looksLikePostgres(pid, dataDir)) return rmSync(file, { force: true });
  throw new StartFailure(`A Postgres (pid ${pid}) already runs on ${dataDir}: stop it with kill -INT ${pid}`);
}

async function accepts(url: string): Promise<boolean> {
  const client = new Client({ connectionString: url, ssl: false, connectionTimeoutMillis: 2000 });
  try {
    await client.connect();
    return true;
  } catch (error) {
    if (codeOf(error)?.startsWith('28')) {
      throw new StartFailure(
        `Postgres does not accept the password in secrets.json (${messageOf(error)}): restore that file, or start with --fresh`,
      );
    }
    return false;
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function prepareDatabase(superuserUrl: string, appPassword: string): Promise<string> {
  const client = new Client({ connectionString: superuserUrl, ssl: false });
  await client.connect();
  try {
    const { rows } = await client.query<{ role: boolean; database: boolean; version: string }>(
      `select exists (select from pg_roles where rolname = 'holdfast') as role,
              exists (select from pg_database where datname = 'holdfast') as database,
              current_setting('server_version') as version`,
    );
    const found = rows[0] ?? { role: false, database: false, version: '' };
    const verb = found.role ? 'alter' : 'create';
    await client.query(`${verb} role holdfast login password ${client.escapeLiteral(appPassword)}`);
    if (!found.database) await client.query('create database holdfast owner holdfast');
    return found.version;
  } finally {
    await client.end();
  }
}
