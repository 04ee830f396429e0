import {
  ACKNOWLEDGED,
  type AcknowledgedDocument,
  QUARANTINED,
  type QuarantinedDocument,
} from '../control/collections.ts';
import { LeewayError } from '../core/errors.ts';
import type { Backlog, Collection, Control, Document, InFlight, StoredAccount } from '../core/ports.ts';
import { RangeSet } from '../core/range-set.ts';

/** What gateways say they acknowledged, and workers that they set aside; some of it is stored meanwhile. */
export type Acknowledged = {
  readonly documents: readonly Document<AcknowledgedDocument>[];
  readonly quarantined: readonly Document<QuarantinedDocument>[];
  /** False: there is more, or was more than a gateway could write down. */
  readonly whole: boolean;
};

/** The log of a bus that does not say what waits in it. */
export type AcknowledgedReader = {
  readonly read: () => Promise<Acknowledged>;
  /** Takes away what is of no more use. */
  readonly forget: (settled: Settled) => Promise<void>;
};

/** Ids of documents of which everything is stored. */
type Settled = {
  readonly documents: readonly string[];
  readonly quarantined: readonly string[];
  /** Documents of which most is stored, without that: what will never be stored must not use up what can be read. */
  readonly trimmed: readonly Document<AcknowledgedDocument>[];
};

/** What of it the store does not hold. */
export type Unstored = Pick<Backlog, 'in_flight' | 'quarantined' | 'quarantined_batches'> & {
  readonly settled: Settled;
};

type Held = Pick<StoredAccount, 'source' | 'epoch' | 'sequence_min' | 'sequence_max' | 'gaps'>;

/** Documents of one transaction: of the acknowledged 400 kB each at most. */
const PAGE = 20;
const QUARANTINED_PAGE = 1_000;
/** Batches read: ten gateways at 1,000 a second for 50 s of a store that is away. 60 MB. */
const BATCHES_MAX = 500_000;
/** Frames read that were set aside: 200 B each. */
const QUARANTINED_MAX = 100_000;
/** Documents of gateways that had to leave some out are told about for so long: what they left out is stored or lost by then. */
const NOT_WHOLE_MS = 3_600_000;

/** The log as gateways and workers keep it in the control store; see pipeline/acknowledged-log.ts. */
export function acknowledgedReader(control: Control): AcknowledgedReader {
  return {
    read: () => read(control),
    forget: async ({ documents, quarantined, trimmed }) => {
      await removeAll(control, ACKNOWLEDGED, documents);
      await removeAll(control, QUARANTINED, quarantined);
      for (const document of trimmed) await replace(control, document);
    },
  };
}

/** The oldest first, up to 500,000 batches and 100,000 frames. */
async function read(control: Control): Promise<Acknowledged> {
  const documents: Document<AcknowledgedDocument>[] = [];
  let batches = 0;
  for await (const page of pages(control, ACKNOWLEDGED, PAGE)) {
    documents.push(...page);
    for (const { body } of page) batches += batchesOf(body.sources);
    if (batches > BATCHES_MAX) break;
  }
  const quarantined: Document<QuarantinedDocument>[] = [];
  for await (const page of pages(control, QUARANTINED, QUARANTINED_PAGE)) {
    quarantined.push(...page);
    if (quarantined.length >= QUARANTINED_MAX) break;
  }
  const isAll = batches <= BATCHES_MAX && quarantined.length < QUARANTINED_MAX;
  return { documents, quarantined, whole: isAll && documents.every(({ body }) => body.whole) };
}

/** All documents by time, `limit` at once, each page in a transaction of its own. */
async function* pages<Body extends { readonly at_ms: number }>(
  control: Control,
  collection: Collection<Body>,
  limit: number,
): AsyncGenerator<Document<Body>[]> {
  for (let last: Document<Body> | undefined; ; ) {
    const after = last === undefined ? {} : { after: { value: last.body.at_ms, id: last.id } };
    const order = { field: 'at_ms', descending: false };
    const page = await control.transaction((tx) => tx.list(collection, { order, limit, ...after }));
    if (page.length > 0) yield page;
    if (page.length < limit) return;
    last = page.at(-1);
  }
}

async function removeAll<Body>(control: Control, collection: Collection<Body>, ids: readonly string[]): Promise<void> {
  for (let from = 0; from < ids.length; from += QUARANTINED_PAGE)
    await control.transaction(async (tx) => {
      for (const id of ids.slice(from, from + QUARANTINED_PAGE)) await tx.remove(collection, id);
    });
}

async function replace(control: Control, { id, revision, body }: Document<AcknowledgedDocument>): Promise<void> {
  try {
    await control.transaction((tx) => tx.update(ACKNOWLEDGED, id, revision, body));
  } catch (error) {
    if (!(error instanceof LeewayError) || error.code !== 'LW-CONFLICT') throw error; // another reader was faster
  }
}

/**
 * Compares what was acknowledged, read first, with what the store holds. A batch that several gateways acknowledged counts
 * once; one of which the store has a part counts as stored. A frame that was set aside is lost until its batch is stored; of
 * a batch of several frames it stays lost, since nobody can tell which of them are there. O(batches · log gaps).
 */
