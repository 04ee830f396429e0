import { ACKNOWLEDGED, type AcknowledgedDocument } from '../control/collections.ts';
import type { Control, Document, InFlight, StoredAccount } from '../core/ports.ts';

/** What gateways say they acknowledged; some of it is stored meanwhile. */
export type Acknowledged = {
  readonly documents: readonly Document<AcknowledgedDocument>[];
  /** False: there is more, or was more than a gateway could write down. */
  readonly whole: boolean;
};

/** The log of a bus that does not say what waits in it. */
export type AcknowledgedReader = {
  readonly read: () => Promise<Acknowledged>;
  /** Takes documents away that are of no more use. */
  readonly forget: (ids: readonly string[]) => Promise<void>;
};

/** What of it the store does not hold. */
type Unstored = {
  readonly in_flight: readonly InFlight[];
  /** Documents of which everything is stored: of no more use. */
  readonly settled: readonly string[];
};

type Held = Pick<StoredAccount, 'source' | 'epoch' | 'sequence_min' | 'sequence_max' | 'gaps'>;
type Range = readonly [from: number, to: number];

/** Documents of one transaction, 400 kB each at most. */
const PAGE = 20;
/** Batches read: ten gateways at 1,000 a second for 50 s of a store that is away. 60 MB. */
const BATCHES_MAX = 500_000;
/** Documents of gateways that had to leave some out are told about for so long: what they left out is stored or lost by then. */
const NOT_WHOLE_MS = 3_600_000;

/** Reads the log, oldest first, up to 500,000 batches. */
async function readAcknowledged(control: Control): Promise<Acknowledged> {
  const documents: Document<AcknowledgedDocument>[] = [];
  let batches = 0;
  for (;;) {
    const last = documents.at(-1);
    const page = await control.transaction((tx) =>
      tx.list(ACKNOWLEDGED, {
        order: { field: 'at_ms', descending: false },
        limit: PAGE,
        ...(last === undefined ? {} : { after: { value: String(last.body.at_ms), id: last.id } }),
      }),
    );
    documents.push(...page);
    for (const { body } of page) for (const source of body.sources) batches += source.batches.length;
    if (page.length < PAGE) return { documents, whole: documents.every(({ body }) => body.whole) };
    if (batches > BATCHES_MAX) return { documents, whole: false };
  }
}

/**
 * Compares what was acknowledged, read first, with what the store holds. A batch that several gateways acknowledged counts
 * once; one of which the store has a part counts as stored. O(batches · log gaps).
 */
export function unstored({ documents }: Acknowledged, stored: readonly Held[], now_ms: number): Unstored {
  const heldOf = new Map(stored.map((row) => [nameOf(row), row]));
  const seen = new Map<string, Set<number>>();
  const waiting = new Map<string, { -readonly [Key in keyof Required<InFlight>]: InFlight[Key] & {} }>();
  const settled: string[] = [];
  for (const { id, body } of documents) {
    let isSettled = body.whole || now_ms - body.at_ms > NOT_WHOLE_MS;
    for (const { source, epoch, batches } of body.sources) {
      const name = nameOf({ source, epoch });
      const held = heldOf.get(name);
      for (const [sequence, records, age_ms] of batches) {
        if (isHeld(held, sequence)) continue;
        isSettled = false;
        const known = seen.get(name) ?? new Set();
        seen.set(name, known);
        if (known.has(sequence)) continue;
        known.add(sequence);
        const oldest_ms = Math.max(0, now_ms - body.at_ms + age_ms);
        const count = waiting.get(name) ?? { source, epoch, records: 0, oldest_ms: 0, sequence_min: sequence };
        count.records += records;
        count.oldest_ms = Math.max(count.oldest_ms, oldest_ms);
        count.sequence_min = Math.min(count.sequence_min, sequence);
        waiting.set(name, count);
      }
    }
    if (isSettled) settled.push(id);
  }
  return { in_flight: [...waiting.values()], settled };
}

/** The log as gateways keep it in the control store. */
export function acknowledgedReader(control: Control): AcknowledgedReader {
  return { read: () => readAcknowledged(control), forget: (ids) => forgetAcknowledged(control, ids) };
}

async function forgetAcknowledged(control: Control, ids: readonly string[]): Promise<void> {
  for (let from = 0; from < ids.length; from += PAGE)
    await control.transaction(async (tx) => {
      for (const id of ids.slice(from, from + PAGE)) await tx.remove(ACKNOWLEDGED, id);
    });
}

function nameOf({ source, epoch }: Pick<Held, 'source' | 'epoch'>): string {
  return `${epoch} ${source}`;
}

function isHeld(held: Held | undefined, sequence: number): boolean {
  if (held === undefined || sequence < held.sequence_min || sequence > held.sequence_max) return false;
  const { gaps } = held;
  let low = 0;
  let high = gaps.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const [, to] = gaps[middle] ?? ([0, Infinity] satisfies Range);
    if (to < sequence) low = middle + 1;
    else high = middle;
  }
  const gap = gaps[low];
  return gap === undefined || sequence < gap[0];
}
