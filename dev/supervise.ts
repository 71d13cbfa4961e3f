import { setTimeout as delay } from 'node:timers/promises';
import type { ChildLike, Exit, Launch } from './child.ts';
import { messageOf } from './failure.ts';
import { paint, say, seconds, warn } from './report.ts';

const firstPause = 500;
const longestPause = 10_000;
const steadyAfter = 30_000;

export interface Supervised {
  /** Starts it for the first time; a failure is the caller's. From then on it is started again whenever it ends. */
  start(): Promise<void>;
  /** Ends it and starts it again, now. */
  restart(): Promise<void>;
  stop(): Promise<void>;
  kill(): void;
}

export interface SuperviseOptions {
  name: string;
  launch: (launch: Launch) => Promise<unknown>;
  onSpawn: NonNullable<Launch['onSpawn']>;
  /** When it ends by itself right after its start, waits for `restart` rather than trying again and again. */
  awaitChange: boolean;
}

/** Keeps one process of the stack running. */
export function supervise({ name, launch, onSpawn, awaitChange }: SuperviseOptions): Supervised {
  let cycle = new AbortController();
  let child: ChildLike | undefined;
  let work: Promise<unknown> = Promise.resolve();
  let pause = firstPause;

  const run = async (own: AbortController): Promise<void> => {
    await launch({
      signal: own.signal,
      onSpawn: (spawned, stopSignal) => {
        child = spawned;
        onSpawn(spawned, stopSignal);
      },
    });
    if (child) void follow(child, own);
  };

  const follow = async (launched: ChildLike, own: AbortController): Promise<void> => {
    const started = performance.now();
    const exit = await launched.exited;
    if (own.signal.aborted) return;
    const lived = performance.now() - started;
    if (lived > steadyAfter) pause = firstPause;
    warn(`${name} ended (${describe(exit)})${exit.code ? `: ${launched.lastLogLine()}` : ''}`);
    if (awaitChange && exit.code && lived < steadyAfter)
      warn(`${name} is started again when its code changes`);
    else work = revive(own).catch(() => undefined);
  };

  const revive = async (own: AbortController): Promise<void> => {
    while (!own.signal.aborted) {
      say(`  Starting ${name} again in ${pause / 1000} s (log: ${child?.logFile})`);
      await delay(pause, undefined, { signal: own.signal });
      pause = Math.min(pause * 2, longestPause);
      const started = performance.now();
      try {
        await run(own);
        return say(`${paint.green('✓')} ${name} is back (${seconds(started)})`);
      } catch (error) {
        if (!own.signal.aborted) warn(messageOf(error));
      }
    }
  };

  const end = async (): Promise<void> => {
    cycle.abort();
    await child?.stop();
    await work;
  };

  const begin = (): Promise<void> => {
    const started = run(cycle);
    work = started.catch(() => undefined);
    return started;
  };

  return {
    start: begin,
    stop: end,
    restart: async () => {
      await end();
      cycle = new AbortController();
      pause = firstPause;
      await begin();
    },
    kill: () => {
      cycle.abort();
      void child?.kill();
    },
  };
}

function describe({ code, signal }: Exit): string {
  return signal ?? `exit code ${code}`;
}
