import type { Clock } from '../../core/clock.ts';
import { integerBelow, type Random } from '../../core/random.ts';
import { BatchMaker, type Marks, STEP_MS } from './marked-batch.ts';
import { FreshnessWatch, Reading } from './reading.ts';
import { Sending } from './sending.ts';
import { ServiceClient } from './service-client.ts';
import type { Target } from './target.ts';
import { compare, type Evidence, recordsOf } from './verdict.ts';

/** Source of all marked batches: one name, so that lists of sources gain one line; the epoch tells runs apart. */
export const SOURCE = 'selftest';

export type ProofOptions = {
  readonly target: () => Target;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  /** Batches sent at least, without the closing one. */
  readonly batches: number;
  /** Pause between two batches. */
  readonly pace_ms: number;
  /** What is sent must be acknowledged within so long, and all of it readable so long after the last batch. */
  readonly timeout_ms: number;
  /** Runs beside the sending, which goes on until it ends: the faults. */
  readonly meanwhile?: (signal: AbortSignal) => Promise<void>;
};

/** What a run has shown, to be judged (verdict.ts). */
export type Proof = Evidence & {
  readonly marks: Marks;
  readonly epoch: number;
  /** Of each batch from its first attempt to its acknowledgement. */
  readonly acknowledged_ms: readonly number[];
  /** Of each batch of steps from its acknowledgement to the first answer that held all of them. */
  readonly readable_ms: readonly number[];
  /** From the end of sending (and of the faults) until all that was acknowledged was stored. */
  readonly settled_after_ms: number;
  readonly reading: Reading;
};

/**
 * Sends marked batches through the real doors of a service, repeats among them, waits until they are stored and reads
 * everything back. Throws LeewayError where the service cannot be reached, refuses a batch or the token, or never answers.
 */
export async function prove(options: ProofOptions): Promise<Proof> {
  const { clock, random, target, batches, timeout_ms, pace_ms } = options;
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const name = { source: SOURCE, epoch: integerBelow(random, Number.MAX_SAFE_INTEGER) };
  const client = new ServiceClient({ target, ...name, clock, signal: options.signal });
  await client.requireReachable();
  const marks = marksOf(random, clock, batches);
  const reading = new Reading(client, clock, marks);
  const freshness = new FreshnessWatch(reading, clock);
  const sending = new Sending({
    client,
    maker: new BatchMaker(marks, random),
    clock,
    random,
    signal,
    patience_ms: timeout_ms,
    pace_ms,
    onAcknowledged: (sent) => freshness.add(sent),
  });
  const watching = freshness.run(signal);
  try {
    const { sent, figures } = sending;
    await sendWhile(sending, options, signal);
    const calm_ms = clock.elapsed_ms();
    const within = { until_ms: calm_ms + timeout_ms, signal };
    await reading.settled(name, recordsOf(sent), within);
    const settled_after_ms = clock.elapsed_ms() - calm_ms;
    await sending.finish();
    const account = await reading.settled(name, recordsOf(sent), {
      ...within,
      until_ms: clock.elapsed_ms() + timeout_ms,
    });
    const read = await reading.everything(clock.elapsed_ms() + timeout_ms);
    const acknowledged_ms = sent.map(({ acknowledged_after_ms }) => acknowledged_after_ms);
    const evidence = { sent, figures, account, read, comparison: compare(sent, read) };
    const measured = { acknowledged_ms, readable_ms: freshness.after_ms, settled_after_ms };
    return { ...evidence, ...measured, marks, epoch: name.epoch, reading };
  } finally {
    stop.abort();
    await watching.catch(() => undefined); // aborted under way: what it has seen is kept
  }
}

async function sendWhile(sending: Sending, { batches, meanwhile }: ProofOptions, signal: AbortSignal): Promise<void> {
  const state = { over: meanwhile === undefined };
  const disturbing = (meanwhile?.(signal) ?? Promise.resolve()).finally(() => {
    state.over = true;
  });
  await Promise.all([sending.run((sent) => sent < batches || !state.over), disturbing]);
}

function marksOf(random: Random, clock: Clock, batches: number): Marks {
  const run = integerBelow(random, 2 ** 32)
    .toString(16)
    .padStart(8, '0');
  // the times of the records lie in the past, all of them: ten steps a batch
  const start_ms = Math.floor(clock.now_ms()) - batches * 10 * STEP_MS;
  return { run, job: `selftest-${run}`, start_ms };
}
