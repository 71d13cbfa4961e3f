import { setTimeout as delay } from 'node:timers/promises';
import { migrateToLatest } from '../db/migrate.ts';
import { seedDemoData } from '../db/seed.ts';
import type { ChildLike } from './child.ts';
import { StartFailure } from './failure.ts';
import { addressesOf, createParts, logFileOf, type PartsOptions } from './parts.ts';
import { host, isSet } from './ports.ts';
import { step } from './report.ts';
import { writeTemporalProfile } from './services.ts';
import { buildWorkflowBundle } from './workflow-bundle.ts';

export interface Stack {
  /** Starts Postgres (with migrations and demo data), Temporal and inbox, and bundles the workflows meanwhile. */
  startParts(): Promise<void>;
  /** Starts worker and API, and returns when the API says that it is ready. */
  startServices(): Promise<void>;
  /** Takes new code into use: migrations, the workflow bundle, worker and API. */
  reload(changed: string[]): Promise<void>;
  /** Ends everything, users before what they use. */
  stop(): Promise<void>;
  kill(): void;
}

/** The platform on this machine, without the parts that the environment names elsewhere. */
export function createStack(options: PartsOptions): Stack {
  const { dataDir, ports, env, onSpawn } = options;
  const addresses = addressesOf(options);
  const { postgres, temporal, inbox, worker, api } = createParts(options, addresses);
  const ending = new AbortController();
  const builds = new Set<ChildLike>();

  const bundle = (): Promise<boolean> =>
    buildWorkflowBundle(addresses.workflowBundle, logFileOf(dataDir, 'workflow-bundle'), {
      signal: ending.signal,
      onSpawn(child, stopSignal) {
        builds.add(child);
        onSpawn(child, stopSignal);
      },
    });

  const startDatabase = async (): Promise<void> => {
    await ownPart('Postgres', 'DATABASE_URL', `${host}:${ports.POSTGRES_PORT}`, () => postgres.start());
    await step('Migrations', () => migrateToLatest(addresses.databaseUrl), applied);
    await step('Demo data', () => seedDemoData(addresses.databaseUrl), added);
  };

  const startTemporal = async (): Promise<void> => {
    writeTemporalProfile(addresses);
    await temporal.start();
  };

  const ownPart = (
    name: string,
    variable: string,
    place: string,
    start: () => Promise<void>,
  ): Promise<void> => {
    const elsewhere = isSet(env, variable);
    return step(name, elsewhere ? async () => undefined : start, () =>
      elsewhere ? `yours (${variable})` : place,
    );
  };

  let bundled: Promise<unknown> = Promise.resolve();
  const members = [api, worker, inbox, temporal, postgres];

  return {
    async startParts() {
      bundled = step('Workflow bundle', bundle, (built) => (built ? 'built' : 'unchanged'));
      bundled.catch(() => undefined);
      await Promise.all([
        ownPart('Temporal', 'TEMPORAL_ADDRESS', addresses.temporalAddress, startTemporal),
        startDatabase(),
        ownPart('Inbox', 'SMTP_URL', `smtp ${host}:${ports.SMTP_PORT}`, () => inbox.start()),
      ]);
    },
    async startServices() {
      await bundled;
      const startApi = (): Promise<void> => api.start().then(() => untilServing(ports.PORT, ending.signal));
      await Promise.all([
        step(
          'Worker',
          () => worker.start(),
          () => `namespace ${addresses.temporalNamespace}`,
        ),
        step('API', startApi, () => `${host}:${ports.PORT}`),
      ]);
    },
    async reload(changed) {
      if (changed.some((path) => path.startsWith('db/migrations')))
        await migrateToLatest(addresses.databaseUrl);
      await bundle();
      await Promise.all([worker.restart(), api.restart()]);
    },
    async stop() {
      ending.abort();
      for (const child of builds) void child.stop();
      for (const member of members) await member.stop();
    },
    kill() {
      ending.abort();
      for (const child of builds) void child.kill();
      for (const member of members) member.kill();
    },
  };
}

const applied = (names: string[]): string => (names.length > 0 ? `${names.length} applied` : 'up to date');

const added = ({ inserted }: { inserted: number }): string =>
  inserted > 0 ? `${inserted} rows added` : 'complete';

/** Waits for the API to say that orders can be taken. */
async function untilServing(port: number, signal: AbortSignal, patience = 60): Promise<void> {
  let last = 'no answer';
  for (
    const deadline = Date.now() + patience * 1000;
    Date.now() < deadline;
    await delay(50, undefined, { signal })
  ) {
    try {
      const answer = await fetch(`http://${host}:${port}/readyz`, { signal: AbortSignal.timeout(5000) });
      last = (await answer.text()).slice(0, 300);
      if (answer.ok) return;
    } catch {
      last = 'no answer';
    }
  }
  throw new StartFailure(`The API is not ready after ${patience} s: ${last}`);
}
