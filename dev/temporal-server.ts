import { existsSync, mkdirSync } from 'node:fs';
import { cacheFolder } from './cache-folder.ts';
import { messageOf, StartFailure } from './failure.ts';
import { goInstall, goIsInstalled, type GoProgram, programsOf } from './go-install.ts';

const version = 'v1.29.1';

/** The Temporal server for clusters, and the tool that makes its databases' schema. */
export interface TemporalServer {
  server: string;
  sqlTool: string;
}

/**
 * Finds the server in the cache folder of this user, or builds it into that folder with Go. Without Go, or where it
 * cannot build, that is a failure of one line.
 */
export async function findTemporalServer(
  report: (line: string) => void,
  signal?: AbortSignal,
): Promise<TemporalServer> {
  const program: GoProgram = {
    name: `Temporal server ${version}`,
    minutes: 4,
    packages: ['server', 'tools/sql'].map((path) => `go.temporal.io/server/cmd/${path}@${version}`),
    folder: cacheFolder('temporal-server', version),
  };
  const [server, sqlTool] = programsOf(program) as [string, string];
  if (existsSync(server) && existsSync(sqlTool)) return { server, sqlTool };
  if (!(await goIsInstalled())) {
    throw new StartFailure(`The Temporal server ${version} is missing, and there is no Go to build it`);
  }
  try {
    mkdirSync(program.folder, { recursive: true });
    await goInstall(program, report, signal);
  } catch (error) {
    signal?.throwIfAborted();
    throw new StartFailure(
      `The Temporal server ${version} is missing, and Go could not build it (${messageOf(error)})`,
    );
  }
  return { server, sqlTool };
}
