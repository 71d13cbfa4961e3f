import { resolve } from 'node:path';
import { readArguments, usage } from './arguments.ts';
import { openDataFolder, wipe } from './data-folder.ts';
import { messageOf } from './failure.ts';
import { type Claim, claim } from './leftovers.ts';
import { addressesOf } from './parts.ts';
import { assertFree, host, isSet, portsInUse, readPorts } from './ports.ts';
import { fail, note, paint, say, seconds, step, warn } from './report.ts';
import { loadSecrets } from './secrets.ts';
import { createStack, type Stack } from './stack.ts';
import { findTemporalCli } from './temporal-cli.ts';
import { watchCode } from './watch.ts';
import { welcome } from './welcome.ts';
import { projectDir } from './workflow-bundle.ts';

const watched = [
  'api',
  'workers',
  'workflows',
  'activities',
  'client',
  'db',
  'domain',
  'providers',
  'config',
];
const patience = 1000;

const started = performance.now();
let owned: Claim | undefined;
let stack: Stack | undefined;
let stoppingSince: number | undefined;

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const)
  process.on(signal, () => interrupt());
process.on('disconnect', () => void shutdown(0));
stopWithParent();
process.on('uncaughtException', (error) => void failed(error));
process.stdout.on('error', () => undefined);
process.stderr.on('error', () => undefined);

try {
  await main();
} catch (error) {
  await failed(error);
}

async function main(): Promise<void> {
  const options = readArguments(process.argv.slice(2));
  if (options.help) {
    say(usage);
    process.exit(0);
  }
  const { env } = process;
  const ports = readPorts(env);
  const dataDir = resolve(env['DATA_DIR'] || '.data');
  openDataFolder(dataDir);
  owned = await claim(dataDir, note);
  if (options.fresh)
    await step(
      'Data deleted',
      async () => wipe(dataDir),
      () => dataDir,
    );
  const secrets = loadSecrets(dataDir);
  for (const name of portsInUse(env)) await assertFree(ports[name], name);

  if (!isSet(env, 'DATABASE_URL')) forgetPostgresVariables();
  const { record } = owned;
  let cli: string | undefined;
  const temporalCli = async (signal?: AbortSignal): Promise<string> =>
    (cli = await findTemporalCli(note, signal));
  const parts = { dataDir, ports, secrets, env, watch: options.watch, onSpawn: record, temporalCli };
  stack = createStack(parts);
  await stack.startParts();
  try {
    await stack.startServices();
    say(`${paint.green('✓')} ${paint.bold(`Ready in ${seconds(started)}`)}`);
  } catch (error) {
    if (!options.watch || stoppingSince !== undefined) throw error;
    warn(`${messageOf(error)}: started again when the code changes`);
  }
  welcome({
    apiUrl: `http://${host}:${ports.PORT}`,
    temporalUiUrl: isSet(env, 'TEMPORAL_ADDRESS') ? undefined : `http://${host}:${ports.TEMPORAL_UI_PORT}`,
    inboxUrl: isSet(env, 'SMTP_URL') ? undefined : `http://${host}:${ports.INBOX_PORT}`,
    logsDir: `${dataDir}/logs`,
    temporalCli: cli,
    ...addressesOf(parts),
  });
  if (options.watch) watchCode(projectDir, watched, reload);
  say(paint.dim(options.watch ? 'Watching the code. Ctrl-C stops everything.' : 'Ctrl-C stops everything.'));
}

/** `PGSSLMODE` and the like are about some other Postgres, but pg obeys them here too. */
function forgetPostgresVariables(): void {
  for (const name of Object.keys(process.env)) if (name.startsWith('PG')) delete process.env[name];
}

async function reload(changed: string[]): Promise<void> {
  const what = changed.length > 2 ? `${changed.length} files` : changed.join(' and ');
  try {
    await step(
      'Restarted',
      async () => stack?.reload(changed),
      () => `after a change of ${what}`,
    );
  } catch (error) {
    if (stoppingSince === undefined) warn(messageOf(error));
  }
}

/** The first Ctrl-C stops in order. One key press may arrive as several signals (npm and tsx pass it on), so only a later one counts as the second. */
function interrupt(): void {
  if (stoppingSince === undefined) return void shutdown(0);
  if (performance.now() - stoppingSince < patience) return;
  stack?.kill();
  warn('Stopped hard');
  process.exit(130);
}

/** npm may be killed without a word to us. */
function stopWithParent(): void {
  const parent = process.ppid;
  if (!isSet(process.env, 'npm_lifecycle_event')) return;
  setInterval(() => process.ppid !== parent && void shutdown(0), 1000).unref();
}

async function shutdown(code: number): Promise<void> {
  if (stoppingSince !== undefined) return;
  stoppingSince = performance.now();
  if (code === 0) say('Stopping');
  await stack?.stop();
  owned?.release();
  if (code === 0) say(`Stopped in ${seconds(stoppingSince)}`);
  process.exit(code);
}

async function failed(error: unknown): Promise<void> {
  if (stoppingSince !== undefined) return;
  fail(error);
  await shutdown(1);
}
