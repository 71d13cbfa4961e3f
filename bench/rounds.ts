import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** A closed loop: so many clients, each with its next operation as soon as the one before is answered. */
export interface Load {
  clients: number;
  seconds: number;
}

export interface Answers {
  /** Of each operation, in milliseconds. */
  latencies: number[];
  /** How many operations ended how. */
  outcomes: Record<string, number>;
}

/** A process that makes load on request, so that load generation is in nobody else's event loop. */
export interface Generator {
  readonly pid: number;
  run(load: Load): Promise<Answers>;
  stop(): Promise<void>;
}

/** Starts a load generator: a module that calls `serveRounds`. */
export async function startGenerator(
  entry: URL,
  env: NodeJS.ProcessEnv,
  logFile: string,
): Promise<Generator> {
  const log = openSync(logFile, 'a');
  const child = fork(fileURLToPath(entry), {
    env,
    execArgv: ['--import', 'tsx'],
    stdio: ['ignore', log, log, 'ipc'],
  });
  closeSync(log);
  const ended = once(child, 'exit');
  await message(child, ended, logFile);
  return {
    pid: child.pid!,
    async run(load) {
      child.send(load);
      return (await message(child, ended, logFile)) as Answers;
    },
    async stop() {
      if (child.connected) child.disconnect();
      await ended;
    },
  };
}

async function message(child: ChildProcess, ended: Promise<unknown>, logFile: string): Promise<unknown> {
  const died = ended.then(() => Promise.reject(new Error(`A load generator ended (log: ${logFile})`)));
  const [value] = await Promise.race([once(child, 'message'), died]);
  return value;
}

/** In a load generator: runs `operation`, which tells how it ended, whenever the bench asks for it. */
export function serveRounds({ operation }: { operation: () => Promise<string> }): void {
  process.once('disconnect', () => process.exit());
  process.on(
    'message',
    (load: Load) => void runLoad(load, operation).then((answers) => process.send!(answers)),
  );
  process.send!('ready');
}

async function runLoad({ clients, seconds }: Load, operation: () => Promise<string>): Promise<Answers> {
  const answers: Answers = { latencies: [], outcomes: {} };
  const deadline = performance.now() + seconds * 1000;
  const client = async (): Promise<void> => {
    for (let began = performance.now(); began < deadline; began = performance.now()) {
      const outcome = await operation().catch((error: unknown) => String(error));
      answers.latencies.push(performance.now() - began);
      answers.outcomes[outcome] = (answers.outcomes[outcome] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  return answers;
}
