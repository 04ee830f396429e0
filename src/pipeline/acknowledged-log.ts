import { busOver } from '../core/bus-over.ts';
import { ACKNOWLEDGED, type AcknowledgedDocument, QUARANTINED } from '../control/collections.ts';
import { type Clock, every } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import type { Batch, Bus, Control, Document, QuarantinedFrame } from '../core/ports.ts';

export type AcknowledgedLogOptions = {
  readonly control: Control;
  readonly clock: Clock;
  /** Names this run of this process, and no other one ever. */
  readonly run: string;
  readonly onError: (error: unknown) => void;
};

/** The account of the fleet is at most this old. */
const FLUSH_MS = 2_000;
/** Batches of one document: 20 bytes each make 400 kB. */
const DOCUMENT_BATCHES_MAX = 20_000;
/** Frames that were set aside, written in one transaction. */
const FRAMES_AT_ONCE_MAX = 1_000;
/** Batches kept while the control store is away: 1,000 a second for 100 s, 10 MB. */
const BATCHES_MAX = 100_000;

type Acknowledged = {
  readonly source: string;
  readonly epoch: number;
  readonly sequence: number;
  readonly records: number;
  readonly at_ms: number;
};

/**
 * Says in the control store which batches this process has acknowledged, every two seconds: Kafka knows how many messages
 * wait, not whose they are. Readers subtract what the store holds; see read/acknowledged.ts. What a process acknowledged in
 * its last seconds before a SIGKILL is not in it, and shows in the account when it is stored. Of a worker, also which frames
 * it set aside, before the bus passes them.
 */
export class AcknowledgedLog {
  readonly #options: AcknowledgedLogOptions;
  #batches: Acknowledged[] = [];
  #next: Document<AcknowledgedDocument> | null = null;
  #isWhole = true;
  #number = 1;
  #frames: () => readonly QuarantinedFrame[] = () => [];
  /** Frames set aside by this process that were written down. */
  readonly #aside = new Set<string>();

  constructor(options: AcknowledgedLogOptions) {
    this.#options = options;
  }

  /** The bus, with every batch that it acknowledges and every frame that it sets aside noted. Call once. */
  noting(bus: Bus): Bus {
    this.#frames = () => bus.backlog().quarantined_frames ?? [];
    return busOver(bus, {
      publish: async (batch, signal) => {
        const published = await bus.publish(batch, signal);
        this.#note(batch);
        return published;
      },
      consume: (handle, signal) => bus.consume(handle, signal, (frame) => this.#noteAside(frame)),
    });
  }

  /** Writes what was noted until `ended`, the end of all that acknowledges or sets aside; then what is left. */
  async run(ended: Promise<unknown>): Promise<void> {
    const { clock, onError } = this.#options;
    const over = new AbortController();
    const writing = every(clock, FLUSH_MS, () => this.flush(), { signal: over.signal, onError });
    try {
      await ended;
    } finally {
      over.abort();
      await writing;
      await this.flush().catch(onError);
    }
  }

  /** Writes what was noted so far. Rejects as the control store does; nothing is forgotten then. */
  async flush(): Promise<void> {
    while (this.#next !== null || this.#batches.length > 0) {
      // a document whose writing failed may be there all the same: it stays as it was
      this.#next ??= this.#nextDocument();
      await this.#write(this.#next);
      this.#next = null;
    }
    await this.#flushAside();
  }

  /** Writes what the bus has set aside and takes away what was stored after a replay. */
  async #flushAside(): Promise<void> {
    const frames = this.#frames();
    const fresh = frames.filter(({ id }) => !this.#aside.has(id)).slice(0, FRAMES_AT_ONCE_MAX);
    const ids = new Set(frames.map(({ id }) => id));
    const gone = [...this.#aside].filter((id) => !ids.has(id));
    if (fresh.length === 0 && gone.length === 0) return;
    await this.#writeAside(fresh, gone);
    for (const { id } of fresh) this.#aside.add(id);
    for (const id of gone) this.#aside.delete(id);
  }

  /** Rejects with a LeewayError whatever the control store failed with: the bus asks again. */
  async #noteAside(frame: QuarantinedFrame): Promise<void> {
    try {
      await this.#writeAside([frame]);
    } catch (error) {
      if (error instanceof LeewayError) throw error;
      throw new LeewayError('LW-CONTROL-GONE', `what was set aside could not be noted: ${String(error)}`, {
        cause: error,
      });
    }
  }

  async #writeAside(fresh: readonly QuarantinedFrame[], gone: readonly string[] = []): Promise<void> {
    const { control, clock } = this.#options;
    const at_ms = clock.now_ms();
    await control.transaction(async (tx) => {
      for (const { id, ...frame } of fresh)
        if ((await tx.get(QUARANTINED, id)) === null) await tx.insert(QUARANTINED, id, { ...frame, at_ms });
      for (const id of gone) await tx.remove(QUARANTINED, id);
    });
  }

  #nextDocument(): Document<AcknowledgedDocument> {
    const body = documentOf(this.#batches.splice(0, DOCUMENT_BATCHES_MAX), this.#isWhole, this.#options.clock.now_ms());
    this.#isWhole = true;
    return { id: `${this.#options.run}/${String(this.#number++).padStart(9, '0')}`, revision: 1, body };
  }

  #note({ source, epoch, sequence, records, samples }: Batch): void {
    if (this.#batches.length >= BATCHES_MAX) {
      this.#isWhole = false;
      return;
    }
    const count = records.length + (samples?.rows ?? 0);
    this.#batches.push({ source, epoch, sequence, records: count, at_ms: this.#options.clock.now_ms() });
  }

  async #write({ id, body }: Document<AcknowledgedDocument>): Promise<void> {
    try {
      await this.#options.control.transaction((tx) => tx.insert(ACKNOWLEDGED, id, body));
    } catch (error) {
      if (!(error instanceof LeewayError) || error.code !== 'LW-CONFLICT') throw error; // else an earlier attempt wrote it
    }
  }
}

function documentOf(batches: readonly Acknowledged[], whole: boolean, at_ms: number): AcknowledgedDocument {
  const groups = Map.groupBy(batches, ({ source, epoch }) => `${epoch} ${source}`);
  const sources = [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const { source, epoch } = first;
    const rows = group.map(({ sequence, records, at_ms: acknowledged_at_ms }): [number, number, number] => [
      sequence,
      records,
      Math.max(0, at_ms - acknowledged_at_ms),
    ]);
    return [{ source, epoch, batches: rows }];
  });
  return { at_ms, whole, sources };
}
