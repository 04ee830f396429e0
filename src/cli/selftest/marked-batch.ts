import type { Random } from '../../core/random.ts';
import type { LeewayRecord, RecordOf } from '../../core/records.ts';
import type { ExactNumber } from '../../core/samples.ts';
import { exactDouble } from '../../formats/exact-number.ts';

/** What tells the rows of one proof apart from everything else in the store. */
export type Marks = {
  /** Eight hexadecimal digits, new in each run. */
  readonly run: string;
  /** Training job of the marked records. */
  readonly job: string;
  /** Time of the first record, Unix ms; the others follow in steps of STEP_MS. */
  readonly start_ms: number;
};

/** One sample as it was sent: `series` is the value of the label `part`. */
export type MarkedSample = { readonly series: string; readonly at_ms: number; readonly value: ExactNumber };

/** One batch as it is sent, byte for byte the same each time. */
export type MarkedBatch = {
  readonly sequence: number;
  readonly path: '/v1/events' | '/v1/metrics';
  readonly content_type: 'application/x-ndjson' | 'application/json';
  readonly body: string;
  /** Records or samples in the body. */
  readonly rows: number;
  /** Of them those that an earlier batch carries too: the store keeps one of each. */
  readonly copies: number;
  /** Rows that are read back and compared. */
  readonly steps: readonly RecordOf<'step'>[];
  readonly samples: readonly MarkedSample[];
};

/** The metric of the marked samples, and the label that carries the run. */
export const METRIC = 'leeway_selftest';
export const RUN_LABEL = 'leeway_selftest_run';
/** Series of a run: rows of the store as well, written with the first batch of samples. */
export const SERIES = ['a', 'b'] as const;

/** Every fourth batch is samples (OTLP), the others records. */
const SAMPLES_EVERY = 4;
const RANKS = 2;
const STEPS_A_BATCH = 10;
const POINTS_A_SERIES = 20;
const CHECKPOINT_EVERY = 5;
/** Time between two steps: 400 steps of the default run reach 8 s back. */
export const STEP_MS = 20;

/** Doubles that a careless path would change: signs of zero, infinities, the ends of the range, no short decimal form. */
const HARD_VALUES: readonly number[] = [
  0,
  -0,
  0.1 + 0.2,
  1 / 3,
  5e-324,
  2.2250738585072014e-308,
  1.7976931348623157e308,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  Number.MAX_SAFE_INTEGER,
  -123_456.789,
];

/**
 * Makes the batches of a run, numbered from 1; the same number gives the same batch. The job's ranks are alike and exit in
 * the closing batch, so that no detector finds anything in it.
 */
export class BatchMaker {
  readonly #marks: Marks;
  readonly #random: Random;
  #steps = 0;
  #points = 0;
  #last: RecordOf<'step'> | null = null;

  constructor(marks: Marks, random: Random) {
    this.#marks = marks;
    this.#random = random;
  }

  /** Batch `sequence`; call it with 1, 2, 3 … */
  make(sequence: number): MarkedBatch {
    return sequence % SAMPLES_EVERY === 0 ? this.#samples(sequence) : this.#records(sequence);
  }

