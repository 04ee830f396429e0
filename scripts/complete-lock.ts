/**
 * Completes package-lock.json after a change of dependencies: a registry that does not serve packages of foreign
 * platforms makes npm write a lock without them, and `npm ci` then refuses it. Adds each missing platform package by its
 * exact version, with `os` and `cpu` read from its name. The entries carry no integrity hash: a full registry adds it.
 * Use: `node scripts/complete-lock.ts` after `npm install`.
 */
import { readFileSync, writeFileSync } from 'node:fs';

type Entry = { version?: string; dev?: boolean; optionalDependencies?: Record<string, string> };
type Lock = { packages: Record<string, Entry & Record<string, unknown>> };

const PLATFORMS = [
  'linux',
  'darwin',
  'win32',
  'android',
  'freebsd',
  'openbsd',
  'netbsd',
  'openharmony',
  'sunos',
  'aix',
];
const PROCESSORS = ['x64', 'arm64', 'arm', 'ia32', 'ppc64', 'riscv64', 's390x', 'loong64', 'mips64el'];
/** Words in package names that npm spells otherwise. */
const SPELLINGS: Readonly<Record<string, string>> = {
  windows: 'win32',
  armhf: 'arm',
  ppc64le: 'ppc64',
  riscv64d: 'riscv64',
  loongarch64: 'loong64',
};

const file = process.argv[2] ?? 'package-lock.json';
const lock: Lock = JSON.parse(readFileSync(file, 'utf8'));
let added = 0;
for (const [path, entry] of Object.entries({ ...lock.packages })) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    if (lock.packages[`${path}/node_modules/${name}`] !== undefined) continue;
    if (lock.packages[`node_modules/${name}`] !== undefined) continue;
    const platform = platformOf(name);
    if (platform === null) continue;
    if (!/^\d+\.\d+\.\d+/.test(version)) throw new Error(`${name}: "${version}" is no exact version`);
    lock.packages[`node_modules/${name}`] = {
      version,
      cpu: [platform.cpu],
      ...(entry.dev === true ? { dev: true } : {}),
      optional: true,
      os: [platform.os],
      ...(platform.libc === null ? {} : { libc: [platform.libc] }),
    };
    added++;
  }
}
const sorted = Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1));
writeFileSync(file, `${JSON.stringify({ ...lock, packages: Object.fromEntries(sorted) }, null, 2)}\n`);
console.log(`${added} platform packages added to ${file}`);

/** What a name like `@scope/tool-linux-x64-musl` is for; null when it names no platform. */
function platformOf(name: string): { os: string; cpu: string; libc: string | null } | null {
  const words = (name.split('/').at(-1) ?? '').split('-').map((word) => SPELLINGS[word] ?? word);
  const os = PLATFORMS.find((known) => words.includes(known));
  const cpu = PROCESSORS.find((known) => words.includes(known));
  if (os === undefined || cpu === undefined) return null;
  const libc = words.includes('musl') ? 'musl' : words.includes('gnu') ? 'glibc' : null;
  return { os, cpu, libc: os === 'linux' ? libc : null };
}
