import { lookup } from 'node:dns';
import type { LookupFunction } from 'node:net';
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

/** Whether an address is on the public Internet; IPv6 ways to write an IPv4 address count as what they lead to. */
function isPublicAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  return ipaddr.process(address).range() === 'unicast';
}

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
  const isName = !ipaddr.isValid(host);
  if (
    isName
      ? !host.includes('.') || /(^|\.)(localhost|local|internal)\.?$/i.test(host)
      : !isPublicAddress(host)
  ) {
    return 'The host must be a public one';
  }
  return undefined;
}

/**
 * Resolves a name for the very connection that is being made, and fails where any of its addresses is not public: what was
 * checked is what is connected to, however the name changes meanwhile.
 */
export const lookupPublic: LookupFunction = (hostname, options, callback) => {
  lookup(hostname, { ...options, all: true }, (error, addresses) => {
    if (error) return callback(error, '', 0);
    const [first] = addresses;
    if (!first || !addresses.every(({ address }) => isPublicAddress(address))) {
      return callback(new AddressRefused(), '', 0);
    }
    if (options.all) callback(null, addresses);
    else callback(null, first.address, first.family);
  });
};
