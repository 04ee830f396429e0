import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Conductor } from '../../demo/conductor.ts';
import { DRIFT_KINDS, type DriftKind, isDriftKind } from '../../demo/drifts.ts';
import { failuresOf } from '../../demo/report.ts';
import { systemClock } from '../core/clock.ts';
import { EXIT, LeewayError } from '../core/errors.ts';
import { integerBelow, seededRandom, systemRandom } from '../core/random.ts';
import { writeWhole } from '../files/input.ts';
import { defineCommand, type Terminal, usage } from './command.ts';

/** The whole loop, live on this machine, with real processes. */
export const command = defineCommand({
  name: 'demo',
  summary: 'Runs the whole loop live on this machine: training, serving, faults, incidents, retraining, cost.',
  usage: 'demo [--ranks 4] [--slow-rank K] [--drift KIND] [--seed N] [--headless] [--exit] [--report FILE] [--port P]',
  examples: ['leeway demo', 'leeway demo --headless --exit --report report.json --drift rotate --slow-rank 2'],
  options: {
    ranks: { type: 'string', value: 'N', about: 'training processes, 3 to 7', default: '4' },
    'slow-rank': { type: 'string', value: 'K', about: 'the rank to slow down; random without it' },
    drift: { type: 'string', value: 'KIND', about: `${DRIFT_KINDS.join(', ')}; random without it` },
    seed: { type: 'string', value: 'N', about: 'repeats the random choices of an earlier run' },
    headless: { type: 'boolean', about: 'only one line a phase, for logs' },
    exit: { type: 'boolean', about: 'end when the loop is closed; exit 0 only when every planted thing was found' },
    report: { type: 'string', value: 'FILE', about: 'write what was found as JSON' },
    port: { type: 'string', value: 'P', about: 'port of the console; 0 takes a free one', default: '8787' },
  },
  drains: true,
  run: async ({ values, terminal }) => {
    const seed =
      values.seed === undefined ? integerBelow(systemRandom, 1_000_000) : whole('seed', values.seed, 0, 2 ** 31);
    const random = seededRandom(seed);
    const ranks = whole('ranks', values.ranks, 3, 7);
    const chosen = { rank: integerBelow(random, ranks), drift: integerBelow(random, DRIFT_KINDS.length) };
    const slow_rank =
      values['slow-rank'] === undefined ? chosen.rank : whole('slow-rank', values['slow-rank'], 0, ranks - 1);
    const drift = driftOf(values.drift) ?? DRIFT_KINDS[chosen.drift] ?? 'rotate';
    const port = whole('port', values.port, 0, 65_535);
    const directory = await mkdtemp(join(tmpdir(), 'leeway-demo-'));
    const started_ms = systemClock.elapsed_ms();
    const say = (text: string): void => {
      const at_s = ((systemClock.elapsed_ms() - started_ms) / 1000).toFixed(1).padStart(6);
      (values.headless ? terminal.err : terminal.out)(`${at_s} s  ${text}\n`);
    };
    say(`Demo with seed ${seed}: ${ranks} ranks, data in ${directory}`);
    const conductor = new Conductor({ ranks, slow_rank, drift, seed, port, directory, signal: terminal.signal, say });
    let code: number = EXIT.internal;
    try {
      code = await perform(conductor, { terminal, exit: values.exit, report: values.report });
      return code;
    } finally {
      await conductor.close();
      if (code === EXIT.done) await rm(directory, { recursive: true, force: true });
      else say(`Data and the service's log are kept in ${directory}`);
    }
  },
});

type Ending = { readonly terminal: Terminal; readonly exit: boolean; readonly report: string | undefined };

async function perform(conductor: Conductor, { terminal, exit, report }: Ending): Promise<number> {
  const { say, signal } = conductor.plan;
  let broken: string | null = null;
  try {
    await conductor.start();
    await conductor.deployFirst();
    await conductor.straggler();
    await conductor.drift();
    await conductor.retrain();
    if (!exit) await untilStopped(conductor);
    await conductor.settle();
  } catch (error) {
    if (signal.aborted) {
      if (!exit) return EXIT.done;
      broken = `stopped by ${String(signal.reason)} before the loop was closed`;
    } else {
      if (!(error instanceof LeewayError)) throw error;
      broken = error.message;
      await conductor.settle().catch((later: unknown) => say(`The accounts could not be closed: ${String(later)}`));
    }
  }
  const failures = [...(broken === null ? [] : [broken]), ...failuresOf(conductor.report)];
  if (report !== undefined)
    await writeWhole(resolve(terminal.cwd, report), `${JSON.stringify(conductor.report, null, 2)}\n`);
  for (const failure of failures) say(`FAILED: ${failure}`);
  if (failures.length === 0) say('Every planted fault was found, every record accounted for, every dollar attributed');
  return failures.length === 0 ? EXIT.done : EXIT.internal;
}

async function untilStopped(conductor: Conductor): Promise<void> {
  const { say, signal } = conductor.plan;
  say(`The loop is closed. Look around at ${conductor.url}; Ctrl-C ends the demo`);
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

function whole(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw usage('demo', `option --${name} is "${text}", expected a whole number from ${min} to ${max}`);
}

function driftOf(text: string | undefined): DriftKind | null {
  if (text === undefined) return null;
  if (isDriftKind(text)) return text;
  throw usage('demo', `option --drift is "${text}", expected one of ${DRIFT_KINDS.join(', ')}`);
}
