import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { migrateToLatest } from '../../db/migrate.ts';
import { seedDemoData } from '../../db/seed.ts';
import { startInbox } from '../../dev/inbox.ts';
import { messageOf } from '../../dev/failure.ts';
import { freePort } from '../../dev/ports.ts';
import { startPostgres } from '../../dev/postgres.ts';
import { findTemporalCli } from '../../dev/temporal-cli.ts';
import { findTemporalServer, type TemporalServer } from '../../dev/temporal-server.ts';
import { startTemporal } from '../../dev/temporal.ts';
import { endWithProcess } from './end-with-process.ts';
import { buildProduct } from './product.ts';
import { writeWorkflowBundle } from '../../workers/bundle.ts';

/** The real parts that all test files share. Each file has a database and a Temporal namespace of its own. */
export interface Parts {
  superuserUrl: string;
  databaseUrl: string;
  temporalAddress: string;
  temporalUiUrl: string;
  temporalCli: string;
  /** What a Temporal cluster is made of, or why there is none. */
  temporalServer: TemporalServer | { missing: string };
  smtpUrl: string;
  inboxUrl: string;
  workflowBundle: string;
  /** The folder of the compiled product. */
  product: string;
}

declare module 'vitest' {
  interface ProvidedContext {
    parts: Parts;
  }
}

/** The Temporal namespace of a test file. */
export const namespaceOf = (testFile: string): string => basename(testFile, '.test.ts');

/** For building the Temporal server, where it is not there yet. */
const BUILD_MS = 15 * 60_000;

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-test-'));
  const namespaces = readdirSync(join(import.meta.dirname, '..'))
    .filter((file) => file.endsWith('.test.ts'))
    .map(namespaceOf);
  const temporalCli = await findTemporalCli(console.log);
  const temporalServer = await findTemporalServer(console.log, AbortSignal.timeout(BUILD_MS)).catch(
    (error: unknown) => ({ missing: messageOf(error) }),
  );
  if ('missing' in temporalServer) console.warn(`test/cluster.test.ts is skipped: ${temporalServer.missing}`);
  const workflowBundle = join(folder, 'workflow-bundle.js');
  const product = join(folder, 'product');

  const [postgres, temporal, inbox] = await Promise.all([
    startPostgres({
      dataDir: join(folder, 'postgres'),
      port: await freePort(),
      logFile: join(folder, 'postgres.log'),
      superuserPassword: 'test-superuser',
      appPassword: 'test-app',
      // The tests outlive no power cut. What a crash of Postgres loses is tried with one of their own, see faults.test.ts.
      settings: { fsync: 'off' },
    }),
    startTemporal({
      cli: temporalCli,
      port: await freePort(),
      uiPort: await freePort(),
      dbFile: join(folder, 'temporal.db'),
      logFile: join(folder, 'temporal.log'),
      namespaces,
    }),
    startInbox({
      smtpPort: await freePort(),
      webPort: await freePort(),
      mailDir: join(folder, 'mail'),
      logFile: join(folder, 'inbox.log'),
    }),
    writeWorkflowBundle(workflowBundle),
    buildProduct(product),
  ]);
  const letGo = endWithProcess(() => [postgres, temporal, inbox]);
  await migrateToLatest(postgres.url);
  await seedDemoData(postgres.url);

  project.provide('parts', {
    superuserUrl: postgres.superuserUrl,
    databaseUrl: postgres.url,
    temporalAddress: temporal.address,
    temporalUiUrl: temporal.uiUrl,
    temporalCli,
    temporalServer,
    smtpUrl: inbox.smtpUrl,
    inboxUrl: inbox.webUrl,
    workflowBundle,
    product,
  });

  return async () => {
    await inbox.stop();
    await temporal.stop();
    await postgres.stop();
    letGo();
    rmSync(folder, { recursive: true, force: true });
  };
}
