/** Bytes used of /proc/meminfo: MemTotal − MemAvailable; null when one is missing. Source: proc_meminfo(5), KiB. */
export function memoryUsedBytes(meminfo: string): number | null {
  const total = kibibytes(meminfo, /^MemTotal:\s+(\d+) kB$/m);
  const available = kibibytes(meminfo, /^MemAvailable:\s+(\d+) kB$/m);
  return total === null || available === null || available > total ? null : (total - available) * 1024;
}

function kibibytes(text: string, pattern: RegExp): number | null {
  const match = pattern.exec(text);
  return match === null ? null : Number(match[1]);
}
