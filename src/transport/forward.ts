import { type Clock, every } from '../core/clock.ts';
import { LeewayError, systemCode } from '../core/errors.ts';
import { ok, type Outcome, reject, retry } from '../core/outcome.ts';
import type { Bus, Delivery } from '../core/ports.ts';
import type { Random } from '../core/random.ts';
import { SAMPLES } from '../core/tables.ts';
import type { LinkFrame, LinkGap } from '../formats/link-batch.ts';
import { decodeRecords } from '../formats/record-columns.ts';
import type { LeewayRecord } from '../core/records.ts';
import type { SpoolDisk } from './disk.ts';
import type { GatewayLink } from './forward-link.ts';
import type { ForwardLog, ForwardLossReason } from './forward-log.ts';
import { bodyOf, type FoundFrame, scanFrames } from './frame.ts';

/** What happened on the way to the gateway, for the log. */
export type ForwardEvent =
  | { readonly kind: 'forward_waiting' | 'forward_reaching'; readonly reason: string }
  | { readonly kind: 'forward_lost'; readonly source: string; readonly records: number; readonly reason: string };

export type ForwardOptions = {
  /** The sidecar's spool. */
  readonly bus: Bus;
  readonly log: ForwardLog;
  readonly link: GatewayLink;
  readonly disk: SpoolDisk;
  readonly clock: Clock;
  readonly random: Random;
  /** Names this process in totals that start at 0 with it. */
  readonly run: string;
  /** Totals of what was given up beside the spool and the log: by publishers of this process. */
  readonly losses: () => readonly LinkGap[];
  /** Ends what is under way: the end of draining. */
  readonly cut: AbortSignal;
  readonly onEvent: (event: ForwardEvent) => void;
};

/** A message: an hour of one collector's seconds, or one large batch. About 2 MB to decode and 0.1 s at the gateway. */
const MESSAGE_FRAMES_MAX = 3_600;
const MESSAGE_ROWS_MAX = 5_000;
const MESSAGE_BYTES_MAX = 4 * 1_048_576;
const RETRY_MS_MIN = 250;
const RETRY_MS_MAX = 5_000;
/** A fleet that lost its gateway must not come back in step. */
const JITTER = 0.2;
/** What was given up is declared within this time, also when there is nothing else to send. */
const DECLARE_MS = 5_000;
/** Totals that one message may declare; the rest goes with the next. */
const GAPS_MAX = 256;

type Loss = ReturnType<ForwardLog['lost']>[number];
/** What sending a delivery goes by, and where it notes what is lost. */
type Under = { readonly signal: AbortSignal; readonly lost: Loss[]; readonly without_gaps?: true };

/**
 * Sends what the spool holds to the gateway, oldest first, under the names that it has there, and lets the spool forget it
 * when the gateway has it durably and that is noted in the log. What the gateway will never take is declared lost, alone.
 */
export class Forwarder {
  readonly #options: ForwardOptions;
  /** Totals that the gateway has acknowledged, by name. */
  readonly #told = new Map<string, number>();
  #isReaching = true;

  constructor(options: ForwardOptions) {
    this.#options = options;
  }

  /** Whether the last attempt to send reached the gateway. */
  get isReaching(): boolean {
    return this.#isReaching;
  }

