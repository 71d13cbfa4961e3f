import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/**
 * When the process started, as text that only serves to be compared; undefined when it does not run (a zombie does
 * not). With the pid it names one process, though pids are used again.
 */
export function startTimeOf(pid: number): string | undefined {
  if (!Number.isInteger(pid) || pid <= 0) return undefined;
  try {
    if (process.platform === 'linux') {
      const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
      return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
    }
    return ps(pid, 'lstart') || undefined;
  } catch {
    return undefined;
  }
}

/** Whether the pid is a Postgres that runs on the data folder. */
export function looksLikePostgres(pid: number, dataDir: string): boolean {
  if (startTimeOf(pid) === undefined) return false;
  try {
    const command =
      process.platform === 'linux' ? readFileSync(`/proc/${pid}/cmdline`, 'utf8') : ps(pid, 'command');
    return command.includes(dataDir) && command.includes('postgres');
  } catch {
    return false;
  }
}

function ps(pid: number, column: string): string {
  return execFileSync('ps', ['-o', `${column}=`, '-p', String(pid)], { encoding: 'utf8' }).trim();
}
