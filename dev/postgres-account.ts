import { spawnSync } from 'node:child_process';
import { chownSync, lstatSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { StartFailure } from './failure.ts';

/** How Postgres is run: as whoever we are, or, since it refuses root, in a user namespace or as another account. */
export interface PostgresAccount {
  readonly prefix: readonly string[];
  readonly uid?: number;
  readonly gid?: number;
}

const userNamespace: PostgresAccount = {
  prefix: ['unshare', '--user', '--map-user=65534', '--map-group=65534'],
};

/** Picks the first account that may run the binary and enter the folder that holds (or will hold) the data. */
export function choosePostgresAccount(dataDir: string, binary: string): PostgresAccount {
  if (process.getuid?.() !== 0) return { prefix: [] };
  const parent = dirname(dataDir);
  const account = candidates(dataDir, parent).find((candidate) => works(candidate, parent, binary));
  if (account) return account;
  throw new StartFailure(
    `Postgres refuses to run as root, and no other account may enter ${parent} and run it: start as an ordinary user, or set DATABASE_URL`,
  );
}

/** The command line that runs `binary` under the account. */
export function commandAs(account: PostgresAccount, binary: string, args: string[]): [string, string[]] {
  const [command = binary, ...rest] = [...account.prefix, binary, ...args];
  return [command, rest];
}

/** Gives the folder and all in it to the account, where the account is another user. */
export function giveTo(account: PostgresAccount, path: string): void {
  if (account.uid === undefined || account.gid === undefined) return;
  const entry = lstatSync(path);
  if (entry.uid !== account.uid) chownSync(path, account.uid, account.gid);
  if (entry.isDirectory()) for (const name of readdirSync(path)) giveTo(account, join(path, name));
}

function candidates(dataDir: string, parent: string): PostgresAccount[] {
  const data = statSync(dataDir, { throwIfNoEntry: false });
  if (data && data.uid !== 0) return [{ prefix: [], uid: data.uid, gid: data.gid }];
  const folder = statSync(parent);
  return [
    userNamespace,
    ...(folder.uid === 0 ? [] : [{ prefix: [], uid: folder.uid, gid: folder.gid }]),
    ...['postgres', 'nobody'].flatMap(accountNamed),
  ];
}

function accountNamed(name: string): PostgresAccount[] {
  try {
    const line = readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .find((entry) => entry.startsWith(`${name}:`));
    const [, , uid, gid] = line?.split(':') ?? [];
    return uid && gid ? [{ prefix: [], uid: Number(uid), gid: Number(gid) }] : [];
  } catch {
    return [];
  }
}

function works(account: PostgresAccount, folder: string, binary: string): boolean {
  const script = 'test -x "$1" && "$2" --version';
  const [command, args] = commandAs(account, 'sh', ['-c', script, 'sh', folder, binary]);
  const { uid, gid } = account;
  return (
    spawnSync(command, args, {
      stdio: 'ignore',
      ...(uid !== undefined && gid !== undefined ? { uid, gid } : {}),
    }).status === 0
  );
}
