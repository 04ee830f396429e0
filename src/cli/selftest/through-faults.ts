import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LoadedConfig } from '../../config.ts';
import { systemClock } from '../../core/clock.ts';
import { integerBelow, seededRandom } from '../../core/random.ts';
import { type Terminal, usage } from '../command.ts';
import { type FaultFigures, injectFaults } from './faults.ts';
import { Installation } from './installation.ts';
import { prove } from './proof.ts';
import { reportOf, type SelftestReport } from './report.ts';
import type { Target } from './target.ts';
import { judgeWhole } from './verdict.ts';

/** Between two batches: at 24 records a batch about 500 records a second, next to nothing for a service at work. */
export const PACE_MS = 50;

/** What the command line asks for. */
export type FaultPlan = {
  readonly batches: number;
  readonly timeout_ms: number;
  readonly rounds: number;
  readonly seed: number;
  readonly terminal: Terminal;
};

/**
 * The proof on a service of its own in a temporary directory, whose processes are killed and stalled meanwhile. The directory
 * is removed when everything is proven, else kept and named.
 */
export async function proveThroughFaults(loaded: LoadedConfig, plan: FaultPlan): Promise<SelftestReport> {
  if (process.platform === 'win32')
    throw usage('selftest', '--faults stops and continues processes, which this operating system cannot');
  const { terminal, rounds, seed } = plan;
  const directory = await mkdtemp(join(tmpdir(), 'leeway-selftest-'));
  const say = (text: string): void => terminal.err(`${text}\n`);
  say(`a service of its own in ${directory}; ${rounds} faults, seed ${seed}`);
  let proven = false;
  try {
    const report = await withInstallation(loaded, directory, plan);
    proven = report.proven;
    return report;
  } finally {
    if (proven) await rm(directory, { recursive: true, force: true });
    else say(`its data is kept in ${directory}`);
  }
}

async function withInstallation(loaded: LoadedConfig, directory: string, plan: FaultPlan): Promise<SelftestReport> {
  const { terminal, rounds, seed, batches, timeout_ms } = plan;
  const { signal } = terminal;
  const started_ms = systemClock.elapsed_ms();
  const { spool, retention } = loaded.config;
  const collectors = loaded.extensions.collectors.map(({ name }) => name);
  const settings = { spool, retention, collectors };
  await using installation = await Installation.prepare(directory, settings, { clock: systemClock, signal });
  installation.start();
  await installation.ready;
  const target = (): Target => ({ ingest_url: installation.url, read_url: installation.url, token: null });
  let figures: FaultFigures | null = null;
  const random = seededRandom(seed);
  const proof = await prove({
    target,
    clock: systemClock,
    random: seededRandom(integerBelow(random, 2 ** 32)),
    signal,
    batches,
    pace_ms: PACE_MS,
    timeout_ms,
    meanwhile: async (until) => {
      const say = (text: string): void => terminal.err(`fault ${text}\n`);
      figures = await injectFaults(installation, { rounds, random, clock: systemClock, signal: until, say });
    },
  });
  const more = judgeWhole(await proof.reading.account(null, systemClock.elapsed_ms() + timeout_ms));
  const faults = figures === null ? null : { ...(figures as FaultFigures), seed, rounds };
  const last = target();
  const code = await installation.stop();
  if (code !== 0) more.push({ what: 'exit code of the service at its end', expected: '0', got: String(code) });
  const duration_ms = systemClock.elapsed_ms() - started_ms;
  return reportOf({ proof, target: last, faults, notes: reachOf(loaded), more, duration_ms });
}

/** What killing an installation of its own says of the user's, and what it does not. */
function reachOf({ config: { bus, store, control, spool } }: LoadedConfig): string[] {
  const own =
    'covered: the doors, the spool, the embedded store and their recovery on this machine, with your spool settings';
  const foreign = [
    ...(bus.kind === 'embedded' ? [] : ['Kafka']),
    ...(store.kind === 'embedded' ? [] : ['ClickHouse']),
    ...(control.kind === 'sqlite' ? [] : ['PostgreSQL']),
  ];
  return [
    own,
    ...(foreign.length === 0
      ? []
      : [
          `not covered: your ${foreign.join(', ')}; run "leeway selftest" without --faults while you restart those yourself`,
        ]),
    `not covered: loss of power${spool.fsync ? '' : ' (spool.fsync is false: it may cost the last seconds)'}; killed processes lose nothing that the operating system holds`,
  ];
}
