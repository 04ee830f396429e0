import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { collector } from '../../collectors/host.ts';
import { ManualClock } from '../../src/core/clock.ts';
import type { OpenCollector } from '../../src/core/define.ts';
import type { LeewayRecord } from '../../src/core/records.ts';
import { describeCollector, openAt, type Place } from '../contract/collector.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const signal = new AbortController().signal;

type Machine = Place & {
  readonly clock: ManualClock;
  readonly root: string;
  readonly write: (file: string, text: string) => Promise<void>;
};

/** A tree of /proc and /sys whose jiffies go on by 60 idle, 10 iowait and 30 user with each `feed`. */
async function machine(): Promise<Machine> {
  const directory = await scratchDirectory();
  const clock = new ManualClock();
  const write = async (file: string, text: string): Promise<void> => {
    const target = path.join(directory.path, file);
    await mkdir(path.dirname(target), { recursive: true });
    await writeFile(target, text);
  };
  let ticks = 0;
  const feed = async (): Promise<void> => {
    ticks++;
    await write('proc/stat', `cpu  ${1000 + 30 * ticks} 0 0 ${5000 + 60 * ticks} ${100 + 10 * ticks} 0 0 0 0 0\n`);
    await clock.advance(1_000);
  };
  await feed();
  await write('proc/meminfo', 'MemTotal: 1000 kB\nMemAvailable: 400 kB\n');
  await write('proc/net/dev', netDev({ lo: [1, 1], eth0: [5_000, 7_000] }));
  await mkdir(path.join(directory.path, 'sys'), { recursive: true });
  return {
    root: directory.path,
    settings: { proc_dir: path.join(directory.path, 'proc'), sys_dir: path.join(directory.path, 'sys') },
    clock,
    write,
    feed,
    isHeld: async () => false, // files are closed with each reading
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  };
}

/** The text of net/dev for devices with [received, sent] bytes. */
function netDev(devices: Readonly<Record<string, readonly [number, number]>>): string {
  const lines = Object.entries(devices).map(([name, [rx, tx]]) => `${name}: ${rx} 0 0 0 0 0 0 0 ${tx} 0 0 0 0 0 0 0`);
  return ['Inter-| Receive | Transmit', ' face |bytes |bytes', ...lines, ''].join('\n');
}

async function read(opened: OpenCollector): Promise<readonly LeewayRecord[]> {
  const outcome = await opened.collect(signal);
  if (outcome.kind !== 'ok') throw new Error(outcome.reason);
  return outcome.value;
}

/** The records of the second reading: the first only remembers the jiffies. */
async function second(opened: OpenCollector, place: Machine): Promise<readonly LeewayRecord[]> {
  await read(opened);
  await place.feed();
  return read(opened);
}

describeCollector({ collector, present: machine });

test('shares come from two readings, memory and bytes from the last', async () => {
  await using place = await machine();
  await using opened = await openAt(collector, place);
  expect(await second(opened, place)).toEqual([
    {
      type: 'host',
      node: 'node-1',
      at_ms: place.clock.now_ms(),
      cpu_utilization: 0.3, // 30 of 100 jiffies
      iowait: 0.1,
      memory_used_bytes: 614_400, // 600 KiB
    },
    { type: 'nic', node: 'node-1', at_ms: place.clock.now_ms(), device: 'eth0', rx_bytes: 5_000, tx_bytes: 7_000 },
  ]);
});

test('the first reading tells no share, since there is nothing to compare with', async () => {
  await using place = await machine();
  await using opened = await openAt(collector, place);
  expect((await read(opened)).map(({ type }) => type)).toEqual(['nic']);
});

test('counters that stand still or run back leave the shares out as lost', async () => {
  await using place = await machine();
  await using opened = await openAt(collector, place);
  await read(opened);
  const [host] = await read(opened);
  expect(host).toMatchObject({ type: 'host', quality: { cpu_utilization: 'lost', iowait: 'lost' } });
  expect(host).not.toHaveProperty('cpu_utilization');
});

test('memory that cannot be read is lost and costs only itself', async () => {
  await using place = await machine();
  await rm(path.join(place.root, 'proc/meminfo'));
  await using opened = await openAt(collector, place);
  const [host] = await second(opened, place);
  expect(host).toMatchObject({ cpu_utilization: 0.3, quality: { memory_used_bytes: 'lost' } });
  expect(host).not.toHaveProperty('memory_used_bytes');
});

test('without /proc the load is asked elsewhere and iowait is unsupported', async () => {
  await using place = await machine();
  await rm(path.join(place.root, 'proc'), { recursive: true });
  await using opened = await openAt(collector, place);
  const [host, ...nics] = await read(opened);
  expect(host).toMatchObject({ type: 'host', quality: { iowait: 'unsupported' } });
  expect(Reflect.get(host ?? {}, 'memory_used_bytes')).toBeGreaterThan(0);
  expect(nics).toEqual([]);
});

test('of too many devices the physical ones are kept, wherever they stand', async () => {
  await using place = await machine();
  const virtual = Array.from({ length: 100 }, (_, index) => [`cali${index}`, [index, index]] as const);
  await place.write('proc/net/dev', netDev({ ...Object.fromEntries(virtual), enp1s0: [1, 2] }));
  await place.write('sys/devices/pci/net/enp1s0/device/vendor', '0x15b3\n');
  await mkdir(path.join(place.root, 'sys/class/net'), { recursive: true });
  await symlink('../../devices/pci/net/enp1s0', path.join(place.root, 'sys/class/net/enp1s0'));
  await using opened = await openAt(collector, place);
  const nics = (await second(opened, place)).filter(({ type }) => type === 'nic');
  expect(nics).toHaveLength(64);
  expect(nics[0]).toMatchObject({ device: 'enp1s0', rx_bytes: 1, tx_bytes: 2 });
});

test('ports of InfiniBand count words of four bytes; a counter that the card lacks is unsupported, not 0', async () => {
  await using place = await machine();
  const counters = 'sys/class/infiniband/mlx5_0/ports/1/counters';
  await place.write(`${counters}/port_xmit_data`, '1000\n');
  await place.write(`${counters}/port_rcv_data`, '250\n');
  await place.write('sys/class/infiniband/mlx5_1/ports/1/counters/port_xmit_data', 'N/A (no PMA)\n');
  await using opened = await openAt(collector, place);
  const ports = (await read(opened)).filter((record) => String(Reflect.get(record, 'device')).startsWith('mlx'));
  const at = { type: 'nic', node: 'node-1', at_ms: place.clock.now_ms() };
  expect(ports).toEqual([
    { ...at, device: 'mlx5_0/1', tx_bytes: 4_000, rx_bytes: 1_000, quality: { link_downed: 'unsupported' } },
    {
      ...at,
      device: 'mlx5_1/1',
      quality: { tx_bytes: 'unsupported', rx_bytes: 'unsupported', link_downed: 'unsupported' },
    },
  ]);
});

test('a device that comes later is found within a minute', async () => {
  await using place = await machine();
  await using opened = await openAt(collector, place);
  await read(opened);
  await place.write('sys/class/infiniband/mlx5_0/ports/1/counters/port_xmit_data', '1\n');
  await place.clock.advance(59_000);
  expect((await read(opened)).some((record) => Reflect.get(record, 'device') === 'mlx5_0/1')).toBe(false);
  await place.clock.advance(1_000);
  expect((await read(opened)).some((record) => Reflect.get(record, 'device') === 'mlx5_0/1')).toBe(true);
});
