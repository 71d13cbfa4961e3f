import { homedir } from 'node:os';
import { join } from 'node:path';
import { isSet } from './ports.ts';

/** Where programs of a version are kept for all checkouts of this user. */
export function cacheFolder(name: string, version: string, env = process.env): string {
  const base = isSet(env, 'XDG_CACHE_HOME') ? (env['XDG_CACHE_HOME'] ?? '') : join(homedir(), '.cache');
  return join(base, 'holdfast', name, version);
}
