import { closeSync, mkdirSync, openSync, readFileSync, renameSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

const maximumBytes = 8 * 1024 * 1024;
const tailBytes = 16 * 1024;

export interface Log {
  readonly file: string;
  readonly descriptor: number;
  close(): void;
  lastLine(): string | undefined;
}

/** Opens a log for appending. A log that has grown past 8 MB is moved to `<file>.1` first. */
export function openLog(file: string): Log {
  mkdirSync(dirname(file), { recursive: true });
  if (sizeOf(file) > maximumBytes) renameSync(file, `${file}.1`);
  const start = sizeOf(file);
  const descriptor = openSync(file, 'a', 0o600);
  return {
    file,
    descriptor,
    close: () => closeSync(descriptor),
    lastLine: () => lastUsefulLine(file, start),
  };
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

/** The last line written after `start` that says what went wrong, or else the last line there is. */
function lastUsefulLine(file: string, start: number): string | undefined {
  const bytes = readFileSync(file).subarray(start).subarray(-tailBytes);
  const lines = bytes.toString('utf8').split('\n').map(withoutColours).filter(saysSomething);
  const said = (pattern: RegExp): string | undefined => lines.findLast((text) => pattern.test(text));
  const line = said(/\b(FATAL|PANIC)\b|^ERROR in /) ?? said(/\b(ERROR|\w*Error|error)\b/) ?? lines.at(-1);
  return line && withoutPreamble(line.trim());
}

/** The line without the time and process number that Postgres and Temporal put first. */
function withoutPreamble(line: string): string {
  const message = /^time=.* msg="((?:[^"\\]|\\.)*)"/.exec(line)?.[1];
  return message?.replaceAll(String.raw`\"`, '"') ?? line.replace(/^[-\d]+ [:.\d]+ UTC \[\d+\] /, '');
}

function withoutColours(line: string): string {
  // oxlint-disable-next-line no-control-regex
  return line.replaceAll(/\u001b\[[0-9;]*m/g, '');
}

function saysSomething(line: string): boolean {
  return line.trim() !== '' && !/^\s*(at |[{}\]^]|Node\.js v|code: )/.test(line);
}
