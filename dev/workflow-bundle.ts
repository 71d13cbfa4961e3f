import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Launch, startChild } from './child.ts';
import { StartFailure } from './failure.ts';

export const projectDir = dirname(import.meta.dirname);

const sources = ['workflows', 'domain', 'workers', 'package-lock.json'];

/**
 * Bundles the workflows into `file`, in a process of its own, unless the bundle there was made from the same code.
 * Says whether it had to.
 */
export async function buildWorkflowBundle(
  file: string,
  logFile: string,
  launch: Launch = {},
): Promise<boolean> {
  const fingerprint = fingerprintOf(sources.map((name) => join(projectDir, name)));
  const stamp = `${file}.sources`;
  if (existsSync(file) && existsSync(stamp) && readFileSync(stamp, 'utf8') === fingerprint) return false;
  rmSync(stamp, { force: true });
  const child = await startChild({
    ...launch,
    name: 'Workflow bundle',
    command: process.execPath,
    args: ['--import', 'tsx', join(projectDir, 'workers', 'bundle.ts'), file],
    cwd: projectDir,
    logFile,
  });
  const { code } = await child.exited;
  if (code !== 0)
    throw new StartFailure(`The workflows cannot be bundled: ${child.lastLogLine()} (log: ${logFile})`);
  writeFileSync(stamp, fingerprint);
  return true;
}

function fingerprintOf(paths: string[]): string {
  const hash = createHash('sha256').update(process.version);
  for (const path of paths.flatMap(filesIn)) hash.update(`\0${path}\0`).update(readFileSync(path));
  return hash.digest('hex');
}

function filesIn(path: string): string[] {
  if (!existsSync(path)) return [];
  if (path.endsWith('.json')) return [path];
  const entries = readdirSync(path, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
}
