import type { Batch } from '../../src/core/ports.ts';
import type { LeewayRecord } from '../../src/core/records.ts';
import type { SampleRows } from '../../src/core/samples.ts';
import type { SimulatedService } from './service.ts';
import { Life, type World } from './world.ts';

/** Chances a request: lost on the way there, its answer lost, sent twice at once. */
export type NetworkFaults = { readonly lost: number; readonly unanswered: number; readonly doubled: number };

/** What a source sent and what it was promised, in rows by batch. */
export type Sent = { readonly batch: Batch; readonly rows: number; acknowledged: boolean };

const RETRY_MS = 200;
const TIMEOUT_MS = 2_000;

/**
 * A source with a name: it numbers its batches and repeats each until it is acknowledged. When it dies it begins a new
 * epoch, and what it had in hand is lost before it was promised.
 */
export class SimulatedSender {
  readonly #world: World;
  readonly #service: SimulatedService;
  readonly #source: string;
  readonly sent: Sent[] = [];
  network: NetworkFaults = { lost: 0, unanswered: 0, doubled: 0 };
  #life: Life;
  #epoch = 0;
  isDone = false;

  constructor(world: World, service: SimulatedService, source: string) {
    this.#world = world;
    this.#service = service;
    this.#source = source;
    this.#life = new Life(source);
  }

  start(batches: number): void {
    const life = new Life(this.#source);
    this.#life = life;
    this.#epoch++;
    void this.#run(life, this.#epoch, batches);
  }

  /** Dies and is started again: a new epoch. */
  restart(batches: number): void {
    this.#world.note(`${this.#source} restarts`);
    this.#world.kill(this.#life);
    this.start(batches);
  }

  async #run(life: Life, epoch: number, batches: number): Promise<void> {
    const clock = this.#world.clock(life);
    const never = new AbortController().signal;
    for (let sequence = 1; sequence <= batches; sequence++) {
      const sent = this.#emit(epoch, sequence);
      while (!(await this.#attempt(life, sent))) await clock.sleep(RETRY_MS * (1 + this.#world.random.next()), never);
      sent.acknowledged = true;
      await clock.sleep(this.#world.below(400), never);
    }
    this.isDone = true;
  }

  /** One request. True: acknowledged. The service may have taken it though the answer never came. */
  async #attempt(life: Life, { batch }: Sent): Promise<boolean> {
    const { lost, unanswered, doubled } = this.network;
    if (this.#world.chance(lost)) return false;
    if (this.#world.chance(doubled)) this.#deliver(life, batch).catch(() => undefined);
    const answer = this.#deliver(life, batch).then(
      () => true,
      () => false,
    );
    const over = new AbortController();
    const timeout = this.#world
      .clock(life)
      .sleep(TIMEOUT_MS, over.signal)
      .then(
        () => false,
        () => false, // answered in time
      );
    const taken = await Promise.race([answer, timeout]);
    over.abort();
    return taken && !this.#world.chance(unanswered);
  }

  /** The request arrives when the seed says so, however long after a later one. */
  async #deliver(life: Life, batch: Batch): Promise<void> {
    await this.#world.operation(life, 'request', () => undefined);
    await this.#service.publish(batch);
  }

  #emit(epoch: number, sequence: number): Sent {
    const records = Array.from({ length: this.#world.below(4) }, (_, row) => this.#heartbeat(epoch, sequence, row));
    const count = this.#world.below(6) + (records.length === 0 ? 1 : 0);
    const batch: Batch = {
      source: this.#source,
      epoch,
      sequence,
      records,
      ...(count > 0 ? { samples: this.#samples(epoch, sequence, count) } : {}),
    };
    const sent = { batch, rows: records.length + count, acknowledged: false };
    this.sent.push(sent);
    return sent;
  }

  #heartbeat(epoch: number, sequence: number, row: number): LeewayRecord {
    const at_ms = 1_767_225_600_000 + sequence * 1_000 + row;
    return { type: 'heartbeat', job: `${this.#source}-${epoch}`, rank: row, at_ms, step: sequence, state: 'running' };
  }

  #samples(epoch: number, sequence: number, rows: number): SampleRows {
    const series = BigInt(this.#source.charCodeAt(this.#source.length - 1)) * 1_000n + BigInt(epoch);
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
