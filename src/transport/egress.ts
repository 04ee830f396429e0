import { BlockList, isIP } from 'node:net';
import { LeewayError } from '../core/errors.ts';

/** What operators allow beyond public addresses (contract: config.md `egress`). */
export type EgressSettings = {
  /** Names or literal addresses, with or without a port: their private addresses open. */
  readonly allow_hosts: readonly string[];
  readonly allow_cidrs: readonly string[];
  readonly allow_http: boolean;
};

/** A resolved address of a host. */
export type Address = { readonly address: string; readonly family: 4 | 6 };

/** Whether an address may be called. Never tells why not: that would make a map of the network. */
export type Egress = {
  /** The scheme, the form of the URL; addresses are judged by `address`. */
  readonly allowsUrl: (url: URL) => boolean;
  readonly allowsAddress: (url: URL, address: string) => boolean;
};

type Range = readonly [string, number, 'ipv4' | 'ipv6'];

/** Not of the public internet: IANA special-purpose registries (RFC 6890 and later), multicast and reserved. */
const PRIVATE: readonly Range[] = [
  ['0.0.0.0', 8, 'ipv4'],
  ['10.0.0.0', 8, 'ipv4'],
  ['100.64.0.0', 10, 'ipv4'],
  ['127.0.0.0', 8, 'ipv4'],
  ['169.254.0.0', 16, 'ipv4'],
  ['172.16.0.0', 12, 'ipv4'],
  ['192.0.0.0', 24, 'ipv4'],
  ['192.0.2.0', 24, 'ipv4'],
  ['192.88.99.0', 24, 'ipv4'],
  ['192.168.0.0', 16, 'ipv4'],
  ['198.18.0.0', 15, 'ipv4'],
  ['198.51.100.0', 24, 'ipv4'],
  ['203.0.113.0', 24, 'ipv4'],
  ['224.0.0.0', 4, 'ipv4'],
  ['240.0.0.0', 4, 'ipv4'],
];

/** Only 2000::/3 is handed out to the public; within it these are not, or hide an IPv4 address. */
const PUBLIC_V6: Range = ['2000::', 3, 'ipv6'];
const PRIVATE_V6: readonly Range[] = [
  ['2001::', 23, 'ipv6'],
  ['2001:db8::', 32, 'ipv6'],
  ['2002::', 16, 'ipv6'],
  ['3fff::', 20, 'ipv6'],
];

/** Link-local and the addresses where clouds keep credentials: closed whatever is allowed. */
const NEVER: readonly Range[] = [
  ['169.254.0.0', 16, 'ipv4'],
  ['100.100.100.200', 32, 'ipv4'],
  ['192.0.0.192', 32, 'ipv4'],
  ['fe80::', 10, 'ipv6'],
  ['fd00:ec2::254', 128, 'ipv6'],
  ['fd20:ce::254', 128, 'ipv6'],
];

/** Makes the guard. Throws LW-CONFIG for a CIDR that is none. */
export function createEgress(settings: EgressSettings): Egress {
  const closed = listOf(PRIVATE);
  const closed_v6 = listOf(PRIVATE_V6);
  const public_v6 = listOf([PUBLIC_V6]);
  const never = listOf(NEVER);
  const opened = listOf(settings.allow_cidrs.map(rangeOf));
  const hosts = new Set(settings.allow_hosts.map((host) => bare(host.toLowerCase())));
  const isPublic = (address: string, family: 'ipv4' | 'ipv6'): boolean =>
    family === 'ipv4' ? !closed.check(address) : public_v6.check(address, 'ipv6') && !closed_v6.check(address, 'ipv6');
  return {
    allowsUrl: (url) => {
      if (url.username !== '' || url.password !== '') return false;
      return url.protocol === 'https:' || (url.protocol === 'http:' && settings.allow_http);
    },
    allowsAddress: (url, written) => {
      const address = unwrapped(written.split('%')[0] ?? written);
      const kind = isIP(address);
      if (kind === 0) return false;
      const family = kind === 4 ? 'ipv4' : 'ipv6';
      if (never.check(address, family)) return false;
      if (isPublic(address, family) || opened.check(address, family)) return true;
      return hosts.has(hostOf(url)) || hosts.has(`${hostOf(url)}:${portOf(url)}`);
    },
  };
}

/** The host of a URL as it is resolved: no brackets, no dot at the end, lower case. */
export function hostOf(url: URL): string {
  return bare(url.hostname.toLowerCase());
}

function portOf(url: URL): string {
  return url.port !== '' ? url.port : url.protocol === 'https:' ? '443' : '80';
}

function bare(host: string): string {
  return host.replace(/^\[(.*)\]/, '$1').replace(/\.$/, '');
}

function listOf(ranges: readonly Range[]): BlockList {
  const list = new BlockList();
  for (const [network, prefix, family] of ranges) list.addSubnet(network, prefix, family);
  return list;
}

function rangeOf(cidr: string): Range {
  const [network = '', length] = cidr.split('/');
  const kind = isIP(network);
  const whole = kind === 4 ? 32 : 128;
  const prefix = length === undefined ? whole : /^\d{1,3}$/.test(length) ? Number(length) : Number.NaN;
  if (kind === 0 || !(prefix <= whole))
    throw new LeewayError('LW-CONFIG', `egress.allow_cidrs: "${cidr}" is no CIDR such as 10.1.0.0/16 or fd00:1::/48`, {
      errors: [{ path: 'egress.allow_cidrs', expected: 'a CIDR such as 10.1.0.0/16', got: cidr }],
    });
  return [network, prefix, kind === 4 ? 'ipv4' : 'ipv6'];
}

/** The IPv4 address inside an IPv6 one: mapped, compatible, NAT64 (RFC 6052) and 6to4 (RFC 3056). */
function unwrapped(address: string): string {
  if (isIP(address) !== 6) return address;
  const words = wordsOf(address);
  const prefix = words.slice(0, 6).join(':');
  const high = words[6] ?? 0;
  const low = words[7] ?? 0;
  if (prefix === '0:0:0:0:0:65535' || prefix === '100:65435:0:0:0:0') return dotted(high, low);
  if (prefix === '0:0:0:0:0:0' && high !== 0) return dotted(high, low);
  if (words[0] === 0x2002) return dotted(words[1] ?? 0, words[2] ?? 0);
  return address;
}

function dotted(high: number, low: number): string {
  return [high >> 8, high & 255, low >> 8, low & 255].join('.');
}

function wordsOf(address: string): number[] {
  const text = new URL(`http://[${address}]/`).hostname.slice(1, -1); // normalised: hexadecimal words only
  const [left = '', right] = text.split('::');
  const words = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((word) => Number.parseInt(word, 16));
  const head = words(left);
  const tail = right === undefined ? [] : words(right);
  return [...head, ...Array.from({ length: 8 - head.length - tail.length }, () => 0), ...tail];
}
