import { randomBytes } from 'node:crypto';
import type { Census, Event } from './census.ts';
import type { PlantedBug } from './planted.ts';
import type { Verdict } from './run.ts';

/** One execution of a path by seed. */
export type Simulate = (seed: bigint, bug?: PlantedBug | null) => Promise<Verdict>;

const asked = process.env['LEEWAY_SEED'];
/** Seeds of all paths together: 2,000, or as many as LEEWAY_SEEDS says; LEEWAY_SEED alone replays that one. */
const SEEDS = Number(process.env['LEEWAY_SEEDS'] ?? 2_000);
/** By path, its share of the seeds: what a seed costs differs. */
const SHARES = { embedded: 0.45, kafka: 0.45, sidecar: 0.1 } as const;
export type Path = keyof typeof SHARES;
const FIRST = asked === undefined ? randomBytes(8).readBigUInt64LE() : BigInt(asked);
/** Fewer seeds need not meet every kind of fault. */
const CENSUS_SEEDS_MIN = 2_000;
const BUG_SEEDS_MAX = 200;

/** How many seeds a path has. */
export function seedsOf(path: Path): number {
  const isReplay = asked !== undefined && process.env['LEEWAY_SEEDS'] === undefined;
  return isReplay ? 1 : Math.ceil(SEEDS * SHARES[path]);
}

/** Milliseconds that a test over all seeds may take on a busy machine. */
export const timeout_ms = Math.max(300_000, SEEDS * 100);

/**
 * Runs `known` seeds and then those of the path, consecutive ones from a random one (LEEWAY_SEED: from that one); throws for the first
 * that goes wrong, with what happened last and how to see it again. Returns how often everything happened.
 */
export async function trial(path: Path, simulate: Simulate, known: readonly bigint[]): Promise<Census> {
  const sum: Census = new Map();
  const all = asked === undefined ? [...known] : [];
  for (let index = 0; index < seedsOf(path); index++) all.push(BigInt.asUintN(64, FIRST + BigInt(index)));
  for (const seed of all) {
    const verdict = await simulate(seed);
    if (verdict.wrong.length > 0) throw new Error(report(path, seed, verdict));
    for (const [event, count] of verdict.census) sum.set(event, (sum.get(event) ?? 0) + count);
  }
  return sum;
}

/** Of `expected`, what never happened; nothing where there were too few seeds to tell. */
export function missing(census: Census, expected: readonly Event[]): Event[] {
  return asked !== undefined || SEEDS < CENSUS_SEEDS_MIN ? [] : expected.filter((event) => !census.has(event));
}

/** The first seed from 1 on that `bug` makes go wrong, null when 200 do not. */
export async function findBug(simulate: Simulate, bug: PlantedBug): Promise<bigint | null> {
  for (let seed = 1n; seed <= BUG_SEEDS_MAX; seed++) if ((await simulate(seed, bug)).wrong.length > 0) return seed;
  return null;
}

function report(path: Path, seed: bigint, { wrong, trace }: Verdict): string {
  return [
    `seed ${seed} of the ${path} path:`,
    ...wrong.map((sentence) => `  ${sentence}`),
    'the last events (! is a fault):',
    ...trace.map((line) => `  ${line}`),
    'to see all of it again:',
    `  LEEWAY_SEED=${seed} LEEWAY_TRACE=2000 npx vitest run --project long test/simulation/${path}-path.test.ts`,
  ].join('\n');
}
