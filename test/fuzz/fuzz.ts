import { integerBelow, type Random, seededRandom } from '../../src/core/random.ts';
import { mutated } from './mutate.ts';

/** A decoder under test: what it is fed from and what it may answer. */
export type FuzzTarget = {
  /** Valid inputs, made by encoders of this repository. */
  readonly seeds: readonly Uint8Array[];
  /** Pieces that the format is made of. */
  readonly words?: readonly string[];
  /** Changes an input in the terms of its format: used for half of the inputs, before or instead of changes of bytes. */
  readonly reshape?: (bytes: Uint8Array, random: Random) => Uint8Array;
  /** Repairs checksums and lengths after a mutation, so that damage gets past the first check. */
  readonly repair?: (bytes: Uint8Array) => Uint8Array;
  /** Decodes. Returns a short word for the outcome; throws for anything that the decoder does not declare. */
  readonly run: (bytes: Uint8Array) => string;
};

export type FuzzFailure = {
  readonly kind: 'crash' | 'hang' | 'growth';
  readonly round: number;
  readonly reason: string;
  /** The input, base64; empty for growth. */
  readonly input: string;
};

export type FuzzReport = {
  readonly execs: number;
  readonly seconds: number;
  readonly execs_per_s: number;
  /** Different outcomes seen: inputs that led to a new one were kept and mutated on. */
  readonly outcomes: number;
  readonly slowest_ms: number;
  /** Live memory after a forced collection: at a quarter of the time and at the end. */
  readonly live_mb: readonly [quarter: number, end: number];
  readonly failures: readonly FuzzFailure[];
};

export type FuzzOptions = {
  readonly seed: number;
  readonly seconds: number;
  /** An input that takes longer, three times in a row, is a hang. Default 1 s. */
  readonly hang_ms?: number;
  /** Told of each input before it is decoded: what a watchdog shows of one that never ends. */
  readonly onInput?: (bytes: Uint8Array) => void;
};

const HANG_MS = 1_000;
/** Live memory may not grow by more between a quarter of the time and its end: decoders keep series and symbols up to their caps. */
const GROWTH_MB_MAX = 16;
/** Below this time the collector has not settled, and growth means nothing. */
const GROWTH_FROM_S = 20;
const CORPUS_MAX = 1_000;
const FAILURES_MAX = 20;
/** Inputs between two looks at the clock. */
const SLICE = 64;

/** Feeds `target` with mutations of its seeds for `seconds`. Equal seeds give equal inputs, as far as both get. */
export function fuzz(target: FuzzTarget, options: FuzzOptions): FuzzReport {
  const { seed, seconds, onInput, hang_ms = HANG_MS } = options;
  const random = seededRandom(seed);
  const corpus = [...target.seeds];
  const outcomes = new Set<string>();
  const failures: FuzzFailure[] = [];
  const fail = (failure: FuzzFailure): void => void (failures.length < FAILURES_MAX && failures.push(failure));
  for (const bytes of target.seeds) outcomes.add(target.run(bytes));
  const begun_ms = performance.now();
  const end_ms = begun_ms + seconds * 1_000;
  const isMeasured = seconds >= GROWTH_FROM_S && globalThis.gc !== undefined;
  let quarter_mb = Number.NaN;
  let slowest_ms = 0;
  let execs = 0;
  for (let now_ms = begun_ms; now_ms < end_ms; now_ms = performance.now()) {
    if (Number.isNaN(quarter_mb) && now_ms > begun_ms + seconds * 250) quarter_mb = liveMb();
    for (let slice = 0; slice < SLICE; slice++) {
      const bytes = nextInput(target, corpus, random);
      onInput?.(bytes);
      execs++;
      const { outcome, took_ms } = attempt(target, bytes);
      if (took_ms > slowest_ms) slowest_ms = took_ms;
      if (typeof outcome !== 'string')
        fail({ kind: 'crash', round: execs, reason: outcome.reason, input: base64(bytes) });
      else if (!outcomes.has(outcome)) {
        outcomes.add(outcome);
        if (corpus.length < CORPUS_MAX) corpus.push(bytes);
      }
      // the machine may have been busy elsewhere: only what is slow each time is the decoder's fault
      if (took_ms > hang_ms && [1, 2].every(() => attempt(target, bytes).took_ms > hang_ms))
        fail({ kind: 'hang', round: execs, reason: `${Math.round(took_ms)} ms`, input: base64(bytes) });
    }
  }
  const end_mb = liveMb();
  if (isMeasured && end_mb - quarter_mb > GROWTH_MB_MAX)
    fail({ kind: 'growth', round: execs, reason: `${quarter_mb} → ${end_mb} MB`, input: '' });
  const took_s = (performance.now() - begun_ms) / 1_000;
  return {
    execs,
    seconds: Math.round(took_s * 10) / 10,
    execs_per_s: Math.round(execs / took_s),
    outcomes: outcomes.size,
    slowest_ms: Math.round(slowest_ms * 10) / 10,
    live_mb: [quarter_mb, end_mb],
    failures,
  };
}

function nextInput(
  { words = [], reshape, repair }: FuzzTarget,
  corpus: readonly Uint8Array[],
  random: Random,
): Uint8Array {
  const way = integerBelow(random, 4);
  const isReshaped = reshape !== undefined && way < 2;
  const parent = corpus[integerBelow(random, corpus.length)];
  const own = isReshaped && parent !== undefined ? [reshape(parent, random)] : corpus;
  const input = isReshaped && way === 0 ? (own[0] ?? new Uint8Array()) : mutated(random, { corpus: own, words });
  return repair !== undefined && way % 2 === 0 ? repair(input) : input;
}

type Attempt = { readonly outcome: string | { readonly reason: string }; readonly took_ms: number };

function attempt(target: FuzzTarget, bytes: Uint8Array): Attempt {
  const begun_ms = performance.now();
  try {
    return { outcome: target.run(bytes), took_ms: performance.now() - begun_ms };
  } catch (error) {
    const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { outcome: { reason }, took_ms: performance.now() - begun_ms };
  }
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}

/** Megabytes that are alive; without `node --expose-gc`, those not yet collected as well. */
function liveMb(): number {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage(); // external includes array buffers
  return Math.round((heapUsed + external) / 1_048_576);
}

/** The words of a reason without its numbers and quotes: what makes two refusals the same. */
export function outcomeWord(...parts: readonly (string | number)[]): string {
  return parts
    .map((part) =>
      typeof part === 'number' ? Math.min(32, 32 - Math.clz32(part)) : part.replaceAll(/[0-9]+|".*"/g, '#'),
    )
    .join(' ')
    .slice(0, 200);
}
