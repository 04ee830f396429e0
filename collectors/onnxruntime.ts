import { createHash } from 'node:crypto';
import Type from 'typebox';
import type { Clock } from '../src/core/clock.ts';
import { defineCollector, type OpenCollector } from '../src/core/define.ts';
import { reject } from '../src/core/outcome.ts';
import type { LeewayRecord, RecordOf } from '../src/core/records.ts';

/**
 * ONNX Runtime is watched from inside the process that serves it: wrap its sessions with `instrumentSession` and send
 * what it emits to the sidecar's socket or to `POST /v1/events`. There is nothing to poll from outside.
 */
export const collector = defineCollector({
  name: 'onnxruntime',
  about: 'ONNX Runtime sessions, wrapped inside the serving process (instrumentSession)',
  config: Type.Object({}),
  open: async (): Promise<OpenCollector> => ({
    collect: async () => reject('LW-NOT-FOUND', 'absent here: wrap the sessions in your server with instrumentSession'),
    [Symbol.asyncDispose]: async () => undefined,
  }),
});

/** What the wrapper needs of an `InferenceSession` of onnxruntime-node, -web or anything that runs alike. */
export type Session<Feeds, Outputs> = { run(feeds: Feeds): Promise<Outputs> };

/** One answer as monitoring sees it: named features, the prediction, and its scores where there are any. */
export type Described = {
  readonly features: Readonly<Record<string, number | string | boolean | null>>;
  readonly prediction: number | string | boolean;
  readonly scores?: readonly number[];
};

export type InstrumentOptions<Feeds, Outputs> = {
  readonly session: Session<Feeds, Outputs>;
  readonly model: string;
  readonly version: string;
  readonly replica: string;
  readonly node?: string;
  /** CPUExecutionProvider, CUDAExecutionProvider, … */
  readonly provider: string;
  readonly clock: Clock;
  readonly emit: (record: LeewayRecord) => void;
  readonly describe: (feeds: Feeds, outputs: Outputs) => Described;
  /** Rows of a batch; default 1. */
  readonly batchOf?: (feeds: Feeds) => number;
  /** Runs at the same time; more wait in line, and the wait is `queue_ms`. Default 1: a session on the CPU is one lane. */
  readonly concurrency?: number;
  /** Rows after which the feature edges freeze and edge counts begin. Default 500. */
  readonly edges_rows?: number;
  /** Told what `describe`, `batchOf` or `emit` throws: such a failure never reaches the caller of `run`. */
  readonly onError?: (error: unknown) => void;
};

export type InstrumentedSession<Feeds, Outputs> = {
  /** Runs like the session itself; its errors pass through and are counted. `observed: false` keeps it out of `prediction`. */
  run(feeds: Feeds, request: { readonly request_id: string; readonly observed?: boolean }): Promise<Outputs>;
  /** Emits the `inference` and `counts` records of the window since the last call: call it once a second and at the end. */
  flush(): void;
};

/** Bucket bounds of all durations, ms: 1–2–5 steps from 10 µs to 10 s, which keeps a quantile within a factor of 2.5. */
const DURATION_BOUNDS_MS = [
  0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000,
];
const BATCH_BOUNDS = [1, 2, 4, 8, 16, 32, 64, 128, 256];
/** Bins of an edge set: deciles. */
const EDGE_BINS = 10;
/** Requests that wait in line; above, the caller's own limit is missing and the run fails at once. */
const WAITING_MAX = 10_000;

