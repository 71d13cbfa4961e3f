import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import pg from 'pg';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connect, type Db } from '../db/connect.ts';
import { migrateToLatest } from '../db/migrate.ts';
import { seedDemoData } from '../db/seed.ts';
import { type ChildLike, type Launch, startChild, untilReady } from '../dev/child.ts';
import { startInbox } from '../dev/inbox.ts';
import { freePort, host } from '../dev/ports.ts';
import { type RunningPostgres, startPostgres } from '../dev/postgres.ts';
import { note } from '../dev/report.ts';
import { answers, serviceEnvironment, startApi, startWorker, writeTemporalProfile } from '../dev/services.ts';
import { findTemporalCli } from '../dev/temporal-cli.ts';
import { startTemporal } from '../dev/temporal.ts';
import { buildWorkflowBundle } from '../dev/workflow-bundle.ts';

export interface Platform {
  url: string;
  temporalAddress: string;
  postgresVersion: string;
  superuserUrl: string;
  db: Db;
  /** What API and worker run with. */
  environment: NodeJS.ProcessEnv;
  /** What of it was given to the bench, to be tried. */
  settings: Record<string, string>;
  pids: { API: number; Worker: number; Temporal: number; Postgres: number; Inbox: number };
  log(name: string): string;
  /** Makes another database on the same server, with the same schema and demo data, for what is compared. */
  createDatabase(name: string): Promise<string>;
  /** Starts another server beside it, which is ready when anything answers at `url`. */
  startServer(name: string, entry: URL, env: NodeJS.ProcessEnv, url: string): Promise<ChildLike>;
}

/** More than any round can send; the limiter itself stays on. */
const RATE_LIMIT = '10000000';

/** What may be set for a run of the bench; everything else is as by default. */
const SETTINGS = [
  'MAX_CACHED_WORKFLOWS',
  'DATABASE_POOL_SIZE',
  'WORKFLOW_LANE_LIMIT',
  'MALLOC_ARENA_MAX',
  'NODE_OPTIONS',
];

/**
 * The platform as `npm start` runs it, on free ports and in a folder of its own. `stop` ends what has been started,
 * also in the middle of a start.
 */
export function createPlatform(): { start(): Promise<Platform>; stop(): Promise<void> } {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-bench-'));
  const log = (name: string): string => join(folder, `${name}.log`);
  const children: ChildLike[] = [];
  const ending = new AbortController();
  const launch: Launch = { signal: ending.signal, onSpawn: (child) => children.unshift(child) };
  let db: Db | undefined;

  const startParts = async () => {
    const [port, postgresPort, temporalPort, uiPort, smtpPort, webPort] = (await Promise.all(
      Array.from({ length: 6 }, freePort),
    )) as [number, number, number, number, number, number];
    const workflowBundle = join(folder, 'workflows.js');
    const [postgres, temporal, inbox] = await Promise.all([
      startPostgres({
        ...launch,
        dataDir: join(folder, 'postgres'),
        port: postgresPort,
        logFile: log('postgres'),
        superuserPassword: 'bench-superuser',
        appPassword: 'bench',
      }),
      startTemporal({
        ...launch,
        cli: await findTemporalCli(note),
        port: temporalPort,
        uiPort,
        dbFile: join(folder, 'temporal', 'temporal.db'),
        logFile: log('temporal'),
      }),
      startInbox({ ...launch, smtpPort, webPort, mailDir: join(folder, 'mail'), logFile: log('inbox') }),
      buildWorkflowBundle(workflowBundle, log('workflow-bundle'), launch),
    ]);
    return { port, postgres, temporal, inbox, workflowBundle };
  };

  return {
    async start() {
      const { port, postgres, temporal, inbox, workflowBundle } = await startParts();
      await migrateToLatest(postgres.url);
      await seedDemoData(postgres.url);
      ({ db } = connect(postgres.url, { max: 2, name: 'holdfast-bench' }));
      const addresses = {
        databaseUrl: postgres.url,
        temporalAddress: temporal.address,
        temporalNamespace: 'default',
        temporalProfile: join(folder, 'temporal.toml'),
        smtpUrl: inbox.smtpUrl,
        workflowBundle,
        port,
      };
      writeTemporalProfile(addresses);
      const { PATH, HOME } = process.env;
      const settings = Object.fromEntries(
        SETTINGS.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])),
      );
      const environment = serviceEnvironment(
        { PATH, HOME, RATE_LIMIT_PER_MINUTE: RATE_LIMIT, ...settings },
        addresses,
      );
      const [worker, api] = await Promise.all([
        startWorker({ ...launch, env: environment, logFile: log('worker') }),
        startApi({ ...launch, env: environment, logFile: log('api') }, port),
      ]);
      const url = `http://${host}:${port}`;
      await untilReady(api, () => answers(`${url}/readyz`));
      return {
        url,
        temporalAddress: temporal.address,
        postgresVersion: postgres.version,
        superuserUrl: postgres.superuserUrl,
        db,
        environment,
        settings,
        pids: {
          API: api.pid,
          Worker: worker.pid,
          Temporal: temporal.pid,
          Postgres: postgres.pid,
          Inbox: inbox.pid,
        },
        log,
        createDatabase: (name) => createDatabase(postgres, name),
        async startServer(name, entry, env, at) {
          const child = await startChild({
            ...launch,
            name,
            command: process.execPath,
            args: ['--import', 'tsx', fileURLToPath(entry)],
            env: { PATH, HOME, ...env },
            logFile: log(name),
          });
          const anything = () =>
            fetch(at).then(
              () => true,
              () => false,
            );
          await untilReady(child, anything);
          return child;
        },
      };
    },
    async stop() {
      ending.abort();
      await db?.destroy();
      for (const child of children) await child.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function createDatabase({ url, superuserUrl }: RunningPostgres, name: string): Promise<string> {
  const made = new URL(url);
  made.pathname = `/${name}`;
  const admin = new pg.Client({ connectionString: superuserUrl });
  await admin.connect();
  await admin.query(`create database ${admin.escapeIdentifier(name)} owner ${made.username}`);
  await admin.end();
  await migrateToLatest(made.href);
  await seedDemoData(made.href);
  return made.href;
}
