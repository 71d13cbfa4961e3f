import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  linkSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { codeOf } from './failure.ts';
import { startTimeOf } from './processes.ts';

type Report = (line: string) => void;

const progressSeconds = 15;

/** Whether `go` can be run. */
export async function goIsInstalled(): Promise<boolean> {
  return promisify(execFile)('go', ['version']).then(
    () => true,
    () => false,
  );
}

export interface GoProgram {
  /** As people call it, with its version. */
  name: string;
  minutes: number;
  /** Each `package@version`, all of one module; its program is called like the package's last folder. */
  packages: string[];
  /** Where the programs are wanted. */
  folder: string;
}

/** The programs of the packages, in the folder. */
export const programsOf = ({ packages, folder }: GoProgram): string[] =>
  packages.map((name) => join(folder, basename(name.split('@')[0]!)));

/**
 * Builds programs with `go install` beside their place and moves them there when complete. Only one process builds at a
 * time; the others wait for its result.
 */
export async function goInstall(program: GoProgram, report: Report, signal?: AbortSignal): Promise<void> {
  const { name, folder } = program;
  const targets = programsOf(program);
  const lock = join(folder, 'build.lock');
  let waiting = false;
  while (!lockFor(lock)) {
    if (!waiting) report(`Another process is building the ${name}: waiting for it`);
    waiting = true;
    await delay(500, undefined, { signal });
  }
  try {
    if (waiting && targets.every((target) => existsSync(target))) return;
    removeUnfinished(folder);
    const workDir = mkdtempSync(join(folder, 'build-'));
    try {
      await build(program, workDir, report, signal);
      for (const target of targets) renameSync(join(workDir, basename(target)), target);
    } finally {
      rmSync(workDir, { recursive: true, force: true });
    }
  } finally {
    rmSync(lock, { force: true });
  }
}

async function build(
  { name, minutes, packages }: GoProgram,
  workDir: string,
  report: Report,
  signal?: AbortSignal,
): Promise<void> {
  report(`Building the ${name} with Go: about ${minutes} minutes, once`);
  const started = Date.now();
  const child = spawn('go', ['install', '-v', ...packages], {
    env: { ...process.env, GOBIN: workDir, GOFLAGS: '', GOOS: '', GOARCH: '' },
    stdio: ['ignore', 'ignore', 'pipe'],
    ...(signal ? { signal } : {}),
  });
  const counts = { downloaded: 0, compiled: 0 };
  let last = '';
  createInterface({ input: child.stderr }).on('line', (line) => {
    last = line;
    if (line.startsWith('go: downloading')) counts.downloaded += 1;
    else if (!line.startsWith('go: ')) counts.compiled += 1;
  });
  const timer = setInterval(() => {
    const seconds = Math.round((Date.now() - started) / 1000);
    const { downloaded, compiled } = counts;
    report(`  ${seconds} s: ${downloaded} modules downloaded, ${compiled} packages compiled, last ${last}`);
  }, progressSeconds * 1000);
  try {
    const [code] = await once(child, 'close');
    if (code !== 0) throw new Error(last || `go ended with exit code ${code}`);
  } finally {
    clearInterval(timer);
  }
}

/** Takes the lock file, also from a process that is gone. */
function lockFor(lock: string): boolean {
  const holder = { pid: process.pid, startTime: startTimeOf(process.pid) };
  const draft = `${lock}.${process.pid}`;
  try {
    writeFileSync(draft, JSON.stringify(holder));
    linkSync(draft, lock);
    return true;
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
    if (!holderLives(lock)) rmSync(lock, { force: true });
    return false;
  } finally {
    rmSync(draft, { force: true });
  }
}

function holderLives(lock: string): boolean {
  try {
    const { pid, startTime } = JSON.parse(readFileSync(lock, 'utf8')) as { pid: number; startTime: string };
    return startTimeOf(pid) === startTime;
  } catch {
    return false;
  }
}

function removeUnfinished(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (name.startsWith('build-')) rmSync(join(folder, name), { recursive: true, force: true });
  }
}