/** Wraps a session: measures queue, compute and total time, batch and errors, and counts features at the edge. */
export function instrumentSession<Feeds, Outputs>(
  options: InstrumentOptions<Feeds, Outputs>,
): InstrumentedSession<Feeds, Outputs> {
  const { clock, emit, model, version } = options;
  const lanes = new Lanes(options.concurrency ?? 1);
  const window = new InferenceWindow(clock.now_ms());
  const edges = new EdgeCounter(options.edges_rows ?? 500);
  const observe = (request_id: string, { features, prediction, scores }: Described): void => {
    const at_ms = clock.now_ms();
    edges.add(features, at_ms);
    emit({
      type: 'prediction',
      model,
      version,
      request_id,
      at_ms,
      features: { ...features },
      prediction,
      ...(scores === undefined ? {} : { scores: [...scores] }),
    });
  };
  return {
    run: async (feeds, { request_id, observed = true }) => {
      const arrived_ms = clock.elapsed_ms();
      let outputs: Outputs;
      let started_ms: number;
      try {
        await lanes.enter();
        try {
          started_ms = clock.elapsed_ms();
          outputs = await options.session.run(feeds);
        } finally {
          lanes.leave();
        }
      } catch (error) {
        window.failed();
        throw error;
      }
      const ended_ms = clock.elapsed_ms();
      window.ran({ queue_ms: started_ms - arrived_ms, compute_ms: ended_ms - started_ms });
      try {
        window.batch(options.batchOf?.(feeds) ?? 1);
        if (observed) observe(request_id, options.describe(feeds, outputs));
      } catch (error) {
        options.onError?.(error); // watching must never cost the caller an answer that is there
      }
      return outputs;
    },
    flush: () => {
      const to_ms = clock.now_ms();
      const { replica, node, provider } = options;
      const inference = window.close(to_ms, {
        model,
        version,
        replica,
        provider,
        ...(node === undefined ? {} : { node }),
      });
      if (inference !== null) emit(inference);
      for (const counts of edges.close(to_ms, { model, version })) emit(counts);
    },
  };
}

/** A counting semaphore, first come first served. */
class Lanes {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(lanes: number) {
    this.#free = lanes;
  }

  async enter(): Promise<void> {
    if (this.#free > 0) {
      this.#free--;
      return;
    }
    if (this.#waiting.length >= WAITING_MAX)
      throw new RangeError(`more than ${WAITING_MAX} requests wait for the session`);
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free++;
    else next();
  }
}

class Histogram {
  readonly #bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = Array.from({ length: bounds.length + 1 }, () => 0);
  }

  add(value: number): void {
    const found = this.#bounds.findIndex((bound) => value <= bound);
    const bin = found < 0 ? this.#bounds.length : found;
    this.#counts[bin] = (this.#counts[bin] ?? 0) + 1;
    this.#sum += value;
  }

  record(): RecordOf<'inference'>['queue_ms'] {
    return { bounds: [...this.#bounds], counts: this.#counts, sum: this.#sum };
  }
}

type InferenceSubject = { model: string; version: string; replica: string; provider: string; node?: string };

/** The runs since the last flush. */
class InferenceWindow {
  #from_ms: number;
  #requests = 0;
  #errors = 0;
  #queue = new Histogram(DURATION_BOUNDS_MS);
  #compute = new Histogram(DURATION_BOUNDS_MS);
  #total = new Histogram(DURATION_BOUNDS_MS);
  #batch = new Histogram(BATCH_BOUNDS);

  constructor(from_ms: number) {
    this.#from_ms = from_ms;
  }

  ran(run: { queue_ms: number; compute_ms: number }): void {
    this.#requests++;
    this.#queue.add(run.queue_ms);
    this.#compute.add(run.compute_ms);
    this.#total.add(run.queue_ms + run.compute_ms);
  }

  batch(rows: number): void {
    this.#batch.add(rows);
  }

  failed(): void {
    this.#requests++;
    this.#errors++;
  }

