import path from 'node:path';
import { LeewayError } from '../../src/core/errors.ts';
import type { Store } from '../../src/core/ports.ts';
import type { LeewayRecord } from '../../src/core/records.ts';
import { frameMessages, type HeldFrame, lineageAt, readMessage } from '../../src/transport/kafka-frames.ts';
import { systemScratch, writeDelivery } from '../../src/transport/kafka-scratch.ts';

const signal = new AbortController().signal;

/** What a source sends, on its way through one partition of the topic. */
export type Sent = { readonly partition: number; readonly source: string; readonly records: readonly LeewayRecord[] };

/** A topic between senders and a store: each record has the lineage that its partition and offset give it. */
export class Partitions {
  readonly #store: Store;
  readonly #directory: string;
  readonly #offsets = new Map<number, bigint>();
  readonly #sequences = new Map<string, number>();
  #files = 0;

  constructor(store: Store, directory: string) {
    this.#store = store;
    this.#directory = directory;
  }

  /** Stores what was sent as a worker of all partitions does: one delivery a table. */
  async deliver(sent: readonly Sent[]): Promise<void> {
    const frames = sent.filter(({ records }) => records.length > 0).flatMap((batch) => this.#frames(batch));
    for (const group of Map.groupBy(frames, ({ header }) => header.table).values()) {
      const stem = path.join(this.#directory, `delivery-${this.#files++}`);
      const outcome = await this.#store.insert(await writeDelivery(systemScratch(), stem, group), signal);
      if (outcome.kind !== 'ok') throw new LeewayError('LW-STORE', `a delivery was not stored: ${outcome.code}`);
    }
  }

  #frames({ partition, source, records }: Sent): HeldFrame[] {
    const sequence = (this.#sequences.get(source) ?? 0) + 1;
    this.#sequences.set(source, sequence);
    return frameMessages({ source, epoch: 1, sequence, records }).map(({ table, value }) => {
      const offset = this.#offsets.get(partition) ?? 0n;
      this.#offsets.set(partition, offset + 1n);
      const place = { partition, offset };
      const headers = new Map([['table', Buffer.from(table)]]);
      const read = readMessage({ ...place, key: null, value, headers, at_ms: 0 }, place, lineageAt(place, 0));
      if (typeof read === 'string') throw new LeewayError('LW-INPUT', read);
      return read;
    });
  }
}