export function unstored(log: Omit<Acknowledged, 'whole'>, stored: readonly Held[], now_ms: number): Unstored {
  const heldOf = new Map(stored.map((row) => [nameOf(row), row]));
  const lost = new Lost();
  const replayed: string[] = [];
  for (const { id, body } of log.quarantined)
    if (body.parts === 1 && isHeld(heldOf.get(nameOf(body)), body.sequence)) replayed.push(id);
    else lost.add(body);
  const waiting = new Waiting();
  const settled: string[] = [];
  const trimmed: Document<AcknowledgedDocument>[] = [];
  for (const { id, revision, body } of log.documents) {
    const open = body.sources.map(({ source, epoch, batches }) => {
      const held = heldOf.get(nameOf({ source, epoch }));
      const isOpen = ([sequence, all, age_ms]: AcknowledgedBatch): boolean => {
        if (isHeld(held, sequence)) return false;
        const records = all - lost.of({ source, epoch, sequence });
        if (records <= 0) return false;
        waiting.add({ source, epoch, sequence, records, oldest_ms: Math.max(0, now_ms - body.at_ms + age_ms) });
        return true;
      };
      return { source, epoch, batches: batches.filter(isOpen) };
    });
    const left = batchesOf(open);
    if (left === 0 && (body.whole || now_ms - body.at_ms > NOT_WHOLE_MS)) settled.push(id);
    else if (2 * left < batchesOf(body.sources)) {
      const sources = open.filter(({ batches }) => batches.length > 0);
      trimmed.push({ id, revision, body: { ...body, sources } });
    }
  }
  return { in_flight: waiting.list, ...lost.account, settled: { documents: settled, quarantined: replayed, trimmed } };
}

type AcknowledgedSource = AcknowledgedDocument['sources'][number];
type AcknowledgedBatch = AcknowledgedSource['batches'][number];

function batchesOf(sources: readonly AcknowledgedSource[]): number {
  return sources.reduce((sum, { batches }) => sum + batches.length, 0);
}

type SourceEpoch = Pick<Held, 'source' | 'epoch'>;
type Sequenced = SourceEpoch & { readonly sequence: number };

/** Batches that wait, each once. */
class Waiting {
  readonly #seen = new Map<string, Set<number>>();
  readonly #counts = new Map<string, { -readonly [Key in keyof Required<InFlight>]: Required<InFlight>[Key] }>();

  add({ source, epoch, sequence, records, oldest_ms }: Sequenced & { records: number; oldest_ms: number }): void {
    const name = nameOf({ source, epoch });
    const seen = this.#seen.get(name) ?? new Set();
    this.#seen.set(name, seen);
    if (seen.has(sequence)) return;
    seen.add(sequence);
    const count = this.#counts.get(name) ?? { source, epoch, records: 0, oldest_ms: 0, sequence_min: sequence };
    count.records += records;
    count.oldest_ms = Math.max(count.oldest_ms, oldest_ms);
    count.sequence_min = Math.min(count.sequence_min, sequence);
    this.#counts.set(name, count);
  }

  get list(): InFlight[] {
    return [...this.#counts.values()];
  }
}

/** Frames that were set aside and are not stored. */
class Lost {
  readonly #records = new Map<string, Map<number, number>>();
  readonly #counts = new Map<string, { source: string; epoch: number; records: number; sequences: RangeSet }>();

  add({ source, epoch, sequence, records }: QuarantinedDocument): void {
    const name = nameOf({ source, epoch });
    const count = this.#counts.get(name) ?? { source, epoch, records: 0, sequences: new RangeSet() };
    count.records += records;
    count.sequences.add(sequence);
    this.#counts.set(name, count);
    const bySequence = this.#records.get(name) ?? new Map<number, number>();
    bySequence.set(sequence, (bySequence.get(sequence) ?? 0) + records);
    this.#records.set(name, bySequence);
  }

  /** Records of a batch. */
  of({ sequence, ...key }: Sequenced): number {
    return this.#records.get(nameOf(key))?.get(sequence) ?? 0;
  }

  get account(): Required<Pick<Backlog, 'quarantined' | 'quarantined_batches'>> {
    const counts = [...this.#counts.values()];
    return {
      quarantined: counts.map(({ source, epoch, records }) => ({ source, epoch, records })),
      quarantined_batches: counts.map(({ source, epoch, sequences }) => ({
        source,
        epoch,
        ranges: sequences.ranges.map(({ from, to }) => [from, to] as const),
      })),
    };
  }
}

function nameOf({ source, epoch }: SourceEpoch): string {
  return `${epoch} ${source}`;
}

function isHeld(held: Held | undefined, sequence: number): boolean {
  if (held === undefined || sequence < held.sequence_min || sequence > held.sequence_max) return false;
  const { gaps } = held;
  let low = 0;
  let high = gaps.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const gap = gaps[middle];
    if (gap !== undefined && gap[1] < sequence) low = middle + 1;
    else high = middle;
  }
  const gap = gaps[low];
  return gap === undefined || sequence < gap[0];
}