  close(to_ms: number, subject: InferenceSubject): RecordOf<'inference'> | null {
    const window_ms = Math.max(0, to_ms - this.#from_ms);
    this.#from_ms = to_ms;
    if (this.#requests === 0) return null;
    const record: RecordOf<'inference'> = {
      type: 'inference',
      ...subject,
      at_ms: to_ms,
      window_ms,
      requests: this.#requests,
      errors: this.#errors,
      queue_ms: this.#queue.record(),
      compute_ms: this.#compute.record(),
      total_ms: this.#total.record(),
      batch: this.#batch.record(),
    };
    this.#requests = 0;
    this.#errors = 0;
    this.#queue = new Histogram(DURATION_BOUNDS_MS);
    this.#compute = new Histogram(DURATION_BOUNDS_MS);
    this.#total = new Histogram(DURATION_BOUNDS_MS);
    this.#batch = new Histogram(BATCH_BOUNDS);
    return record;
  }
}

type Edges = { readonly edges_id: string; readonly edges: readonly number[] };
type Tally = { counts: number[]; missing: number; n: number };

/** Features that are counted: as many as a `prediction` record may have fields. Later ones are passed over. */
const FEATURES_MAX = 1_000;

/**
 * Counts numeric features against edges that freeze after the first rows: what a fleet sends instead of every row. Of
 * each feature `n` = missing + the sum of its counts; NaN, infinities and other types are missing. Features that first
 * occur after the freeze are not counted. Memory after the freeze is constant: bins × features.
 */
class EdgeCounter {
  readonly #rows: number;
  #learning: Map<string, number[]> | null = new Map();
  #seen = 0;
  #edges: ReadonlyMap<string, Edges> = new Map();
  #tallies = new Map<string, Tally>();
  #from_ms = 0;

  constructor(rows: number) {
    this.#rows = rows;
  }

  add(features: Described['features'], at_ms: number): void {
    if (this.#learning !== null) return this.#learn(this.#learning, features, at_ms);
    for (const [name, { edges }] of this.#edges) {
      const tally = this.#tallies.get(name) ?? emptyTally(edges.length + 1);
      this.#tallies.set(name, tally);
      tally.n++;
      const value = Object.hasOwn(features, name) ? features[name] : null;
      if (!isNumber(value)) {
        tally.missing++;
        continue;
      }
      const found = edges.findIndex((edge) => value < edge);
      const bin = found < 0 ? edges.length : found;
      tally.counts[bin] = (tally.counts[bin] ?? 0) + 1;
    }
  }

  close(to_ms: number, subject: { model: string; version: string }): RecordOf<'counts'>[] {
    const from_ms = Math.min(this.#from_ms, to_ms); // the clock may have stepped back
    this.#from_ms = to_ms;
    const tallies = this.#tallies;
    this.#tallies = new Map();
    return [...tallies].map(([feature, tally]) => ({
      type: 'counts',
      ...subject,
      feature,
      edges_id: this.#edges.get(feature)?.edges_id ?? 'none',
      edges: [...(this.#edges.get(feature)?.edges ?? [])],
      from_ms,
      to_ms,
      ...tally,
    }));
  }

  #learn(learning: Map<string, number[]>, features: Described['features'], at_ms: number): void {
    for (const [name, value] of Object.entries(features)) {
      if (!isNumber(value)) continue;
      const values = learning.get(name);
      if (values !== undefined) values.push(value);
      else if (learning.size < FEATURES_MAX) learning.set(name, [value]);
    }
    if (++this.#seen < this.#rows) return;
    this.#edges = new Map([...learning].map(([name, values]) => [name, freezeEdges(name, values)]));
    this.#learning = null;
    this.#from_ms = at_ms;
  }
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

function emptyTally(bins: number): Tally {
  return { counts: Array.from({ length: bins }, () => 0), missing: 0, n: 0 };
}

/** Inner decile edges of `values` without repeats, named by their content: [edge, next edge) bins, open at both ends. */
function freezeEdges(name: string, values: readonly number[]): Edges {
  const sorted = values.toSorted((a, b) => a - b);
  const inner = Array.from(
    { length: EDGE_BINS - 1 },
    (_, index) => sorted[Math.floor(((index + 1) * sorted.length) / EDGE_BINS)],
  );
  const edges = [...new Set(inner.filter((edge): edge is number => edge !== undefined))];
  const digest = createHash('sha256')
    .update(JSON.stringify([name, edges]))
    .digest('hex');
  return { edges_id: digest.slice(0, 16), edges };
}
