import { accessSync, constants, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { codeOf, messageOf, StartFailure } from './failure.ts';
import { runFile } from './leftovers.ts';

const marker = '.holdfast';

/**
 * Makes the data folder, or checks that the one there is ours: a folder with other things in it is refused, so that
 * a wrong `DATA_DIR` neither fills nor wipes somebody's files. Others may pass through it (Postgres may have to run as
 * another user), not look into what is in it.
 */
export function openDataFolder(dataDir: string): void {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o711 });
    const names = readdirSync(dataDir);
    if (names.length > 0 && !names.includes(marker)) {
      throw new StartFailure(`${dataDir} has other files in it: set DATA_DIR to a new or empty folder`);
    }
    accessSync(dataDir, constants.W_OK | constants.X_OK);
    if (!existsSync(join(dataDir, marker))) writeFileSync(join(dataDir, marker), '');
    mkdirSync(join(dataDir, 'logs'), { recursive: true, mode: 0o700 });
  } catch (error) {
    if (error instanceof StartFailure) throw error;
    throw new StartFailure(
      `The data folder ${dataDir} cannot be used: ${reason(error)} (set DATA_DIR to another one)`,
    );
  }
}

/** Deletes what the folder holds, except what marks it as ours and as in use by this process. */
export function wipe(dataDir: string): void {
  for (const name of readdirSync(dataDir)) {
    if (name === marker || name === runFile) continue;
    rmSync(join(dataDir, name), { recursive: true, force: true });
  }
  mkdirSync(join(dataDir, 'logs'), { recursive: true, mode: 0o700 });
}

function reason(error: unknown): string {
  const reasons: Record<string, string> = {
    EEXIST: 'a file is in its place',
    ENOTDIR: 'a file is in its place',
    EACCES: 'it is not writable',
    EPERM: 'it is not writable',
    EROFS: 'the disk is read-only',
    ENOSPC: 'the disk is full',
  };
  return reasons[codeOf(error) ?? ''] ?? messageOf(error);
}
