import { describe, expect, test } from 'vitest';
import { createEgress } from '../../src/transport/egress.ts';

const closed = createEgress({ allow_hosts: [], allow_cidrs: [], allow_http: false });
const wide = createEgress({ allow_hosts: ['inside.example'], allow_cidrs: ['0.0.0.0/0', '::/0'], allow_http: true });

/** Judges the host of a URL as literal address after WHATWG normalisation, as the client does. */
function literal(egress: typeof closed, host: string): boolean {
  const url = new URL(`https://${host}/`);
  return egress.allowsAddress(url, url.hostname.replace(/^\[(.*)\]$/, '$1'));
}

describe('addresses that are closed unless an operator opens them', () => {
  test.each([
    ['loopback', '127.0.0.1'],
    ['loopback, last', '127.255.255.254'],
    ['short form', '127.1'],
    ['decimal', '2130706433'],
    ['octal', '017700000001'],
    ['hexadecimal', '0x7f.1'],
    ['this host', '0.0.0.0'],
    ['this network', '0.1.2.3'],
    ['private 10', '10.0.0.1'],
    ['private 172.16', '172.16.0.1'],
    ['private 172.31', '172.31.255.255'],
    ['private 192.168', '192.168.1.1'],
    ['shared address space', '100.64.0.1'],
    ['benchmark', '198.18.0.1'],
    ['protocol assignments', '192.0.0.1'],
    ['documentation 1', '192.0.2.1'],
    ['documentation 2', '198.51.100.7'],
    ['documentation 3', '203.0.113.9'],
    ['multicast', '224.0.0.1'],
    ['reserved', '240.0.0.1'],
    ['broadcast', '255.255.255.255'],
    ['v6 loopback', '[::1]'],
    ['v6 unspecified', '[::]'],
    ['v6 mapped loopback', '[::ffff:127.0.0.1]'],
    ['v6 mapped loopback in hexadecimal', '[::ffff:7f00:1]'],
    ['v6 mapped private', '[::ffff:10.0.0.1]'],
    ['v6 compatible loopback', '[::7f00:1]'],
    ['NAT64 of a private address', '[64:ff9b::a00:1]'],
    ['local NAT64', '[64:ff9b:1::1]'],
    ['6to4 of loopback', '[2002:7f00:1::1]'],
    ['unique local', '[fd12:3456::1]'],
    ['unique local fc', '[fc00::1]'],
    ['v6 multicast', '[ff02::1]'],
    ['v6 documentation', '[2001:db8::1]'],
    ['Teredo', '[2001::1]'],
    ['discard', '[100::1]'],
  ])('%s: %s', (_name, host) => {
    expect(literal(closed, host)).toBe(false);
  });
});

describe('addresses that stay closed whatever is allowed', () => {
  test.each([
    ['cloud metadata', '169.254.169.254'],
    ['link-local', '169.254.1.1'],
    ['metadata in decimal', '2852039166'],
    ['mapped metadata', '[::ffff:169.254.169.254]'],
    ['mapped metadata in hexadecimal', '[::ffff:a9fe:a9fe]'],
    ['NAT64 of metadata', '[64:ff9b::a9fe:a9fe]'],
    ['6to4 of metadata', '[2002:a9fe:a9fe::1]'],
    ['v6 link-local', '[fe80::1]'],
    ['metadata over v6', '[fd00:ec2::254]'],
    ['metadata of another cloud', '100.100.100.200'],
    ['and of a third', '192.0.0.192'],
  ])('%s: %s', (_name, host) => {
    expect(literal(wide, host)).toBe(false);
  });

  test('also under a name that is allowed, and with a zone', () => {
    expect(wide.allowsAddress(new URL('https://inside.example/'), '169.254.169.254')).toBe(false);
    expect(wide.allowsAddress(new URL('https://inside.example/'), 'fe80::1%eth0')).toBe(false);
  });
});

test.each([
  '1.1.1.1',
  '8.8.8.8',
  '172.15.0.1',
  '172.32.0.1',
  '100.63.0.1',
  '100.128.0.1',
  '[2606:4700::1111]',
  '[::ffff:8.8.8.8]',
  '[64:ff9b::808:808]',
])('a public address is open: %s', (host) => {
  expect(literal(closed, host)).toBe(true);
});

test('an allowed network opens its addresses and no other', () => {
  const egress = createEgress({
    allow_hosts: [],
    allow_cidrs: ['10.1.0.0/16', 'fd00:7::/32', '192.168.7.7'],
    allow_http: false,
  });
  expect(['10.1.2.3', '192.168.7.7', '[fd00:7::1]', '[::ffff:10.1.2.3]'].map((host) => literal(egress, host))).toEqual([
    true,
    true,
    true,
    true,
  ]);
  expect(['10.2.0.1', '192.168.7.8', '[fd00:8::1]'].map((host) => literal(egress, host))).toEqual([
    false,
    false,
    false,
  ]);
});

test("an allowed host opens its own private addresses, with or without a port, and no other host's", () => {
  const egress = createEgress({
    allow_hosts: ['Inside.Example', 'ported.example:8443', '127.0.0.1'],
    allow_cidrs: [],
    allow_http: true,
  });
  const allowed = (url: string, address: string) => egress.allowsAddress(new URL(url), address);
  expect(allowed('https://inside.example./', '10.0.0.1')).toBe(true);
  expect(allowed('https://sub.inside.example/', '10.0.0.1')).toBe(false);
  expect(allowed('https://ported.example:8443/', '10.0.0.1')).toBe(true);
  expect(allowed('https://ported.example/', '10.0.0.1')).toBe(false);
  expect(allowed('http://127.0.0.1:9000/', '127.0.0.1')).toBe(true);
  expect(allowed('http://other.example:9000/', '127.0.0.1')).toBe(false);
});

test('http needs allow_http, other schemes and user names in addresses are never allowed', () => {
  expect(closed.allowsUrl(new URL('https://a.example/'))).toBe(true);
  expect(closed.allowsUrl(new URL('http://a.example/'))).toBe(false);
  expect(wide.allowsUrl(new URL('http://a.example/'))).toBe(true);
  for (const url of [
    'ftp://a.example/',
    'file:///etc/passwd',
    'data:text/plain,x',
    'https://user:pass@a.example/',
    'https://user@a.example/',
  ])
    expect(wide.allowsUrl(new URL(url)), url).toBe(false);
});

test.each(['10.0.0.0/33', 'ten', '10.0.0.0/-1', '10.0.0.0/x', '::/129', ''])('"%s" is no CIDR', (cidr) => {
  expect(() => createEgress({ allow_hosts: [], allow_cidrs: [cidr], allow_http: false })).toThrow(
    expect.objectContaining({ code: 'LW-CONFIG' }),
  );
});
