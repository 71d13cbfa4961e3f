import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ChildLike, type Launch, startChild, untilReady } from './child.ts';
import { host, isSet } from './ports.ts';
import { withoutPostgresVariables } from './postgres.ts';
import { withoutTemporalVariables } from './temporal.ts';
import { projectDir } from './workflow-bundle.ts';

type TemporalProfile = Pick<ServiceAddresses, 'temporalProfile' | 'temporalAddress' | 'temporalNamespace'>;

export interface ServiceAddresses {
  databaseUrl: string;
  temporalAddress: string;
  temporalNamespace: string;
  /** A TOML file to read instead of the user's own profiles, which may be about Temporal Cloud. */
  temporalProfile: string;
  smtpUrl: string;
  port: number;
  workflowBundle: string;
}

/** The environment of API and worker: the user's, with the addresses of the stack's own parts filled in. */
export function serviceEnvironment(env: NodeJS.ProcessEnv, own: ServiceAddresses): NodeJS.ProcessEnv {
  const withDatabase = isSet(env, 'DATABASE_URL') ? env : withoutPostgresVariables(env);
  const base = isSet(env, 'TEMPORAL_ADDRESS')
    ? withDatabase
    : { ...withoutTemporalVariables(withDatabase), TEMPORAL_CONFIG_FILE: own.temporalProfile };
  return {
    ...base,
    WEBHOOK_ALLOW_PRIVATE: env['WEBHOOK_ALLOW_PRIVATE'] || 'true',
    DATABASE_URL: own.databaseUrl,
    TEMPORAL_ADDRESS: own.temporalAddress,
    TEMPORAL_NAMESPACE: own.temporalNamespace,
    SMTP_URL: own.smtpUrl,
    HOST: host,
    PORT: String(own.port),
    WORKFLOW_BUNDLE: own.workflowBundle,
  };
}

/** Writes the TOML profile that leads to the stack's own Temporal. */
export function writeTemporalProfile({
  temporalProfile,
  temporalAddress,
  temporalNamespace,
}: TemporalProfile): void {
  const lines = [
    '[profile.default]',
    `address = "${temporalAddress}"`,
    `namespace = "${temporalNamespace}"`,
    '',
  ];
  writeFileSync(temporalProfile, lines.join('\n'));
}

interface ServiceOptions extends Launch {
  env: NodeJS.ProcessEnv;
  logFile: string;
}

/** Starts `api/main.ts` and returns when it serves. */
export async function startApi(options: ServiceOptions, port: number): Promise<ChildLike> {
  const child = await startService('API', 'api/main.ts', options);
  await untilReady(child, () => answers(`http://${host}:${port}/livez`));
  return child;
}

/** Starts `workers/main.ts`. */
export const startWorker = (options: ServiceOptions): Promise<ChildLike> =>
  startService('Worker', 'workers/main.ts', options);

/** Whether a GET is answered with a 2xx. */
export async function answers(url: string): Promise<boolean> {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(5000) });
    await answer.body?.cancel();
    return answer.ok;
  } catch {
    return false;
  }
}

function startService(name: string, entry: string, options: ServiceOptions): Promise<ChildLike> {
  return startChild({
    ...options,
    name,
    command: process.execPath,
    args: ['--import', 'tsx', join(projectDir, entry)],
    cwd: projectDir,
    ipc: true,
    stopTimeout: 20_000,
  });
}