  /** Runs until `signal` fires; a message under way ends with `cut`. */
  async run(signal: AbortSignal): Promise<void> {
    const { bus, clock } = this.#options;
    const declaring = every(clock, DECLARE_MS, () => this.declare(), {
      signal,
      onError: (error) => this.#waiting(String(error)),
    });
    await bus.consume((delivery) => this.#forward(delivery, signal), signal);
    await declaring;
  }

  /** Tells a gateway that answers what has grown since it was last told. */
  async declare(): Promise<void> {
    const gaps = this.#news();
    if (gaps.length === 0 || !this.#isReaching) return;
    const sent = await this.#options.link.send({ frames: [], gaps }, this.#options.cut);
    if (sent.kind === 'ok' && sent.value.declared) this.#tell(gaps);
  }

  async #forward(delivery: Delivery, signal: AbortSignal): Promise<Outcome> {
    const { disk, log } = this.#options;
    const { table } = delivery;
    if (table === SAMPLES) return reject('LW-DELIVERY', 'a sidecar forwards records, and these are samples');
    const lost: Loss[] = [];
    const highest = new Map<string, number>();
    try {
      const bytes = await disk.read(delivery.path);
      for (const found of messagesOf(scanFrames(bytes, table).frames)) {
        const frames = found.flatMap((frame) => this.#decode(bytes, frame, lost));
        if (!(await this.#deliver(frames, { signal, lost })))
          return retry('LW-UNREACHABLE', 'not sent before the end', 0);
        for (const { header } of found)
          if (header.epoch === log.epoch)
            highest.set(header.source, Math.max(header.sequence, highest.get(header.source) ?? 0));
      }
      await log.append(highest, lost);
    } catch (error) {
      if (error instanceof LeewayError) return retry(error.code, error.message); // half of a batch found no room
      const code = systemCode(error);
      if (code === null) throw error;
      return retry('LW-SPOOL-IO', `${delivery.path}: ${code}`);
    }
    return ok(undefined);
  }

  #decode(bytes: Buffer, frame: FoundFrame, lost: Loss[]): LinkFrame<LeewayRecord>[] {
    const { source, epoch, sequence, table, rows } = frame.header;
    const records = table === SAMPLES ? null : decodeRecords(table, bodyOf(bytes, frame), rows);
    if (records === null) {
      lost.push(this.#lose({ source, epoch, sequence, records: rows }, 'undecodable', 'its columns are not readable'));
      return [];
    }
    return [{ source, epoch, sequence, records: records as readonly object[] as LeewayRecord[] }]; // they were validated when they came in
  }

  /** Sends until the gateway has all of it or will never take the rest; false when the end came first. */
  async #deliver(frames: readonly LinkFrame<LeewayRecord>[], under: Under): Promise<boolean> {
    if (frames.length === 0) return true;
    const gaps = under.without_gaps === true ? [] : this.#news();
    const outcome = await this.#untilJudged({ frames, gaps }, under.signal);
    if (outcome.kind === 'retry') return false;
    if (outcome.kind === 'ok') {
      if (outcome.value.declared) this.#tell(gaps);
      return true;
    }
    if (gaps.length > 0) return this.#deliver(frames, { ...under, without_gaps: true }); // no record is lost for them
    const [only] = frames;
    if (frames.length === 1 && only !== undefined) return this.#deliverRefused(only, outcome, under);
    const half = Math.ceil(frames.length / 2);
    return (await this.#deliver(frames.slice(0, half), under)) && this.#deliver(frames.slice(half), under);
  }

  /** A batch that was refused: too large, its second half gets a number of its own; else it is lost. */
  async #deliverRefused(
    frame: LinkFrame<LeewayRecord>,
    { code, reason }: { readonly code: string; readonly reason: string },
    under: Under,
  ): Promise<boolean> {
    const { records, source } = frame;
    const half = Math.ceil(records.length / 2);
    if (code !== 'LW-BODY-SIZE' || records.length === 1) {
      const why = code === 'LW-BODY-SIZE' ? 'gateway_too_large' : 'gateway_refused';
      under.lost.push(this.#lose({ ...frame, records: records.length }, why, reason));
      return true;
    }
    // first durable under its own name, then the name of the whole comes to mean the first half: a crash between repeats, and
    // equal records count once
    const { bus, log } = this.#options;
    const rest = records.slice(half);
    try {
      await bus.publish({ source, epoch: log.epoch, sequence: 0, records: rest }, under.signal);
    } catch (error) {
      if (!(error instanceof LeewayError) || error.code !== 'LW-SPOOL-FULL') throw error;
      // this very batch keeps the spool full: waiting for room would be for ever. Its number is that of the first half
      const loss = this.#lose(
        { ...frame, records: rest.length },
        'gateway_too_large',
        `${reason}, and no room to cut it`,
      );
      under.lost.push({ ...loss, ranges: [] });
    }
    return this.#deliver([{ ...frame, records: records.slice(0, half) }], under);
  }

  async #untilJudged(
    message: { readonly frames: readonly LinkFrame[]; readonly gaps: readonly LinkGap[] },
    signal: AbortSignal,
  ): ReturnType<GatewayLink['send']> {
    const { link, clock, random, cut } = this.#options;
    for (let attempt = 0; ; attempt++) {
      const outcome = await link.send(message, cut);
      if (outcome.kind !== 'retry') {
        if (!this.#isReaching) this.#options.onEvent({ kind: 'forward_reaching', reason: 'the gateway answers again' });
        this.#isReaching = true;
        return outcome;
      }
      this.#waiting(`${outcome.code} ${outcome.reason}`);
      const backoff_ms = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(attempt, 10));
      const rest_ms = Math.max(outcome.after_ms ?? 0, backoff_ms * (1 + JITTER * (2 * random.next() - 1)));
      await clock.sleep(rest_ms, signal).catch(() => undefined); // the end: one last attempt was made
      if (signal.aborted) return outcome;
    }
  }

  #waiting(reason: string): void {
    if (this.#isReaching) this.#options.onEvent({ kind: 'forward_waiting', reason });
    this.#isReaching = false;
  }

  #lose(
    frame: { readonly source: string; readonly epoch: number; readonly sequence: number; readonly records: number },
    reason: ForwardLossReason,
    said: string,
  ): Loss {
    const { source, epoch, sequence, records } = frame;
    this.#options.onEvent({ kind: 'forward_lost', source, records, reason: `${reason}: ${said}` });
    return { source, epoch, reason, records, ranges: [[sequence, sequence]] };
  }

  /** Totals that have grown since the gateway last acknowledged them. */
  #news(): LinkGap[] {
    const { bus, log, losses, run } = this.#options;
    const { dropped = [], dropped_batches = [], quarantined } = bus.backlog();
    const spool = [
      ...dropped.map((gap) => ({ ...gap, run: '' })),
      ...quarantined.map((gap) => ({ ...gap, reason: 'spool_damaged', run })),
    ];
    const ranges = dropped_batches.map(({ source, epoch, ranges: lost }) => {
      return { source, epoch, run: '', reason: 'spool_batches', records: 0, ranges: lost };
    });
    const all = [...summed(spool), ...ranges, ...log.lost().map((loss) => ({ run: '', ...loss })), ...losses()];
    return all.filter((gap) => sizeOf(gap) > (this.#told.get(nameOf(gap)) ?? 0)).slice(0, GAPS_MAX);
  }

  #tell(gaps: readonly LinkGap[]): void {
    for (const gap of gaps) this.#told.set(nameOf(gap), sizeOf(gap));
  }
}

function nameOf({ source, epoch, run, reason }: LinkGap): string {
  return JSON.stringify([source, epoch, run, reason]);
}

/** Records and batches: what only grows. */
function sizeOf({ records, ranges }: LinkGap): number {
  return ranges.reduce((sum, [from, to]) => sum + to - from + 1, records);
}

/** One total a source, epoch and reason: the spool has one a table. */
function summed(gaps: readonly Omit<LinkGap, 'ranges'>[]): LinkGap[] {
  const sums = new Map<string, LinkGap>();
  for (const { source, epoch, run, reason, records } of gaps) {
    const gap = { source, epoch, run, reason, records, ranges: [] };
    const known = sums.get(nameOf(gap));
    sums.set(nameOf(gap), { ...gap, records: records + (known?.records ?? 0) });
  }
  return [...sums.values()];
}

/** Frames in their order, in runs that are one message each. */
function messagesOf(frames: readonly FoundFrame[]): FoundFrame[][] {
  const messages: FoundFrame[][] = [];
  let rows = 0;
  let bytes = 0;
  for (const frame of frames) {
    const last = messages.at(-1);
    rows += frame.header.rows;
    bytes += frame.end - frame.start;
    const isFull = rows > MESSAGE_ROWS_MAX || bytes > MESSAGE_BYTES_MAX || last?.length === MESSAGE_FRAMES_MAX;
    if (last !== undefined && !isFull) {
      last.push(frame);
      continue;
    }
    messages.push([frame]);
    rows = frame.header.rows;
    bytes = frame.end - frame.start;
  }
  return messages;
}
