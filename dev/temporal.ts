import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { type ChildLike, type Launch, startChild, untilReady } from './child.ts';
import { host } from './ports.ts';

export interface TemporalOptions extends Launch {
  cli: string;
  port: number;
  uiPort: number;
  dbFile: string;
  logFile: string;
  /** Made besides `default`. */
  namespaces?: string[];
  /** Settings of the server besides ours, as `key=value`. */
  dynamicConfig?: string[];
}

export interface RunningTemporal {
  address: string;
  uiUrl: string;
  child: ChildLike;
  pid: number;
  stop(): Promise<void>;
  kill(): Promise<void>;
}

const searchAttributes = ['OrderStatus=Keyword', 'CustomerId=Keyword'];
const pragmas = ['journal_mode=WAL', 'synchronous=NORMAL'];

/** The default of 20 polls a second and shard makes every task wait up to 50 ms on a server of one shard. */
const tuning = [
  'history.transferProcessorMaxPollRPS=10000',
  'history.shardIOConcurrency=8',
  'matching.numTaskqueueReadPartitions=1',
  'matching.numTaskqueueWritePartitions=1',
  'frontend.enableServerVersionCheck=false',
];

/** Starts the Temporal dev server with its Web UI on a file, and returns when its namespaces answer. */
export async function startTemporal(options: TemporalOptions): Promise<RunningTemporal> {
  const namespaces = (options.namespaces ?? []).filter((name) => name !== 'default');
  const args = [
    ['server', 'start-dev', '--ip', host, '--log-level', 'warn', '--color', 'never'],
    ['--disable-config-file', '--disable-config-env'],
    ['--port', String(options.port), '--ui-port', String(options.uiPort), '--db-filename', options.dbFile],
    pragmas.flatMap((pragma) => ['--sqlite-pragma', pragma]),
    [...tuning, ...(options.dynamicConfig ?? [])].flatMap((value) => ['--dynamic-config-value', value]),
    searchAttributes.flatMap((attribute) => ['--search-attribute', attribute]),
    namespaces.flatMap((name) => ['--namespace', name]),
  ].flat();
  mkdirSync(dirname(options.dbFile), { recursive: true, mode: 0o700 });
  removeUnfinished(options.dbFile);
  const child = await startChild({
    ...options,
    name: 'Temporal',
    command: options.cli,
    args,
    env: { ...withoutTemporalVariables(process.env), TEMPORAL_VERSION_CHECK_DISABLED: '1' },
  });
  const uiUrl = `http://${host}:${options.uiPort}`;
  await untilReady(child, () => describable(uiUrl, ['default', ...namespaces]));
  writeFileSync(readyMarker(options.dbFile), '');
  return {
    address: `${host}:${options.port}`,
    uiUrl,
    child,
    pid: child.pid,
    stop: () => child.stop(),
    kill: () => child.kill(),
  };
}

/** The environment without `TEMPORAL_*`, which is about some other Temporal. */
export function withoutTemporalVariables(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('TEMPORAL_')));
}

const readyMarker = (dbFile: string): string => `${dbFile}.ready`;

/** A server killed while it makes its schema would never start again on that file, so such a file is dropped. */
function removeUnfinished(dbFile: string): void {
  if (existsSync(readyMarker(dbFile))) return;
  for (const suffix of ['', '-wal', '-shm']) rmSync(dbFile + suffix, { force: true });
}

/** Asks through the Web UI's own API, which calls the server's gRPC: both are up when it answers. */
async function describable(uiUrl: string, namespaces: string[]): Promise<boolean> {
  try {
    const answers = await Promise.all(
      namespaces.map((name) =>
        fetch(`${uiUrl}/api/v1/namespaces/${encodeURIComponent(name)}`, {
          signal: AbortSignal.timeout(2000),
        }),
      ),
    );
    await Promise.all(answers.map(async (answer) => answer.body?.cancel()));
    return answers.every((answer) => answer.ok);
  } catch {
    return false;
  }
}
