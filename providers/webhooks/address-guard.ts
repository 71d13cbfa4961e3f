import type { LookupAddress } from 'node:dns';
import { Resolver } from 'node:dns/promises';
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

/**
 * Resolves a name for the very connection that is being made, and fails where any of its addresses is not public: what was
 * checked is what is connected to, however the name changes meanwhile. Asks the name servers itself (those of the machine
 * unless told others), because `dns.lookup` waits in a thread of the few there are: names whose server is silent would keep
 * all others waiting.
 */
export const publicLookup =
  (nameServers?: string[]): LookupFunction =>
  (hostname, { all }, callback) => {
    callbackify(findPublicAddresses)(hostname, nameServers, (error, addresses) => {
      if (error) return callback(error, '', 0);
      const [{ address, family }] = addresses;
      if (all) callback(null, addresses);
      else callback(null, address, family);
    });
  };

export const lookupPublic = publicLookup();

async function findPublicAddresses(
  hostname: string,
  nameServers: string[] | undefined,
): Promise<[LookupAddress, ...LookupAddress[]]> {
  const [first, ...others] = isIP(hostname)
    ? [{ address: hostname, family: isIP(hostname) }]
    : await resolve(hostname, nameServers);
  if (!first || ![first, ...others].every(({ address }) => isPublicAddress(address))) {
    throw new AddressRefused();
  }
  return [first, ...others];
}

/** The addresses of a name, IPv4 first. A new resolver knows the machine's name servers of now. */
async function resolve(hostname: string, nameServers: string[] | undefined): Promise<LookupAddress[]> {
  if (isPrivateName(hostname)) throw new AddressRefused();
  const resolver = new Resolver(RESOLVER);
  if (nameServers) resolver.setServers(nameServers);
  const [v4, v6] = await Promise.allSettled([resolver.resolve4(hostname), resolver.resolve6(hostname)]);
  if (v4.status === 'rejected' && v6.status === 'rejected') throw v4.reason;
  return [
    ...(v4.status === 'fulfilled' ? v4.value.map((address) => ({ address, family: 4 })) : []),
    ...(v6.status === 'fulfilled' ? v6.value.map((address) => ({ address, family: 6 })) : []),
  ];
}
