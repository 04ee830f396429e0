import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { memoryUsedBytes } from '../../src/formats/proc-meminfo.ts';
import { parseNetDev } from '../../src/formats/proc-net-dev.ts';
import { cpuShares, parseProcStat } from '../../src/formats/proc-stat.ts';

const FIXTURES = path.resolve(import.meta.dirname, '../../../shared/data/collectors/procfs/proc');
const isThere = existsSync(FIXTURES);

test('the cpu line is summed without guest time, which user and nice hold already', () => {
  // user 10 + nice 1 + system 5 + idle 80 + iowait 2 + irq 1 + softirq 1 + steal 3 = 103; guest 7 and guest_nice 1 again
  const times = parseProcStat('cpu  10 1 5 80 2 1 1 3 7 1\ncpu0 10 1 5 80 2 1 1 3 7 1\nintr 12\n');
  expect(times).toEqual({ total: 103, idle: 80, iowait: 2 });
});

test.each([
  '',
  'cpu',
  'cpu  1 2 3 4',
  'cpu0 1 2 3 4 5 6 7 8\n',
  'intr 1\ncpu  1 2 3 4 5 6 7 8\n',
  'cpu  a b c d e\n',
  `cpu  ${'9'.repeat(600)}\n`,
])('text that does not begin with a whole cpu line has no times: %j', (text) => {
  expect(parseProcStat(text)).toBeNull();
});

test('shares are of the time that passed between two readings', () => {
  // 100 jiffies passed: 60 idle, 10 iowait, so 30 busy
  const before = { total: 1000, idle: 500, iowait: 50 };
  expect(cpuShares(before, { total: 1100, idle: 560, iowait: 60 })).toEqual({ cpu_utilization: 0.3, iowait: 0.1 });
  expect(cpuShares(before, { total: 1100, idle: 600, iowait: 50 })).toEqual({ cpu_utilization: 0, iowait: 0 });
  expect(cpuShares(before, { total: 1100, idle: 500, iowait: 50 })).toEqual({ cpu_utilization: 1, iowait: 0 });
});

test('iowait that runs back is unknown, never 0, and the share busy is of what is known', () => {
  // total +95 = idle +70, iowait −5, busy +30: busy is 30 of the 100 known
  const shares = cpuShares({ total: 1000, idle: 500, iowait: 50 }, { total: 1095, idle: 570, iowait: 45 });
  expect(shares).toEqual({ cpu_utilization: 0.3, iowait: null });
});

test('no share where no time passed, idle ran back or the counters began anew', () => {
  const before = { total: 1000, idle: 500, iowait: 50 };
  expect(cpuShares(before, before)).toBeNull();
  expect(cpuShares(before, { total: 1100, idle: 499, iowait: 50 })).toBeNull();
  expect(cpuShares(before, { total: 10, idle: 5, iowait: 0 })).toBeNull();
});

test('memory used is total less available, in bytes; without both it is unknown', () => {
  expect(memoryUsedBytes('MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:   400 kB\n')).toBe(600 * 1024);
  expect(memoryUsedBytes('MemTotal:       1000 kB\nMemFree: 1 kB\n')).toBeNull(); // kernels before 3.14
  expect(memoryUsedBytes('MemTotal: 10 kB\nMemAvailable: 11 kB\n')).toBeNull();
  expect(memoryUsedBytes('')).toBeNull();
});

test('devices of net/dev have the first and the ninth counter; headers and broken lines are passed over', () => {
  const text = [
    'Inter-|   Receive                                                |  Transmit',
    ' face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed',
    '  eth0:     648       8    0    0    0     0          0         0      438       5    0    0    0     0       0          0',
    'enp1s0:9007199254740991 1 2 3 4 5 6 7 12 1 2 3 4 5 6 7',
    'eth0:1: 1 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0',
    'short: 1 2 3',
    'eth9: a 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0',
  ].join('\n');
  expect(parseNetDev(text)).toEqual([
    { device: 'eth0', rx_bytes: 648, tx_bytes: 438 },
    { device: 'enp1s0', rx_bytes: 9_007_199_254_740_991, tx_bytes: 12 },
    { device: 'eth0:1', rx_bytes: 1, tx_bytes: 2 },
  ]);
});

test.skipIf(!isThere)('files of a real kernel are read as printed', () => {
  const read = (name: string): string => readFileSync(path.join(FIXTURES, name), 'utf8');
  // cpu  301854 612 111922 8979004 3552 2 3944 0 0 0
  expect(parseProcStat(read('stat'))).toEqual({
    total: 301854 + 612 + 111922 + 8979004 + 3552 + 2 + 3944,
    idle: 8979004,
    iowait: 3552,
  });
  expect(parseNetDev(read('net/dev'))).toContainEqual({ device: 'lo', rx_bytes: 1664039048, tx_bytes: 1664039048 });
  expect(parseNetDev(read('net/dev'))).toHaveLength(read('net/dev').trim().split('\n').length - 2);
  const [, available = ''] = /MemAvailable:\s+(\d+)/.exec(read('meminfo')) ?? [];
  expect(memoryUsedBytes(read('meminfo'))).toBe(available === '' ? null : (15666184 - Number(available)) * 1024);
});

test.skipIf(isThere)('SKIPPED: files of a real /proc are not beside the repository', () => undefined);
