import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { ChildLike } from './child.ts';
import { codeOf, StartFailure } from './failure.ts';
import { startTimeOf } from './processes.ts';

export const runFile = 'run.json';

interface Recorded {
  name: string;
  pid: number;
  startTime: string;
  stopSignal: NodeJS.Signals;
}

interface Run {
  supervisor: Recorded;
  children: Recorded[];
}

export interface Claim {
  /** Writes down a process at once, so that the next start can end it if this one cannot. */
  record(child: ChildLike, stopSignal: NodeJS.Signals): void;
  release(): void;
}

/**
 * Takes the data folder for this process. Refuses when another start still runs in it; ends the processes that a
 * killed start left behind and says so.
 */
export async function claim(dataDir: string, report: (line: string) => void): Promise<Claim> {
  const file = join(dataDir, runFile);
  const draft = `${file}.${process.pid}`;
  const own: Run = { supervisor: recorded('npm start', process.pid, 'SIGTERM'), children: [] };
  for (;;) {
    writeFileSync(draft, JSON.stringify(own), { flush: true });
    try {
      linkSync(draft, file);
      break;
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
      await clear(file, dataDir, report);
    } finally {
      rmSync(draft, { force: true });
    }
  }
  const save = (): void => {
    writeFileSync(draft, JSON.stringify(own));
    renameSync(draft, file);
  };
  return {
    record(child, stopSignal) {
      own.children = own.children.filter(lives);
      if (child.running) own.children.push(recorded(child.name, child.pid, stopSignal));
      save();
    },
    release: () => rmSync(file, { force: true }),
  };
}

/** Removes the record of a start that is gone, after its processes. */
async function clear(file: string, dataDir: string, report: (line: string) => void): Promise<void> {
  const previous = read(file);
  if (previous) {
    const { supervisor, children } = previous;
    if (lives(supervisor)) {
      throw new StartFailure(
        `Already running, pid ${supervisor.pid}, in ${dataDir}: stop that one, or set DATA_DIR`,
      );
    }
    await Promise.all(children.filter(lives).map((orphan) => end(orphan, report)));
  }
  const aside = `${file}.stale-${process.pid}`;
  try {
    renameSync(file, aside);
    const taken = read(aside);
    const replaced = taken && taken.supervisor.startTime !== previous?.supervisor.startTime;
    if (replaced) linkSync(aside, file);
  } catch (error) {
    if (!['ENOENT', 'EEXIST'].includes(codeOf(error) ?? '')) throw error;
  } finally {
    rmSync(aside, { force: true });
  }
}

async function end(orphan: Recorded, report: (line: string) => void): Promise<void> {
  report(`Ending ${orphan.name} (pid ${orphan.pid}), left behind by a start that was killed`);
  signal(orphan, orphan.stopSignal);
  for (const deadline = Date.now() + 15_000; lives(orphan) && Date.now() < deadline;) await delay(50);
  if (!lives(orphan)) return;
  signal(orphan, 'SIGKILL');
  for (const deadline = Date.now() + 5000; lives(orphan) && Date.now() < deadline;) await delay(20);
}

function signal(orphan: Recorded, name: NodeJS.Signals): void {
  try {
    if (lives(orphan)) process.kill(orphan.pid, name);
  } catch (error) {
    if (codeOf(error) !== 'ESRCH') throw error;
  }
}

function recorded(name: string, pid: number, stopSignal: NodeJS.Signals): Recorded {
  return { name, pid, stopSignal, startTime: startTimeOf(pid) ?? '' };
}

function lives({ pid, startTime }: Recorded): boolean {
  return startTimeOf(pid) === startTime;
}

function read(file: string): Run | undefined {
  try {
    const run = JSON.parse(readFileSync(file, 'utf8')) as Partial<Run>;
    if (typeof run.supervisor?.pid !== 'number' || !Array.isArray(run.children)) return undefined;
    return { supervisor: run.supervisor, children: run.children };
  } catch {
    return undefined;
  }
}
