import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const VERSION = '4.32.5';
const run = promisify(execFile);

/**
 * The schemathesis of the cache folder, installed into a virtual environment there if it is missing; or why there is
 * none: no Python, or no way to PyPI.
 */
export async function findSchemathesis(): Promise<{ command: string } | { missing: string }> {
  const cache = join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'holdfast', 'schemathesis');
  const python = join(cache, VERSION, 'bin', 'python');
  const found = { command: python };
  if (existsSync(python)) return found;
  mkdirSync(cache, { recursive: true });
  const draft = mkdtempSync(join(cache, 'install-'));
  try {
    await run('python3', ['-m', 'venv', draft]);
    const pip = [
      '-m',
      'pip',
      'install',
      '--quiet',
      '--disable-pip-version-check',
      `schemathesis==${VERSION}`,
    ];
    await run(join(draft, 'bin', 'python'), pip, { timeout: 120_000 });
    renameSync(draft, join(cache, VERSION));
    return found;
  } catch (error) {
    rmSync(draft, { recursive: true, force: true });
    if (existsSync(python)) return found;
    const { message } = error as Error;
    return {
      missing: `schemathesis needs Python 3.10 or newer with venv, and PyPI: ${message.split('\n')[0]}`,
    };
  }
}
