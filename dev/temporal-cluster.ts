import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { type ChildLike, type Launch, startChild, untilReady } from './child.ts';
import { messageOf, StartFailure } from './failure.ts';
import { freePort, host } from './ports.ts';
import { withoutTemporalVariables } from './temporal.ts';
import type { TemporalServer } from './temporal-server.ts';
import { projectDir } from './workflow-bundle.ts';

export interface TemporalClusterOptions extends Launch {
  programs: TemporalServer;
  cli: string;
  /** The Postgres whose databases `temporal` and `temporal_visibility` it makes and keeps everything in. */
  superuserUrl: string;
  historyShards: number;
  /** Made, with the search attributes of orders. */
  namespace: string;
  /** For its configuration and log. */
  folder: string;
}

export interface RunningTemporalCluster {
  address: string;
  child: ChildLike;
  pid: number;
  stop(): Promise<void>;
}

const password = 'temporal';
const databases = { temporal: 'temporal', visibility: 'temporal_visibility' };

const deployDir = join(projectDir, 'deploy', 'temporal');
/** As docker-compose.yml gives it to its server. */
const dynamicConfig = join(deployDir, 'dynamic-config.dev.yaml');

/**
 * Starts the Temporal server that clusters are made of, with its frontend, history, matching and worker services, on
 * Postgres, and returns when its namespace is there. The databases are new: it starts once on a Postgres.
 */
export async function startTemporalCluster(options: TemporalClusterOptions): Promise<RunningTemporalCluster> {
  const { programs, folder } = options;
  await createDatabases(options.superuserUrl);
  await makeSchemas(programs.sqlTool, options.superuserUrl);
  const configDir = join(folder, 'config');
  mkdirSync(configDir, { recursive: true });
  const port = await freePort();
  // JSON is YAML too.
  writeFileSync(join(configDir, 'cluster.yaml'), JSON.stringify(await configuration(options, port)));
  const child = await startChild({
    ...options,
    name: 'Temporal cluster',
    command: programs.server,
    args: ['--root', folder, '--config', 'config', '--env', 'cluster', '--allow-no-auth', 'start'],
    env: withoutTemporalVariables(process.env),
    logFile: join(folder, 'temporal-cluster.log'),
  });
  const address = `${host}:${port}`;
  await untilReady(child, () => listens(port));
  try {
    await makeNamespace(options, address);
  } catch (error) {
    await child.stop();
    throw new StartFailure(`The namespace of the Temporal cluster cannot be made: ${messageOf(error)}`);
  }
  return { address, child, pid: child.pid, stop: () => child.stop() };
}

/** As deploy/postgres/init.sh does. */
async function createDatabases(superuserUrl: string): Promise<void> {
  const admin = new pg.Client({ connectionString: superuserUrl });
  await admin.connect();
  try {
    await admin.query(`create role temporal login password '${password}'`);
    for (const name of Object.values(databases)) {
      await admin.query(`create database ${name} owner temporal`);
      await admin.query(`revoke connect on database ${name} from public`);
    }
  } finally {
    await admin.end();
  }
}

/** As deploy/temporal/schema.sh does, with the schema that is built into the tool. */
async function makeSchemas(sqlTool: string, superuserUrl: string): Promise<void> {
  const { hostname, port } = new URL(superuserUrl);
  const env = {
    SQL_PLUGIN: 'postgres12',
    SQL_HOST: hostname,
    SQL_PORT: port,
    SQL_USER: 'temporal',
    SQL_PASSWORD: password,
  };
  const run = async (database: string, ...args: string[]): Promise<void> => {
    try {
      await promisify(execFile)(sqlTool, ['--database', database, ...args], { env });
    } catch (error) {
      throw new StartFailure(`The schema of ${database} cannot be made: ${messageOf(error)}`);
    }
  };
  await Promise.all(
    Object.entries(databases).map(async ([schema, database]) => {
      await run(database, 'setup-schema', '--version', '0.0');
      await run(database, 'update-schema', '--schema-name', `postgresql/v12/${schema}`);
    }),
  );
}

async function configuration({ superuserUrl, historyShards }: TemporalClusterOptions, port: number) {
  const { host: connectAddr } = new URL(superuserUrl);
  const store = (databaseName: string, maxConns: number) => ({
    sql: {
      pluginName: 'postgres12',
      databaseName,
      connectAddr,
      connectProtocol: 'tcp',
      user: 'temporal',
      password,
      maxConns,
      maxIdleConns: maxConns,
      maxConnLifetime: '1h',
    },
  });
  const service = async (grpcPort: number) => ({
    rpc: { grpcPort, membershipPort: await freePort(), bindOnIP: host },
  });
  return {
    log: { stdout: true, level: 'warn' },
    persistence: {
      defaultStore: 'default',
      visibilityStore: 'visibility',
      numHistoryShards: historyShards,
      // Of each of the four services.
      datastores: {
        default: store(databases.temporal, 10),
        visibility: store(databases.visibility, 2),
      },
    },
    global: { membership: { maxJoinDuration: '30s', broadcastAddress: host } },
    services: {
      frontend: await service(port),
      history: await service(await freePort()),
      matching: await service(await freePort()),
      worker: await service(await freePort()),
    },
    clusterMetadata: {
      enableGlobalNamespace: false,
      failoverVersionIncrement: 10,
      masterClusterName: 'active',
      currentClusterName: 'active',
      clusterInformation: {
        active: {
          enabled: true,
          initialFailoverVersion: 1,
          rpcName: 'frontend',
          rpcAddress: `${host}:${port}`,
        },
      },
    },
    dcRedirectionPolicy: { policy: 'noop' },
    dynamicConfigClient: { filepath: dynamicConfig, pollInterval: '10s' },
  };
}

/** Runs deploy/temporal/namespace.sh, which looks for `temporal` on PATH. */
async function makeNamespace({ cli, folder, namespace, signal }: TemporalClusterOptions, address: string) {
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  symlinkSync(cli, join(bin, 'temporal'));
  const env = {
    ...withoutTemporalVariables(process.env),
    PATH: [bin, process.env['PATH'] ?? ''].join(delimiter),
    TEMPORAL_ADDRESS: address,
    TEMPORAL_NAMESPACE: namespace,
  };
  await promisify(execFile)('sh', [join(deployDir, 'namespace.sh')], { env, ...(signal ? { signal } : {}) });
}

async function listens(port: number): Promise<boolean> {
  const socket = connect({ host, port });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
