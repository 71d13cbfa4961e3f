import { existsSync, type FSWatcher, readdirSync, watch } from 'node:fs';
import { join, relative } from 'node:path';

const quietMilliseconds = 200;
const code = /\.(ts|sql|json|hbs|html|css)$/;

/**
 * Calls `onChange` with the changed paths (relative to `root`) once nothing has changed for a moment, and never twice
 * at once. Watches folder by folder: the recursive watch of Node 20 on Linux loses files that an editor replaces.
 */
export function watchCode(
  root: string,
  folders: string[],
  onChange: (paths: string[]) => Promise<void>,
): { close(): void } {
  const watchers = new Map<string, FSWatcher>();
  let changed = new Set<string>();
  let timer: NodeJS.Timeout | undefined;
  let busy = false;

  const flush = async (): Promise<void> => {
    if (busy || changed.size === 0) return;
    const paths = [...changed].toSorted();
    changed = new Set();
    busy = true;
    await onChange(paths).finally(() => (busy = false));
    await flush();
  };

  const note = (path: string): void => {
    if (!code.test(path)) return;
    changed.add(relative(root, path));
    clearTimeout(timer);
    timer = setTimeout(() => void flush(), quietMilliseconds);
  };

  const forget = (folder: string): void => {
    watchers.get(folder)?.close();
    watchers.delete(folder);
  };

  const follow = (folder: string, isNew: boolean): void => {
    if (watchers.has(folder) || !existsSync(folder)) return;
    const watcher = watch(folder, (_event, name) => {
      if (name === null) return;
      const path = join(folder, name);
      note(path);
      if (!existsSync(folder)) forget(folder);
      else if (!code.test(name)) enter(path);
    });
    watchers.set(
      folder,
      watcher.on('error', () => forget(folder)),
    );
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) follow(path, isNew);
      else if (isNew) note(path);
    }
  };

  /** Follows the path if it turns out to be a folder that is there now. */
  const enter = (path: string): void => {
    forget(path);
    try {
      if (existsSync(path) && readdirSync(path).length >= 0) follow(path, true);
    } catch {
      forget(path);
    }
  };

  for (const folder of folders) follow(join(root, folder), false);
  return {
    close() {
      clearTimeout(timer);
      for (const folder of watchers.keys()) forget(folder);
    },
  };
}
