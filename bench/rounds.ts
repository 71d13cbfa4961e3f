import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { closeSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * A closed loop: so many clients, each with its next operation as soon as the one before is answered, for so long or
 * until so many are answered; in a `burst` they do not wait for more than being accepted. Or an open loop: so many
 * operations begin a second, whatever becomes of them.
 */
export type Load =
  | { clients: number; seconds: number }
  | { clients: number; operations: number; burst?: boolean }
  | { perSecond: number; seconds: number };

export interface Answers {
  /** Of each operation, in milliseconds; in an open loop from when it should have begun. */
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
export function serveRounds({ operation }: { operation: (load: Load) => Promise<string> }): void {
  process.once('disconnect', () => process.exit());
  process.on(
    'message',
    (load: Load) => void runLoad(load, operation).then((answers) => process.send!(answers)),
  );
  process.send!('ready');
}

async function runLoad(load: Load, operation: (load: Load) => Promise<string>): Promise<Answers> {
  const answers: Answers = { latencies: [], outcomes: {} };
  const run = async (began: number): Promise<void> => {
    const outcome = await operation(load).catch((error: unknown) => String(error));
    answers.latencies.push(performance.now() - began);
    answers.outcomes[outcome] = (answers.outcomes[outcome] ?? 0) + 1;
  };
  const start = performance.now();
  const end = 'seconds' in load ? start + load.seconds * 1000 : Infinity;

  if ('perSecond' in load) {
    const begun: Promise<void>[] = [];
    for (let next = start; next < end; next += 1000 / load.perSecond) {
      const early = next - performance.now();
      if (early > 0) await delay(early);
      begun.push(run(next));
    }
    await Promise.all(begun);
    return answers;
  }

  let left = 'operations' in load ? load.operations : Infinity;
  const client = async (): Promise<void> => {
    for (let now = performance.now(); now < end && left > 0; now = performance.now()) {
      left -= 1;
      await run(now);
    }
  };
  await Promise.all(Array.from({ length: load.clients }, client));
  return answers;
}
