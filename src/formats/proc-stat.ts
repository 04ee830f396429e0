/** Cumulative jiffies of all cores since boot, from the first line of Linux' /proc/stat. Source: proc_stat(5). */
export type CpuTimes = { readonly total: number; readonly idle: number; readonly iowait: number };

/** Parses /proc/stat; null when its first line is not the `cpu` line. Guest time is already inside user and nice. */
export function parseProcStat(text: string): CpuTimes | null {
  const match = /^cpu[ \t]+([\d \t]+)$/m.exec(text.slice(0, FIRST_LINE_MAX));
  if (match === null || match.index !== 0) return null;
  const fields = (match[1] ?? '').trim().split(/\s+/).slice(0, FIELDS).map(Number);
  if (fields.length < FIELDS_MIN) return null;
  const total = fields.reduce((sum, value) => sum + value, 0);
  return { total, idle: fields[3] ?? 0, iowait: fields[4] ?? 0 };
}

/** Eleven counters of at most 20 digits. */
const FIRST_LINE_MAX = 512;
/** user nice system idle iowait irq softirq steal; guest and guest_nice repeat what user and nice hold. */
const FIELDS = 8;
/** Up to iowait: what Linux has printed since 2.5.41. */
const FIELDS_MIN = 5;

/** Shares of [0, 1]; `iowait` null = unknown. */
export type CpuShares = { readonly cpu_utilization: number; readonly iowait: number | null };

/**
 * Share of time spent busy and waiting for storage between two readings; null when no time passed or it ran back.
 * iowait itself may run back (proc_stat(5)): then it is unknown, and the share busy is of the time that is known.
 */
export function cpuShares(before: CpuTimes, after: CpuTimes): CpuShares | null {
  const idle = after.idle - before.idle;
  const iowait = after.iowait - before.iowait;
  const busy = after.total - before.total - idle - iowait;
  const total = busy + idle + Math.max(0, iowait);
  if (total <= 0 || idle < 0 || busy < 0) return null;
  return { cpu_utilization: busy / total, iowait: iowait < 0 ? null : iowait / total };
}
