import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { StartFailure } from './failure.ts';

const timeout = 60_000;

/**
 * Lets the Temporal SDK download its dev server, which is the CLI, beside its place and moves it there. Runs in a
 * process of its own, because the SDK's download can be neither called off nor bounded in time.
 */
export async function downloadTemporalCli(
  version: string,
  target: string,
  signal?: AbortSignal,
): Promise<void> {
  const workDir = mkdtempSync(join(dirname(target), 'download-'));
  const script = `
    import { TestWorkflowEnvironment } from '@temporalio/testing';
    const executable = { type: 'cached-download', version: '${version}', downloadDir: process.argv[1] };
    try {
      await (await TestWorkflowEnvironment.createLocal({ server: { executable } })).teardown();
    } catch (error) {
      console.error(error instanceof Error ? error.message : error);
      process.exit(1);
    }`;
  try {
    await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script, workDir], {
      cwd: import.meta.dirname,
      env: { ...process.env, NODE_OPTIONS: '' },
      timeout,
      ...(signal ? { signal } : {}),
    });
    const name = readdirSync(workDir).find((entry) => entry.startsWith('temporal'));
    if (!name) throw new Error('the download left no file');
    renameSync(join(workDir, name), target);
  } catch (error) {
    throw new StartFailure(problem(error), { cause: error });
  } finally {
    rmSync(workDir, { recursive: true, force: true });
  }
}

function problem(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if ('killed' in error && error.killed) return `no answer within ${timeout / 1000} s`;
  const output =
    'stderr' in error && typeof error.stderr === 'string' ? error.stderr.trim().split('\n').at(-1) : '';
  return (output || error.message).split(': ').slice(-2).join(': ');
}
