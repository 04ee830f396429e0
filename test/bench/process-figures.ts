import { readFileSync, writeFileSync } from 'node:fs';

/** Clock ticks a second of /proc/<pid>/stat on Linux. */
const TICKS_PER_S = 100;

/** CPU seconds of a process so far, in steps of 10 ms. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S;
}

function statusMb(pid: number, field: string): number {
  const match = new RegExp(`${field}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Math.round((Number(match?.[1] ?? 0) / 1024) * 10) / 10;
}

export function residentMb(pid: number): number {
  return statusMb(pid, 'VmRSS');
}

/** The most that was resident since `resetPeak`. */
export function peakMb(pid: number): number {
  return statusMb(pid, 'VmHWM');
}

/** Begins a new peak (proc(5), clear_refs 5). */
export function resetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}

/** The value below which `share` of the values lie. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
