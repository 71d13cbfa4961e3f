import type { LookupAddress } from 'node:dns';
import { lookup, NODATA, NOTFOUND, Resolver } from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import { isIP, type LookupFunction } from 'node:net';
import { callbackify } from 'node:util';
import ipaddr from 'ipaddr.js';

/** A webhook was not sent, because where it leads is not a place on the public Internet. */
export class AddressRefused extends Error {
  constructor() {
    super('The address is not a public one.');
    this.name = 'AddressRefused';
  }
}

/** Where plain services listen, which a webhook has no business with: below 1024 only those of HTTP. */
const isSanePort = (port: number): boolean => port === 80 || port === 443 || port >= 1024;

/** The only part of IPv6 that is on the public Internet. */
const GLOBAL_UNICAST = ipaddr.IPv6.parseCIDR('2000::/3');

/** Whether an address is on the public Internet; IPv6 ways to write an IPv4 address count as what they lead to. */
function isPublicAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.process(address);
  return parsed.range() === 'unicast' && (parsed instanceof ipaddr.IPv4 || parsed.match(GLOBAL_UNICAST));
}

/** Names that are not those of the public Internet. */
const isPrivateName = (name: string): boolean =>
  !name.includes('.') || /(^|\.)(localhost|local|internal)\.?$/i.test(name);

/** What stands against sending webhooks to this URL, without asking any name server; undefined for nothing. */
export function objectionTo(url: string, { allowPrivate }: { allowPrivate: boolean }): string | undefined {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    return 'This is not a URL';
  }
  const { protocol, hostname, port, username, password, hash } = parsed;
  if (protocol !== 'https:' && !(allowPrivate && protocol === 'http:'))
    return 'The URL must begin with https://';
  if (username !== '' || password !== '') return 'The URL must not name a user or a password';
  if (hash !== '') return 'The URL must not have a fragment';
  if (port !== '' && !isSanePort(Number(port))) return 'The port must be 80, 443, or above 1023';
  if (allowPrivate) return undefined;
  const host = hostname.replace(/^\[|\]$/g, '');
  const isPublic = ipaddr.isValid(host) ? isPublicAddress(host) : !isPrivateName(host);
  return isPublic ? undefined : 'The host must be a public one';
}

/** Per server: 2 s for the first try, 4 s for the second. */
const RESOLVER = { timeout: 2_000, tries: 2 };

/** How a connection finds an address. */
const lookupBy =
  (find: (hostname: string) => Promise<LookupAddress[]>): LookupFunction =>
  (hostname, { all }, callback) => {
    callbackify(find)(hostname, (error, addresses) => {
      if (error) return callback(error, '', 0);
      const { address, family } = addresses[0]!;
      if (all) callback(null, addresses);
      else callback(null, address, family);
    });
  };

/**
 * Resolves a name for the very connection that is being made, and fails where any of its addresses is not public: what was
 * checked is what is connected to, however the name changes meanwhile. Asks the name servers itself (those of the machine
 * unless told others), because `dns.lookup` waits in a thread of the few there are: names whose server is silent would keep
 * all others waiting.
 */
export const publicLookup = (nameServers?: string[]): LookupFunction =>
  lookupBy((hostname) => findPublicAddresses(hostname, nameServers));

/** The same for names that may lead anywhere; they may also be names that only this machine or its network has. */
export const anyLookup = (nameServers?: string[]): LookupFunction =>
  lookupBy((hostname) => findAddresses(hostname, nameServers));

export const lookupPublic = publicLookup();
export const lookupAny = anyLookup();

async function findPublicAddresses(
  hostname: string,
  nameServers: string[] | undefined,
): Promise<LookupAddress[]> {
  if (!isIP(hostname) && isPrivateName(hostname)) throw new AddressRefused();
  const addresses = isIP(hostname)
    ? [{ address: hostname, family: isIP(hostname) }]
    : await resolve(hostname, nameServers);
  if (addresses.length === 0 || !addresses.every(({ address }) => isPublicAddress(address))) {
    throw new AddressRefused();
  }
  return addresses;
}

async function findAddresses(hostname: string, nameServers: string[] | undefined): Promise<LookupAddress[]> {
  if (await isOwnName(hostname)) return await lookup(hostname, { all: true });
  try {
    return await resolve(hostname, nameServers);
  } catch (error) {
    if (!NO_SUCH_NAME.has((error as NodeJS.ErrnoException).code)) throw error;
    // The machine knows more: names are completed by the domains in which it searches.
    return await lookup(hostname, { all: true });
  }
}

const NO_SUCH_NAME = new Set<string | undefined>([NOTFOUND, NODATA]);
const HOSTS_FILE = '/etc/hosts';

/** Whether this machine or its network knows the name, so that no name server of somebody else is asked for it. */
async function isOwnName(hostname: string): Promise<boolean> {
  const name = hostname.toLowerCase();
  if (!name.includes('.') || name.endsWith('.localhost')) return true;
  const hosts = await readFile(HOSTS_FILE, 'utf8').catch(() => '');
  return hosts
    .split('\n')
    .some((line) => line.replace(/#.*/, '').toLowerCase().split(/\s+/).slice(1).includes(name));
}

/** The addresses of a name, IPv4 first. A new resolver knows the machine's name servers of now. */
async function resolve(hostname: string, nameServers: string[] | undefined): Promise<LookupAddress[]> {
  const resolver = new Resolver(RESOLVER);
  if (nameServers) resolver.setServers(nameServers);
  const [v4, v6] = await Promise.allSettled([resolver.resolve4(hostname), resolver.resolve6(hostname)]);
  if (v4.status === 'rejected' && v6.status === 'rejected') throw v4.reason;
  return [
    ...(v4.status === 'fulfilled' ? v4.value.map((address) => ({ address, family: 4 })) : []),
    ...(v6.status === 'fulfilled' ? v6.value.map((address) => ({ address, family: 6 })) : []),
  ];
}
