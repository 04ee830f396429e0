import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import Type from 'typebox';
import { defineCollector, type OpenCollector } from '../src/core/define.ts';
import { ok } from '../src/core/outcome.ts';
import type { LeewayRecord } from '../src/core/records.ts';
import { memoryUsedBytes } from '../src/formats/proc-meminfo.ts';
import { parseNetDev } from '../src/formats/proc-net-dev.ts';
import { type CpuShares, type CpuTimes, cpuShares, parseProcStat } from '../src/formats/proc-stat.ts';

const config = Type.Object({
  /** Directories of the kernel, changed only by tests and by containers that mount the host's under another name. */
  proc_dir: Type.String({ default: '/proc' }),
  sys_dir: Type.String({ default: '/sys' }),
});

/** Network devices told per tick at most, physical ones first: a node has a handful, a container host thousands of veths. */
const DEVICES_MAX = 64;
/** InfiniBand ports read per tick at most: 8 adapters with two ports. */
const PORTS_MAX = 16;
/** Which devices there are, and which of them are physical, is looked up this often. */
const DEVICES_MS = 60_000;

/**
 * This machine: CPU, iowait, memory and network bytes from /proc, bytes and link failures of InfiniBand ports from
 * /sys/class/infiniband; where there is no /proc, CPU and memory through systeminformation. What a platform does not
 * have is left out with its reason, never 0. Shares need two readings, so the first one tells nothing.
 */
export const collector = defineCollector({
  name: 'host',
  about: 'CPU, memory, iowait and network counters of this machine',
  config,
  open: async ({ settings, clock, node }): Promise<OpenCollector> => {
    let before: CpuTimes | null = null;
    let devices: Devices = { physical: new Set(), ports: [] };
    let looked_ms = Number.NEGATIVE_INFINITY;
    return {
      collect: async () => {
        const at_ms = clock.now_ms();
        if (clock.elapsed_ms() - looked_ms >= DEVICES_MS) {
          devices = await lookForDevices(settings.sys_dir);
          looked_ms = clock.elapsed_ms();
        }
        const [stat, meminfo, netDev, ports] = await Promise.all([
          readOr(join(settings.proc_dir, 'stat')),
          readOr(join(settings.proc_dir, 'meminfo')),
          readOr(join(settings.proc_dir, 'net', 'dev')),
          Promise.all(devices.ports.map((port) => readPort(port, { node, at_ms }))),
        ]);
        const nics = [...nicRecords(netDev ?? '', devices.physical, { node, at_ms }), ...ports];
        const times = stat === null ? null : parseProcStat(stat);
        if (times === null && stat === null) return ok([await hostWithoutProc(node, at_ms), ...nics]);
        const isFirst = before === null;
        const shares = before === null || times === null ? null : cpuShares(before, times);
        before = times;
        if (isFirst) return ok(nics);
        return ok([hostRecord({ node, at_ms }, shares, meminfo === null ? null : memoryUsedBytes(meminfo)), ...nics]);
      },
      [Symbol.asyncDispose]: async () => undefined,
    };
  },
});

type At = { readonly node: string; readonly at_ms: number };

function hostRecord(at: At, shares: CpuShares | null, memory_used_bytes: number | null): LeewayRecord {
  const { cpu_utilization = null, iowait = null } = shares ?? {};
  return { type: 'host', ...at, ...present({ cpu_utilization, iowait, memory_used_bytes }, 'lost') };
}

/** The values that are there, and the reason for the others in `quality`. */
function present(
  values: Readonly<Record<string, number | null>>,
  reason: string,
): Record<string, number | Record<string, string>> {
  const entries = Object.entries(values);
  const absent = entries.flatMap(([name, value]) => (value === null ? [[name, reason]] : []));
  return {
    ...Object.fromEntries(entries.flatMap(([name, value]) => (value === null ? [] : [[name, value]]))),
    ...(absent.length > 0 ? { quality: Object.fromEntries(absent) } : {}),
  };
}

/** systeminformation's figures where there is no /proc: load since its last call, iowait is not part of it. */
async function hostWithoutProc(node: string, at_ms: number): Promise<LeewayRecord> {
  const { currentLoad, mem } = await import('systeminformation'); // 6 MB that Linux does not need
  const [load, memory] = await Promise.all([currentLoad(), mem()]);
  return {
    type: 'host',
    node,
    at_ms,
    cpu_utilization: Math.min(1, Math.max(0, load.currentLoad / 100)),
    memory_used_bytes: Math.max(0, memory.total - memory.available),
    quality: { iowait: 'unsupported' },
  };
}

type Port = { readonly device: string; readonly counters: string };
type Devices = { readonly physical: ReadonlySet<string>; readonly ports: readonly Port[] };

async function lookForDevices(sys_dir: string): Promise<Devices> {
  const net = join(sys_dir, 'class', 'net');
  const physical = new Set<string>();
  for (const device of await listOr(net))
    if ((await listOr(join(net, device, 'device'))).length > 0) physical.add(device);
  const fabric = join(sys_dir, 'class', 'infiniband');
  const ports: Port[] = [];
  for (const device of await listOr(fabric))
    for (const port of await listOr(join(fabric, device, 'ports')))
      ports.push({ device: `${device}/${port}`, counters: join(fabric, device, 'ports', port, 'counters') });
  return { physical, ports: ports.slice(0, PORTS_MAX) };
}

function nicRecords(text: string, physical: ReadonlySet<string>, at: At): LeewayRecord[] {
  const devices = parseNetDev(text).filter(({ device }) => device !== 'lo');
  const first = devices.filter(({ device }) => physical.has(device));
  const others = devices.filter(({ device }) => !physical.has(device));
  return [...first, ...others].slice(0, DEVICES_MAX).map((counters) => ({ type: 'nic', ...at, ...counters }));
}

/** One port of an adapter. Data counters count words of four bytes (IBTA 1.3 §16.1.3.5), whatever the lane count. */
async function readPort({ device, counters }: Port, at: At): Promise<LeewayRecord> {
  const read = async (name: string): Promise<number | null> => counter(await readOr(join(counters, name)));
  const [sent, received, link_downed = null] = await Promise.all(
    ['port_xmit_data', 'port_rcv_data', 'link_downed'].map(read),
  );
  return {
    type: 'nic',
    ...at,
    device,
    ...present({ tx_bytes: words(sent), rx_bytes: words(received), link_downed }, 'unsupported'),
  };
}

function words(count: number | null | undefined): number | null {
  return count === null || count === undefined ? null : count * 4;
}

function counter(text: string | null): number | null {
  return text !== null && /^\d+\s*$/.test(text) ? Number(text) : null;
}

async function readOr(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return null; // the caller says which value is absent
  }
}

/** The names in a directory, sorted; none where it is not there. */
async function listOr(path: string): Promise<string[]> {
  try {
    return (await readdir(path)).sort();
  } catch {
    return []; // no such tree on this platform: such records simply do not come from here
  }
}
