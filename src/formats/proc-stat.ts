/** Cumulative jiffies of all cores since boot, from the first line of Linux' /proc/stat. Source: proc_stat(5). */
export type CpuTimes = { readonly total: number; readonly idle: number; readonly iowait: number };

/** Parses /proc/stat; null when its first line is not the `cpu` line. Guest time is already inside user and nice. */
export function parseProcStat(text: string): CpuTimes | null {
  const match = /^cpu\s+([\d ]+)/.exec(text);
  if (match === null) return null;
  const fields = (match[1] ?? '').trim().split(/\s+/).slice(0, 8).map(Number);
  if (fields.length < 5) return null;
  const total = fields.reduce((sum, value) => sum + value, 0);
  return { total, idle: fields[3] ?? 0, iowait: fields[4] ?? 0 };
}

/** Share of [0, 1] spent busy and waiting for storage between two readings; null when no time passed or it ran back. */
export function cpuShares(before: CpuTimes, after: CpuTimes): { cpu_utilization: number; iowait: number } | null {
  const total = after.total - before.total;
  const idle = after.idle - before.idle;
  const iowait = Math.max(0, after.iowait - before.iowait); // iowait may run back (proc_stat(5)): then it is unknown, not negative
  if (total <= 0 || idle < 0) return null;
  return {
    cpu_utilization: Math.min(1, Math.max(0, 1 - (idle + iowait) / total)),
    iowait: Math.min(1, iowait / total),
  };
}
