import { join } from 'node:path';
import type { Launch } from './child.ts';
import { startInbox } from './inbox.ts';
import { host, type Ports } from './ports.ts';
import { startPostgres } from './postgres.ts';
import type { Secrets } from './secrets.ts';
import { serviceEnvironment, startApi, startWorker } from './services.ts';
import { supervise, type Supervised } from './supervise.ts';
import { startTemporal } from './temporal.ts';

export interface PartsOptions {
  dataDir: string;
  ports: Ports;
  secrets: Secrets;
  env: NodeJS.ProcessEnv;
  watch: boolean;
  temporalCli: (signal?: AbortSignal) => Promise<string>;
  onSpawn: NonNullable<Launch['onSpawn']>;
}

export interface Parts {
  readonly postgres: Supervised;
  readonly temporal: Supervised;
  readonly inbox: Supervised;
  readonly worker: Supervised;
  readonly api: Supervised;
}

export interface Addresses {
  readonly databaseUrl: string;
  readonly temporalAddress: string;
  readonly temporalNamespace: string;
  readonly temporalProfile: string;
  readonly smtpUrl: string;
  readonly workflowBundle: string;
}

/** Where everything is: the environment's word, or else the stack's own part. */
export function addressesOf({ dataDir, ports, secrets, env }: PartsOptions): Addresses {
  const password = secrets.postgresPassword;
  return {
    databaseUrl:
      env['DATABASE_URL'] || `postgres://holdfast:${password}@${host}:${ports.POSTGRES_PORT}/holdfast`,
    temporalAddress: env['TEMPORAL_ADDRESS'] || `${host}:${ports.TEMPORAL_PORT}`,
    temporalNamespace: env['TEMPORAL_NAMESPACE'] || 'default',
    temporalProfile: join(dataDir, 'temporal.toml'),
    smtpUrl: env['SMTP_URL'] || `smtp://${host}:${ports.SMTP_PORT}`,
    workflowBundle: join(dataDir, 'workflows.js'),
  };
}

/** The log of a part. */
export const logFileOf = (dataDir: string, name: string): string => join(dataDir, 'logs', `${name}.log`);

/** The processes of the stack, none of them started yet. */
export function createParts(options: PartsOptions, addresses: Addresses): Parts {
  const { dataDir, ports, secrets, onSpawn, watch } = options;
  const log = (name: string) => logFileOf(dataDir, name);
  const env = serviceEnvironment(options.env, {
    ...addresses,
    port: ports.PORT,
  });
  const part = (
    name: string,
    launch: (launch: Launch) => Promise<unknown>,
    awaitChange = false,
  ): Supervised => supervise({ name, launch, onSpawn, awaitChange });
  return {
    postgres: part('Postgres', (launch) =>
      startPostgres({
        ...launch,
        dataDir: join(dataDir, 'postgres'),
        port: ports.POSTGRES_PORT,
        logFile: log('postgres'),
        superuserPassword: secrets.postgresSuperuserPassword,
        appPassword: secrets.postgresPassword,
      }),
    ),
    temporal: part('Temporal', async (launch) =>
      startTemporal({
        ...launch,
        cli: await options.temporalCli(launch.signal),
        port: ports.TEMPORAL_PORT,
        uiPort: ports.TEMPORAL_UI_PORT,
        dbFile: join(dataDir, 'temporal', 'temporal.db'),
        logFile: log('temporal'),
        namespaces: [addresses.temporalNamespace],
      }),
    ),
    inbox: part('Inbox', (launch) =>
      startInbox({
        ...launch,
        smtpPort: ports.SMTP_PORT,
        webPort: ports.INBOX_PORT,
        mailDir: join(dataDir, 'mail'),
        logFile: log('inbox'),
      }),
    ),
    worker: part('Worker', (launch) => startWorker({ ...launch, env, logFile: log('worker') }), watch),
    api: part('API', (launch) => startApi({ ...launch, env, logFile: log('api') }, ports.PORT), watch),
  };
}
