import { loadConfig } from '../config.ts';
import { systemClock } from '../core/clock.ts';
import { EXIT, LeewayError } from '../core/errors.ts';
import { integerBelow, systemRandom } from '../core/random.ts';
import { defineCommand, usage } from './command.ts';
import { prove } from './selftest/proof.ts';
import { reportOf, type SelftestReport, textOf } from './selftest/report.ts';
import { type Target, targetOf } from './selftest/target.ts';
import { type FaultPlan, PACE_MS, proveThroughFaults } from './selftest/through-faults.ts';

/** Proof of the account on the user's own installation. */
export const command = defineCommand({
  name: 'selftest',
  summary: 'Proves on the running service that what is emitted is stored once or declared lost.',
  usage: 'selftest [--config FILE] [--url URL] [--read-url URL] [--token-file FILE] [--faults] [options]',
  examples: ['leeway selftest --config leeway.config.json', 'leeway selftest --faults --rounds 20 --seed 7'],
  options: {
    config: { type: 'string', value: 'FILE', about: 'configuration; without it leeway.config.json where it exists' },
    url: {
      type: 'string',
      value: 'URL',
      about: 'the service that takes records; else server.public_url or its address',
    },
    'read-url': {
      type: 'string',
      value: 'URL',
      about: 'the console that is read back from, where it is another process',
    },
    'token-file': {
      type: 'string',
      value: 'FILE',
      about: 'token with scopes ingest and read; else gateway.token_file',
    },
    batches: { type: 'string', value: 'N', about: 'batches to send, about 24 records each', default: '40' },
    timeout: { type: 'string', value: 'SECONDS', about: 'wait so long for an answer and for the store', default: '60' },
    faults: { type: 'boolean', about: 'start a service of its own and kill and stall its processes meanwhile' },
    rounds: { type: 'string', value: 'N', about: 'faults to inject, with --faults', default: '10' },
    seed: { type: 'string', value: 'N', about: 'with --faults: repeats the random choices of an earlier run' },
    format: { type: 'string', value: 'FORMAT', about: 'text or json', default: 'text' },
  },
  drains: true,
  run: async ({ values, terminal }) => {
    if (values.format !== 'text' && values.format !== 'json')
      throw usage('selftest', `unknown format "${values.format}", expected text or json`);
    const elsewhere = (['url', 'read-url', 'token-file'] as const).find((name) => values[name] !== undefined);
    if (values.faults && elsewhere !== undefined)
      throw usage(
        'selftest',
        `--faults starts a service of its own and kills nobody else's: it takes no --${elsewhere}`,
      );
    const loaded = await loadConfig({ path: values.config, cwd: terminal.cwd });
    const plan: FaultPlan = {
      batches: whole('batches', values.batches, 1, 100_000),
      timeout_ms: secondsOf('timeout', values.timeout) * 1_000,
      rounds: whole('rounds', values.rounds, 1, 10_000),
      seed: values.seed === undefined ? integerBelow(systemRandom, 2 ** 31) : whole('seed', values.seed, 0, 2 ** 31),
      terminal,
    };
    const report = await stoppable(terminal.signal, () =>
      values.faults
        ? proveThroughFaults(loaded, plan)
        : targetOf(loaded, { url: values.url, read_url: values['read-url'], token_file: values['token-file'] }).then(
            (target) => proveService(target, plan),
          ),
    );
    terminal.out(values.format === 'json' ? `${JSON.stringify(report)}\n` : textOf(report));
    if (report.proven) return EXIT.done;
    return (report.account?.in_flight ?? 0) > 0 && report.problems.length === 1 ? EXIT.unreachable : EXIT.internal;
  },
});

/** An interrupted proof has shown nothing: LW-TIMEOUT, exit 7. */
async function stoppable<Result>(signal: AbortSignal, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new LeewayError('LW-TIMEOUT', 'the selftest was stopped before it could judge; run it again', {
      cause: error,
    });
  }
}

async function proveService(target: Target, { batches, timeout_ms, terminal }: FaultPlan): Promise<SelftestReport> {
  const started_ms = systemClock.elapsed_ms();
  const proof = await prove({
    target: () => target,
    clock: systemClock,
    random: systemRandom, // marks of this run must not meet those of another
    signal: terminal.signal,
    batches,
    pace_ms: PACE_MS,
    timeout_ms,
  });
  const notes = [`what was sent stays until retention.raw_days is over: job ${proof.marks.job}, source selftest`];
  const duration_ms = systemClock.elapsed_ms() - started_ms;
  return reportOf({ proof, target, faults: null, notes, more: [], duration_ms });
}

function secondsOf(name: string, text: string): number {
  const value = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && value > 0 && value <= 86_400) return value;
  throw usage('selftest', `option --${name} is "${text}", expected seconds, more than 0 and at most 86400`);
}

function whole(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw usage('selftest', `option --${name} is "${text}", expected a whole number from ${min} to ${max}`);
}
