import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { currentLoad, mem } from 'systeminformation';
import Type from 'typebox';
import { defineCollector, type OpenCollector } from '../src/core/define.ts';
import { ok } from '../src/core/outcome.ts';
import type { LeewayRecord } from '../src/core/records.ts';
import { type CpuTimes, cpuShares, parseProcStat } from '../src/formats/proc-stat.ts';

const config = Type.Object({
  /** Directories of the kernel, changed only by tests and by containers that mount the host's under another name. */
  proc_dir: Type.String({ default: '/proc' }),
  sys_dir: Type.String({ default: '/sys' }),
});

/** Network devices read per tick at most: a node has a handful, a container host may have thousands of veths. */
const DEVICES_MAX = 64;

/**
 * This machine: CPU and memory through systeminformation, iowait from /proc/stat, byte counters of its network devices
 * from /sys/class/net. What a platform does not have is left out with its reason, never 0.
 */
export const collector = defineCollector({
  name: 'host',
  about: 'CPU, memory, iowait and network counters of this machine',
  config,
  open: async ({ settings, clock, node }): Promise<OpenCollector> => {
    let before: CpuTimes | null = null;
    return {
      collect: async () => {
        const at_ms = clock.now_ms();
        const [times, memory, nics] = await Promise.all([
          readCpuTimes(settings.proc_dir),
          mem(),
          readNics(settings.sys_dir, node, at_ms),
        ]);
        const shares = times === null ? await loadWithoutProc() : before === null ? null : cpuShares(before, times);
        const first = times !== null && before === null;
        before = times;
        if (first) return ok([]);
        return ok([hostRecord(node, at_ms, shares, memory.total - memory.available), ...nics]);
      },
      [Symbol.asyncDispose]: async () => undefined,
    };
  },
});

type Shares = { readonly cpu_utilization: number; readonly iowait?: number };

function hostRecord(node: string, at_ms: number, shares: Shares | null, memory_used_bytes: number): LeewayRecord {
  const missing = [
    ...(shares === null ? [['cpu_utilization', 'lost'] as const] : []),
    ...(shares?.iowait === undefined ? [['iowait', shares === null ? 'lost' : 'unsupported'] as const] : []),
  ];
  return {
    type: 'host',
    node,
    at_ms,
    ...shares,
    memory_used_bytes,
    ...(missing.length > 0 ? { quality: Object.fromEntries(missing) } : {}),
  };
}

/** systeminformation's load where there is no /proc: it measures since its last call, iowait is not part of it. */
async function loadWithoutProc(): Promise<Shares> {
  const load = await currentLoad();
  return { cpu_utilization: Math.min(1, Math.max(0, load.currentLoad / 100)) };
}

async function readCpuTimes(proc_dir: string): Promise<CpuTimes | null> {
  const text = await readOr(join(proc_dir, 'stat'));
  return text === null ? null : parseProcStat(text);
}

async function readNics(sys_dir: string, node: string, at_ms: number): Promise<LeewayRecord[]> {
  const root = join(sys_dir, 'class', 'net');
  let devices: string[];
  try {
    devices = (await readdir(root))
      .filter((device) => device !== 'lo')
      .sort()
      .slice(0, DEVICES_MAX);
  } catch {
    return []; // no such tree on this platform: nothing to say, `nic` records simply do not come from here
  }
  return Promise.all(devices.map((device) => readNic(join(root, device, 'statistics'), { node, device, at_ms })));
}

async function readNic(
  folder: string,
  subject: { node: string; device: string; at_ms: number },
): Promise<LeewayRecord> {
  const [tx_bytes, rx_bytes] = await Promise.all(['tx_bytes', 'rx_bytes'].map((name) => readOr(join(folder, name))));
  const tx = counter(tx_bytes);
  const rx = counter(rx_bytes);
  const lost = [...(tx === null ? ['tx_bytes'] : []), ...(rx === null ? ['rx_bytes'] : [])];
  return {
    type: 'nic',
    ...subject,
    ...(tx === null ? {} : { tx_bytes: tx }),
    ...(rx === null ? {} : { rx_bytes: rx }),
    ...(lost.length > 0 ? { quality: Object.fromEntries(lost.map((name) => [name, 'lost'])) } : {}),
  };
}

function counter(text: string | null | undefined): number | null {
  return text !== null && text !== undefined && /^\d+\s*$/.test(text) ? Number(text) : null;
}

async function readOr(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return null; // the caller says which value is absent
  }
}
