import { readFile } from 'node:fs/promises';
import { LeewayError, systemCode } from '../core/errors.ts';
import { ok, type Outcome, reject, type RejectedFrame, retry } from '../core/outcome.ts';
import type { Delivery } from '../core/ports.ts';
import { SAMPLES } from '../core/tables.ts';
import type { Concurrency } from './concurrency.ts';
import { type Engine, EngineError } from './engine.ts';
import { MEMORY_CODE, POISON_CODES, PUSHBACK_CODES } from './engine-codes.ts';
import { frameSpans, lineageBlocks, type Span } from './frame-spans.ts';
import { insertAll, type Insertion, type Ledger, withIncoming } from './insertion.ts';
import { minutesOf } from './sample-times.ts';

/** Rows of one insert: below the 1,048,449 of a block, so that a day's rows are one part and appear at once. */
const INSERT_ROWS_MAX = 1_000_000;
/** Frames of one delivery that may be refused one by one (about 17 inserts each to find); beyond them all of it is. */
const REJECTED_FRAMES_MAX = 64;

/** A run of frames of one delivery. */
type Run = { readonly delivery: Delivery; readonly bytes: Buffer; readonly spans: readonly Span[] };

export type FrameInsertionOptions = {
  readonly engine: Engine;
  readonly ledger: Ledger;
  readonly concurrency: Concurrency;
  /** Told when a run is cut into halves, for lack of memory or to find the frame that cannot be read. */
  readonly onSplit: (reason: string) => void;
  /**
   * True: a frame that cannot be read is rejected by itself (Ok.rejected), for callers that set it aside. False: the delivery
   * is rejected, for callers that look for the frame themselves.
   */
  readonly isolate: boolean;
};

/**
 * Inserts deliveries of many writers on a server. Every row carries the lineage of its own frame, so it does not matter
 * in which company a frame comes again. What is too large for the server's memory, or holds a frame that it cannot read,
 * is cut into halves by frames.
 */
export class FrameInsertion implements Insertion {
  readonly #options: FrameInsertionOptions;

  constructor(options: FrameInsertionOptions) {
    this.#options = options;
  }

  async insert(delivery: Delivery, signal: AbortSignal): Promise<Outcome> {
    try {
      const bytes = await readFile(delivery.path);
      const spans = frameSpans(bytes, delivery.frames);
      if (spans === null || lineageBlocks(bytes, spans, delivery.table) === null)
        return reject('LW-STORE', `${delivery.path} does not hold the ${delivery.frames.length} frames announced`);
      const rejected: RejectedFrame[] = [];
      for (const run of runsOf(spans)) await this.#insertRun({ delivery, bytes, spans: run }, rejected, signal);
      return rejected.length === 0 ? ok(undefined) : { ...ok(undefined), rejected };
    } catch (error) {
      return this.#outcomeOf(error, signal);
    }
  }

  async #insertRun(run: Run, rejected: RejectedFrame[], signal: AbortSignal): Promise<void> {
    try {
      await this.#store(run, signal);
    } catch (error) {
      if (!(error instanceof EngineError) || !this.#isDivisible(error)) throw error;
      const [only] = run.spans;
      if (run.spans.length > 1) {
        this.#options.onSplit(`${run.spans.length} frames of ${run.delivery.table}: ${error.message}`);
        const middle = run.spans.length >> 1;
        for (const spans of [run.spans.slice(0, middle), run.spans.slice(middle)])
          await this.#insertRun({ ...run, spans }, rejected, signal);
        return;
      }
      if (error.engine_code === MEMORY_CODE || only === undefined || rejected.length === REJECTED_FRAMES_MAX)
        throw error;
      rejected.push({ lineage: only.header.lineage, code: 'LW-STORE', reason: error.message });
    }
  }

  async #store({ delivery, bytes, spans }: Run, signal: AbortSignal): Promise<void> {
    const { engine, ledger, concurrency } = this.#options;
    const frames = spans.map((span) => span.header);
    const rows = { table: delivery.table, frames, sample_lineage: 'lineage' } as const;
    await concurrency.acquire(signal);
    let end: 'ok' | 'pushback' | 'other' = 'other';
    try {
      await engine.write(async (session) => {
        const pieces = lineageBlocks(bytes, spans, delivery.table) ?? [];
        const { found, duplicates } = await withIncoming(session, () => insertAll(session, rows, { pieces }));
        const expected = frames.reduce((sum, frame) => sum + frame.rows, 0);
        if (found !== expected) throw new EngineError(0, `the engine read ${found} rows of ${expected}`);
        if (delivery.table === SAMPLES) await ledger.mark(session, minutesOf(bytesOf(bytes, spans)));
        await ledger.note(session, frames, duplicates);
      }, signal);
      end = 'ok';
    } catch (error) {
      if (isPushback(error)) end = 'pushback';
      throw error;
    } finally {
      concurrency.release(end);
    }
  }

  #isDivisible({ engine_code }: EngineError): boolean {
    return engine_code === MEMORY_CODE || (this.#options.isolate && POISON_CODES.has(engine_code));
  }

  #outcomeOf(error: unknown, signal: AbortSignal): Outcome {
    signal.throwIfAborted();
    const wait_ms = Math.max(100, this.#options.concurrency.wait_ms);
    if (error instanceof LeewayError) return retry(error.code, error.message, wait_ms);
    if (error instanceof EngineError)
      return POISON_CODES.has(error.engine_code)
        ? reject('LW-STORE', error.message)
        : retry('LW-STORE', error.message, wait_ms);
    const code = systemCode(error);
    if (code === null) throw error;
    return retry('LW-SPOOL-IO', `the delivery's file: ${code}`, wait_ms);
  }
}

/** The bytes of neighbouring frames. */
function bytesOf(bytes: Buffer, spans: readonly Span[]): Buffer {
  return bytes.subarray(spans[0]?.start ?? 0, spans.at(-1)?.end ?? 0);
}

function isPushback(error: unknown): boolean {
  if (error instanceof EngineError) return PUSHBACK_CODES.has(error.engine_code);
  return error instanceof LeewayError;
}

/** Cuts frames into runs of at most INSERT_ROWS_MAX rows (one frame at least). */
function runsOf(spans: readonly Span[]): Span[][] {
  const runs: Span[][] = [];
  let rows = Infinity;
  for (const span of spans) {
    rows += span.header.rows;
    if (rows > INSERT_ROWS_MAX) {
      runs.push([]);
      rows = span.header.rows;
    }
    runs.at(-1)?.push(span);
  }
  return runs;
}