  /** The last batch: the ranks exit, the job ends. */
  close(sequence: number): MarkedBatch {
    const { job } = this.#marks;
    const at_ms = this.#timeOf(this.#steps) + 1; // after the last heartbeats, whose state would count as well
    const exits = ranks().map((rank): LeewayRecord => {
      return { type: 'heartbeat', job, rank, at_ms, step: this.#steps, state: 'exited' };
    });
    const end: LeewayRecord = { type: 'phase', job, at_ms, phase: 'train', state: 'end' };
    return eventsOf({ sequence, records: [...exits, end], copies: 0 });
  }

  #records(sequence: number): MarkedBatch {
    const { job } = this.#marks;
    const records: LeewayRecord[] = sequence === 1 ? this.#opening() : [];
    const copies = this.#last !== null && sequence % CHECKPOINT_EVERY === 0 ? [this.#last] : [];
    for (let index = 0; index < STEPS_A_BATCH; index++) {
      this.#steps++;
      for (const rank of ranks()) records.push((this.#last = this.#step(rank)));
    }
    const at_ms = this.#timeOf(this.#steps);
    for (const rank of ranks())
      records.push({ type: 'heartbeat', job, rank, at_ms, step: this.#steps, state: 'running' });
    if (sequence % CHECKPOINT_EVERY === 0)
      records.push({ type: 'checkpoint', job, at_ms, step: this.#steps, durable: true, bytes: 2 ** 40 + sequence });
    return eventsOf({ sequence, records: [...copies, ...records], copies: copies.length });
  }

  #opening(): LeewayRecord[] {
    const { job, start_ms } = this.#marks;
    const placed = ranks().map((rank) => ({ rank, node: `${job}-node`, gpu: rank }));
    return [
      { type: 'job', job, at_ms: start_ms, world_size: RANKS, ranks: placed, team: 'leeway selftest' },
      { type: 'phase', job, at_ms: start_ms, phase: 'train', state: 'begin' },
    ];
  }

  /** Constant times, so that no rank is slow; everything else as awkward as JSON allows. */
  #step(rank: number): RecordOf<'step'> {
    const { job, run } = this.#marks;
    const step = this.#steps;
    const at_ms = this.#timeOf(step);
    const group = { group: 'dp', op: 'all_reduce', seq: step, bytes: 203_560, arrive_ms: at_ms - 3.5, end_ms: at_ms };
    const unknown = { leeway_selftest: { run, text: 'Δ 𝛴 "quoted" \\ \t', nothing: null, list: [1, 0.1, ''] } };
    return {
      type: 'step',
      job,
      rank,
      step,
      at_ms,
      duration_ms: STEP_MS,
      compute_ms: 12.1,
      data_ms: 1.3,
      tokens: Number.MAX_SAFE_INTEGER - step,
      loss: this.#random.next() * 10 ** (step % 30),
      grad_norm: step % 2 === 0 ? 5e-324 : 1.7976931348623157e308,
      phase: 'train',
      collectives: [group],
      ...unknown,
    };
  }

  #samples(sequence: number): MarkedBatch {
    const samples: MarkedSample[] = [];
    for (let index = 0; index < POINTS_A_SERIES; index++) {
      const at_ms = this.#marks.start_ms + this.#points++;
      for (const series of SERIES) {
        const hard = HARD_VALUES[(index + SERIES.indexOf(series)) % (2 * HARD_VALUES.length)];
        samples.push({ series, at_ms, value: exactDouble(hard ?? (this.#random.next() - 0.5) * 10 ** (index - 5)) });
      }
    }
    return {
      sequence,
      path: '/v1/metrics',
      content_type: 'application/json',
      body: JSON.stringify(otlpRequest(this.#marks.run, samples)),
      rows: samples.length,
      copies: 0,
      steps: [],
      samples,
    };
  }

  #timeOf(step: number): number {
    return this.#marks.start_ms + step * STEP_MS;
  }
}

function ranks(): number[] {
  return Array.from({ length: RANKS }, (_, rank) => rank);
}

function eventsOf(given: { sequence: number; records: readonly LeewayRecord[]; copies: number }): MarkedBatch {
  const { sequence, records, copies } = given;
  return {
    sequence,
    path: '/v1/events',
    content_type: 'application/x-ndjson',
    body: `${records.map((record) => JSON.stringify(record)).join('\n')}\n`,
    rows: records.length,
    copies,
    steps: records.slice(copies).filter((record) => record.type === 'step'),
    samples: [],
  };
}

/** ExportMetricsServiceRequest as OTLP/JSON: one gauge with a series a part. */
function otlpRequest(run: string, samples: readonly MarkedSample[]): object {
  const attributesOf = (part: string): object[] =>
    Object.entries({ [RUN_LABEL]: run, part }).map(([key, stringValue]) => ({ key, value: { stringValue } }));
  const dataPoints = samples.map(({ series, at_ms, value }) => ({
    attributes: attributesOf(series),
    timeUnixNano: `${at_ms}000000`,
    asDouble: value,
  }));
  return {
    resourceMetrics: [{ scopeMetrics: [{ metrics: [{ name: METRIC, unit: '1', gauge: { dataPoints } }] }] }],
  };
}
