import type { Batch, Published } from '../../src/core/ports.ts';
import type { LeewayRecord } from '../../src/core/records.ts';
import type { SampleRows } from '../../src/core/samples.ts';
import { framesOf } from './rows.ts';
import { Life, type World } from './world.ts';

/** Chances a request: lost on the way there, its answer lost, sent twice at once, cut off by the client. */
export type NetworkFaults = {
  readonly lost: number;
  readonly unanswered: number;
  readonly doubled: number;
  readonly aborted: number;
};
export const QUIET: NetworkFaults = { lost: 0, unanswered: 0, doubled: 0, aborted: 0 };

type Content = Pick<Batch, 'records' | 'samples'>;
/** What a sender emitted at once and whether it was promised; `keys` by frame, `batch` null where the service numbers. */
export type Sent = {
  readonly source: string;
  readonly batch: Batch | null;
  readonly keys: readonly (readonly string[])[];
  acknowledged: boolean;
};

/** What senders reach of a service. Rejects with ECONNREFUSED, ECONNRESET (perhaps done) or as Bus.publish does. */
export interface Door {
  publish(batch: Batch, signal: AbortSignal): Promise<Published>;
  /** Of senders that name nothing: the service numbers what they send. */
  send(source: string, content: Content, signal: AbortSignal): Promise<void>;
}

export type SenderOptions = {
  readonly world: World;
  /** Any of them may be asked. */
  readonly doors: readonly Door[];
  readonly source: string;
  /** Whether it numbers its batches, or the service does. */
  readonly isNamed: boolean;
  readonly batches: number;
  /** Called with what it emits, before it is sent. */
  readonly onEmit: (sent: Sent) => void;
};

const RETRY_MS = 200;
const TIMEOUT_MS = 2_000;
/** A request that the network doubled may come so much later. */
const TWIN_MS_MAX = 3_000;

/**
 * A source: it repeats each batch until it is acknowledged, by whichever service answers. When it dies it begins a new
 * epoch, and what it had in hand is lost before it was promised.
 */
export class SimulatedSender {
  readonly #options: SenderOptions;
  network: NetworkFaults = QUIET;
  #life: Life;
  #epoch = 0;
  #arrived_max = 0;
  isDone = false;

  constructor(options: SenderOptions) {
    this.#options = options;
    this.#life = new Life(options.source);
  }

  start(): void {
    const life = new Life(`${this.#options.source}.${++this.#epoch}`);
    this.#life = life;
    this.#arrived_max = 0;
    this.isDone = false;
    void this.#run(life, this.#epoch);
  }

  /** Dies and is started again: a new epoch. */
  restart(): void {
    this.#options.world.kill(this.#life);
    this.start();
  }

  async #run(life: Life, epoch: number): Promise<void> {
    const { world, batches } = this.#options;
    const clock = world.clock(life);
    const never = new AbortController().signal;
    for (let sequence = 1; sequence <= batches; sequence++) {
      const { sent, content } = this.#emit(epoch, sequence);
      const post = this.#poster(life, sent, content);
      while (!(await this.#attempt(life, post))) await clock.sleep(RETRY_MS * (1 + world.random.next()), never);
      sent.acknowledged = true;
      await clock.sleep(world.below(400), never);
    }
    this.isDone = true;
  }

  /** One request of a batch; arrives when the seed says so, however long after a later one. */
  #poster(life: Life, { batch, source }: Sent, content: Content): (signal: AbortSignal) => Promise<unknown> {
    const { world, doors } = this.#options;
    return async (signal) => {
      const door = world.pick(doors);
      await world.operation(life, `request ${batch?.sequence ?? ''} arrives`, () => this.#arrived(batch));
      return batch === null ? door?.send(source, content, signal) : door?.publish(batch, signal);
    };
  }

  #arrived(batch: Batch | null): void {
    if (batch === null) return;
    if (batch.sequence < this.#arrived_max) this.#options.world.count('request_reordered');
    this.#arrived_max = Math.max(this.#arrived_max, batch.sequence);
  }

  /** True: acknowledged. The service may have taken it though the answer never came. */
  async #attempt(life: Life, post: (signal: AbortSignal) => Promise<unknown>): Promise<boolean> {
    const { world } = this.#options;
    const { lost, unanswered, doubled, aborted } = this.network;
    const clock = world.clock(life);
    if (world.strikes('request_lost', lost, life.name)) return false;
    const gone = new AbortController();
    if (world.strikes('request_doubled', doubled, life.name))
      void clock
        .sleep(world.below(TWIN_MS_MAX), new AbortController().signal)
        .then(() => post(gone.signal))
        .catch(() => undefined); // its twin answers
    const answer = post(gone.signal).then(
      () => true,
      () => false,
    );
    const over = new AbortController();
    const patience_ms = world.strikes('request_aborted', aborted, life.name) ? world.below(300) : TIMEOUT_MS;
    const timeout = clock.sleep(patience_ms, over.signal).then(
      () => this.#giveUp(gone),
      () => false, // answered in time
    );
    const taken = await Promise.race([answer, timeout]);
    over.abort();
    return taken && !world.strikes('answer_lost', unanswered, life.name);
  }

  #giveUp(gone: AbortController): false {
    this.#options.world.count('request_timed_out');
    gone.abort(new Error('the client went away'));
    return false;
  }

  #emit(epoch: number, sequence: number): { readonly sent: Sent; readonly content: Content } {
    const { world, source, isNamed, onEmit } = this.#options;
    const records = Array.from({ length: world.below(4) }, (_, row) => heartbeat(`${source}.${epoch}`, sequence, row));
    const rows = world.below(6) + (records.length === 0 ? 1 : 0);
    const content = { records, ...(rows > 0 ? { samples: this.#samples(epoch, sequence, rows) } : {}) };
    const batch = { source, epoch, sequence, ...content };
    const sent = { source, batch: isNamed ? batch : null, keys: framesOf(batch), acknowledged: false };
    onEmit(sent);
    return { sent, content };
  }

  #samples(epoch: number, sequence: number, rows: number): SampleRows {
    const { source } = this.#options;
    const series = BigInt(source.charCodeAt(source.length - 1)) * 1_000n + BigInt(epoch);
    const at = (row: number): bigint => BigInt(1_767_225_600_000 + sequence * 1_000 + row);
    return {
      rows,
      id: BigUint64Array.from({ length: rows }, () => series),
      at_ms: BigInt64Array.from({ length: rows }, (_, row) => at(row)),
      mantissa: Int16Array.from({ length: rows }, (_, row) => row),
      mantissa_type: 'Int16',
      exponent: new Int8Array(rows),
    };
  }
}

/** A record of a job; equal arguments give equal records. */
export function heartbeat(job: string, sequence: number, row: number): LeewayRecord {
  const at_ms = 1_767_225_600_000 + sequence * 1_000 + row;
  return { type: 'heartbeat', job, rank: row, at_ms, step: sequence, state: 'running' };
}

/** Another type of record, for another table. */
export function stepRecord(job: string, sequence: number, row: number): LeewayRecord {
  const at_ms = 1_767_225_600_000 + sequence * 1_000 + row;
  return {
    type: 'step',
    job,
    rank: row,
    step: sequence,
    at_ms,
    duration_ms: 950.5,
    compute_ms: 700.25,
    data_ms: 20,
    phase: 'train',
  };
}
