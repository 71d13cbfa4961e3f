import pc from 'picocolors';
import { messageOf, StartFailure } from './failure.ts';

const plain =
  !process.stdout.isTTY || (process.env['NO_COLOR'] ?? '') !== '' || process.env['TERM'] === 'dumb';
export const paint = pc.createColors(!plain);

/** Prints a line as it is. */
export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Prints progress inside a step that takes long. */
export function note(line: string): void {
  say(paint.dim(`  ${line}`));
}

/** Prints what went wrong and what is done about it. */
export function warn(line: string): void {
  say(`${paint.yellow('!')} ${line}`);
}

/** Prints why the start ended, on stderr. */
export function fail(error: unknown): void {
  process.stderr.write(`${paint.red('✗')} ${messageOf(error)}\n`);
}

/** Runs one step and prints one line with what came of it and the time it took. */
export async function step<T>(
  name: string,
  run: () => Promise<T>,
  outcome: (result: T) => string,
): Promise<T> {
  const started = performance.now();
  try {
    const result = await run();
    say(
      `${paint.green('✓')} ${name.padEnd(18)} ${outcome(result).padEnd(36)} ${paint.dim(seconds(started))}`,
    );
    return result;
  } catch (error) {
    if (error instanceof StartFailure) throw error;
    throw new StartFailure(`${name} failed: ${messageOf(error)}`, { cause: error });
  }
}

/** The time since `started` (of `performance.now()`), as `1.2 s`. */
export function seconds(started: number): string {
  return `${((performance.now() - started) / 1000).toFixed(1)} s`;
}
