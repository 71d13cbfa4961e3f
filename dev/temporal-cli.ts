import { existsSync, mkdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { messageOf, StartFailure } from './failure.ts';
import { downloadTemporalCli } from './temporal-download.ts';
import { goInstall, goIsInstalled } from './go-install.ts';
import { cacheFolder } from './cache-folder.ts';
import { isSet } from './ports.ts';

const temporalCliVersion = 'v1.5.1';

type Report = (line: string) => void;

/**
 * Finds a Temporal CLI that runs: `TEMPORAL_CLI_PATH`, `temporal` on PATH, the cache folder of this user; else gets one
 * into that folder, by the SDK's download or with Go.
 */
export async function findTemporalCli(report: Report, signal?: AbortSignal): Promise<string> {
  const { env } = process;
  if (isSet(env, 'TEMPORAL_CLI_PATH')) return named(env['TEMPORAL_CLI_PATH'] ?? '');
  const onPath = (env['PATH'] ?? '').split(delimiter).map((folder) => join(folder || '.', 'temporal'));
  const cacheDir = cacheFolder('temporal-cli', temporalCliVersion);
  const cached = join(cacheDir, 'temporal');
  for (const candidate of [...onPath, cached]) {
    if (existsSync(candidate) && (await problemOf(candidate)) === undefined) return candidate;
  }
  return obtain(cacheDir, cached, report, signal);
}

async function named(path: string): Promise<string> {
  const problem = await problemOf(path);
  if (problem === undefined) return path;
  throw new StartFailure(
    `TEMPORAL_CLI_PATH is ${path}, which does not run (${problem}): correct it, or unset it`,
  );
}

async function problemOf(path: string): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)(path, ['--version'], { timeout: 20_000 });
    return stdout.startsWith('temporal version') ? undefined : 'it is not the Temporal CLI';
  } catch (error) {
    return messageOf(error);
  }
}

async function obtain(
  cacheDir: string,
  cached: string,
  report: Report,
  signal?: AbortSignal,
): Promise<string> {
  const hint =
    'install it (https://docs.temporal.io/cli) and put it on PATH, or set TEMPORAL_CLI_PATH, or TEMPORAL_ADDRESS to a server of yours';
  try {
    mkdirSync(cacheDir, { recursive: true });
  } catch (error) {
    throw new StartFailure(
      `The Temporal CLI is missing and ${cacheDir} cannot be made (${messageOf(error)}): ${hint}`,
    );
  }
  report(`Downloading the Temporal CLI ${temporalCliVersion} to ${cacheDir}`);
  const downloadProblem = await attempt(() => downloadTemporalCli(temporalCliVersion, cached, signal));
  signal?.throwIfAborted();
  if (downloadProblem === undefined) return cached;
  if (!(await goIsInstalled())) {
    throw new StartFailure(
      `The Temporal CLI is missing and cannot be downloaded (${downloadProblem}): ${hint}`,
    );
  }
  report(`That failed (${downloadProblem})`);
  const buildProblem = await attempt(() =>
    goInstall(
      {
        name: `Temporal CLI ${temporalCliVersion}`,
        minutes: 4,
        packages: [`github.com/temporalio/cli/cmd/temporal@${temporalCliVersion}`],
        folder: cacheDir,
      },
      report,
      signal,
    ),
  );
  signal?.throwIfAborted();
  if (buildProblem === undefined) return cached;
  throw new StartFailure(`The Temporal CLI is missing and Go could not build it (${buildProblem}): ${hint}`);
}

async function attempt(get: () => Promise<void>): Promise<string | undefined> {
  try {
    return await get().then(() => undefined);
  } catch (error) {
    return messageOf(error);
  }
}
