import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf, StartFailure } from './failure.ts';
import { openLog } from './logs.ts';

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A running process of the stack. */
export interface ChildLike {
  readonly name: string;
  readonly pid: number;
  /** Asks it to end, and ends it hard when it has not done so in time. */
  stop(): Promise<void>;
  /** SIGKILL, now. */
  kill(): Promise<void>;
  readonly exited: Promise<Exit>;
  readonly running: boolean;
  readonly logFile: string;
  lastLogLine(): string | undefined;
}

/** What whoever starts the stack wants from each process: that it can be called off, and to know its pid at once. */
export interface Launch {
  signal?: AbortSignal | undefined;
  onSpawn?: ((child: ChildLike, stopSignal: NodeJS.Signals) => void) | undefined;
}

export interface ChildOptions extends Launch {
  name: string;
  command: string;
  args: string[];
  logFile: string;
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** Opens an IPC channel, so that a Node child notices (`disconnect`) when its parent is gone. */
  ipc?: boolean;
  uid?: number | undefined;
  gid?: number | undefined;
  stopSignal?: NodeJS.Signals;
  stopTimeout?: number;
}

/**
 * Starts a process in its own process group, out of reach of the terminal's Ctrl-C, with its output appended to the log.
 */
export async function startChild(options: ChildOptions): Promise<ChildLike> {
  const {
    name,
    command,
    args,
    env = process.env,
    uid,
    gid,
    stopSignal = 'SIGTERM',
    stopTimeout = 15_000,
  } = options;
  options.signal?.throwIfAborted();
  const log = openLog(options.logFile);
  const spawned = spawn(command, args, {
    detached: true,
    env,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    stdio: ['ignore', log.descriptor, log.descriptor, ...(options.ipc ? (['ipc'] as const) : [])],
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
  });
  log.close();
  const { pid } = spawned;
  if (pid === undefined) {
    const [error] = await once(spawned, 'error');
    throw new StartFailure(`${name} cannot be started: ${messageOf(error)}`);
  }
  let running = true;
  const exited = new Promise<Exit>((resolve) => {
    spawned.once('exit', (code, signal) => {
      running = false;
      resolve({ code, signal });
    });
  });
  const end = async (signal: NodeJS.Signals, timeout: number): Promise<void> => {
    if (running) spawned.kill(signal);
    const deadline = new AbortController();
    const late = delay(timeout, undefined, { signal: deadline.signal }).catch(() => undefined);
    await Promise.race([exited, late]);
    deadline.abort();
    if (running) spawned.kill('SIGKILL');
    await exited;
  };
  const child: ChildLike = {
    name,
    pid,
    exited,
    logFile: options.logFile,
    get running() {
      return running;
    },
    stop: () => end(stopSignal, stopTimeout),
    kill: () => end('SIGKILL', 1000),
    lastLogLine: log.lastLine,
  };
  options.onSpawn?.(child, stopSignal);
  return child;
}

/**
 * Waits until `probe` says true. A child that ends first, or is not ready in time, is a failure that carries the last
 * thing it logged; it is stopped then.
 */
export async function untilReady(
  child: ChildLike,
  probe: () => Promise<boolean>,
  seconds = 60,
): Promise<void> {
  const deadline = Date.now() + seconds * 1000;
  try {
    while (!(await probe())) {
      if (!child.running) throw new StartFailure(`${child.name} ended while starting: ${reason(child)}`);
      if (Date.now() > deadline) {
        throw new StartFailure(`${child.name} was not ready after ${seconds} s: ${reason(child)}`);
      }
      await delay(40);
    }
  } catch (error) {
    await child.stop();
    throw error;
  }
}

function reason(child: ChildLike): string {
  return `${child.lastLogLine() ?? 'it logged nothing'} (log: ${child.logFile})`;
}
