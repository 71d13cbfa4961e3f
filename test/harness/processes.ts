import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from './wait.ts';

/** An API or worker process of a test. */
export interface Process {
  pid: number;
  /** Ends it as an operator would; tells its exit code. */
  stop(): Promise<number | null>;
  /** Ends it as a crash would: SIGKILL. */
  kill(): Promise<void>;
  log(): string;
}

/** Starts an entry point of the compiled `product` as its own process, as production does. */
export async function startProcess(
  product: string,
  entry: 'api/main.js' | 'workers/main.js',
  environment: Record<string, string>,
  logFile: string,
  isReady: () => Promise<boolean>,
): Promise<Process> {
  const log = openSync(logFile, 'a');
  const child: ChildProcess = spawn(process.execPath, [join(product, entry)], {
    cwd: product,
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...environment },
    // With a channel to the test, the process ends itself when the test is killed.
    stdio: ['ignore', log, log, 'ipc'],
  });
  closeSync(log);
  const exited = once(child, 'exit');
  const end = async (signal: NodeJS.Signals): Promise<number | null> => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    await exited;
    return child.exitCode;
  };
  const started: Process = {
    pid: child.pid!,
    stop: () => end('SIGTERM'),
    kill: async () => void (await end('SIGKILL')),
    log: () => readFileSync(logFile, 'utf8'),
  };
  await eventually(
    `${entry} is ready`,
    async () => {
      if (child.exitCode !== null)
        throw new Error(`${entry} ended with ${child.exitCode}:\n${started.log()}`);
      return await isReady().catch(() => false);
    },
    40,
  ).catch(async (error: unknown) => {
    await started.kill();
    throw error;
  });
  return started;
}
