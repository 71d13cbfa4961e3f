import { existsSync, watch } from 'node:fs';
import { join } from 'node:path';

const quietMilliseconds = 200;
const code = /\.(ts|sql|json|hbs|html|css)$/;

/**
 * Calls `onChange` with the changed paths (relative to `root`) once nothing has changed for a moment, and never twice
 * at once.
 */
export function watchCode(
  root: string,
  folders: string[],
  onChange: (paths: string[]) => Promise<void>,
): { close(): void } {
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
  const watchers = folders
    .filter((folder) => existsSync(join(root, folder)))
    .map((folder) =>
      watch(join(root, folder), { recursive: true }, (_event, name) => {
        if (name === null || !code.test(name)) return;
        changed.add(join(folder, name));
        clearTimeout(timer);
        timer = setTimeout(() => void flush(), quietMilliseconds);
      }).on('error', () => undefined),
    );
  return {
    close() {
      clearTimeout(timer);
      for (const watcher of watchers) watcher.close();
    },
  };
}
