import type { Clock } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import type { Outcome } from '../core/outcome.ts';
import type { Bus } from '../core/ports.ts';
import { integerBelow, type Random } from '../core/random.ts';
import type { SeriesRow } from '../core/samples.ts';
import type { SetAside } from '../core/set-aside.ts';
import type { StoredRecord } from '../core/tables.ts';
import { CatalogMapper } from '../formats/catalog-mapper.ts';
import { checkClock } from '../formats/clock-check.ts';
import type { DecodedSamples, SampleTarget } from '../formats/decoded-samples.ts';
import { SampleColumns } from '../formats/sample-columns.ts';
import { SeriesBook, type SeriesBookOptions, seriesShelf, textOf } from '../formats/series-book.ts';
import { NumberedSender } from './publish.ts';

/** The batch's name where the sender gave one: a repeat of it stores nothing new. */
export type SampleSource = {
  readonly source: string;
  readonly identity: { readonly epoch: number; readonly sequence: number } | null;
};

/** What was taken of one body, durable now; `repeated`: it was already. */
export type TakenSamples = DecodedSamples & { readonly repeated: boolean };

export type OpenIngestOptions = {
  readonly bus: Bus;
  readonly clock: Clock;
  readonly random: Random;
  readonly epoch: number;
  /** Told what was taken out of a body for a person to look at. */
  readonly onSetAside: (aside: SetAside) => void;
  /** Caps of one source, and what all have in common. */
  readonly book?: Pick<SeriesBookOptions, 'series_max' | 'new_max' | 'new_bytes_max' | 'shelf'>;
};

/** Series books at once: each has its own cap of series. Further sources share the book of `other`, not its account. */
const BOOKS_MAX = 64;
const SHARED = 'other';
/** Series that stay away this long are forgotten and announced again when they return, and so are sources. */
const IDLE_MS = 3_600_000;
/** Series announced in one batch of their own, in rows and about bytes: 50 ms of work. */
const ANNOUNCED_AT_ONCE = 2_000;
const ANNOUNCED_BYTES = 1_048_576;
/** Values of a label that are told apart within 10 % (series-overflow.ts). */
const COUNTABLE = 2_000;
/** Metrics named in the report of what overflowed. */
const OFFENDERS = 5;

type Tenant = { readonly book: SeriesBook; readonly mapper: CatalogMapper; swept_ms: number; used_ms: number };
type Announcing = Pick<Tenant, 'book' | 'mapper'> & { readonly sender: NumberedSender };

/**
 * Samples of other people's tools: a body is decoded into columns, with the series that came for the first time and the
 * records of mapped series beside them, and is one batch of its source. Nothing is acknowledged before it is durable; series
 * of a refused batch are announced again. What the clock forbids is set aside. Throws what the decoder rejects with
 * (LW-BODY, LW-BODY-SIZE, LW-BUSY) and as Bus.publish does.
 */
export class OpenIngest {
  readonly #options: OpenIngestOptions;
  readonly #tenants = new Map<string, Tenant>();
  /** Of each source that sends without names of batches: its numbers go on while the process lives. */
  readonly #senders = new Map<string, NumberedSender>();
  readonly #shelf = seriesShelf();
  readonly #columns = new SampleColumns(); // a body is decoded and copied out in one go: one set of columns does

  constructor(options: OpenIngestOptions) {
    this.#options = options;
  }

  async take(
    { source, identity }: SampleSource,
    decode: (target: SampleTarget) => Outcome<DecodedSamples>,
    signal: AbortSignal,
  ): Promise<TakenSamples> {
    const { bus, clock, onSetAside } = this.#options;
    const { book, mapper } = this.#tenant(source);
    const sender = this.#sender(source);
    const announcing = { book, mapper, sender };
    // of bodies that were refused; not with this one, whose batch they would make too large
    if (book.waiting_bytes > ANNOUNCED_BYTES) await announce(announcing, signal);
    const outcome = decode({ book, columns: this.#columns });
    if (outcome.kind !== 'ok') {
      if (outcome.code === 'LW-BUSY') await announce(announcing, signal);
      throw new LeewayError(codeOf(outcome.code), outcome.reason);
    }
    const { decoded, samples, off } = checkClock(outcome.value, this.#columns.take(), clock.now_ms());
    const fresh = book.drainNew();
    mapper.learn(fresh);
    const mapped = mapper.take(samples, decoded.histograms);
    const records = [...recordsOf(decoded, fresh), ...mapped.gpus, ...mapped.windows];
    const setAside = (): void => {
      for (const one of off) onSetAside({ source, ...one });
    };
    if (samples.rows + records.length === 0) {
      setAside();
      return { ...decoded, repeated: false };
    }
    try {
      if (identity === null) await sender.send({ records, samples }, signal);
      const repeated =
        identity !== null && (await bus.publish({ ...identity, source, records, samples }, signal)).repeated;
      if (repeated) {
        book.returnNew(fresh); // series of a batch that was refused meanwhile may be among them
        mapper.giveBack(mapped);
      } else setAside();
      return { ...decoded, repeated };
    } catch (error) {
      book.returnNew(fresh);
      mapper.giveBack(mapped);
      throw error;
    }
  }

  /** What of a source's series went to `__overflow__` in the last hour or two, worst metric first; null: nothing. */
  overflow(source: string): string | null {
    const book = this.#tenants.get(source)?.book ?? this.#tenants.get(SHARED)?.book;
    if (book === undefined || book.overflow_count === 0) return null;
    const worst = book.offenders(OFFENDERS).map(({ metric, refused_count, labels }) => {
      const widest = labels.toSorted((one, other) => other.values_count - one.values_count)[0];
      return `${metric} ${refused_count} times${widest === undefined ? '' : ` (label ${widest.name}: ${spread(widest)})`}`;
    });
    return `more series than the cap; the excess is kept as __overflow__: ${worst.join(', ')}`;
  }

  #tenant(source: string): Tenant {
    const { clock, random, book } = this.#options;
    const now_ms = clock.elapsed_ms();
    if (!this.#tenants.has(source) && this.#tenants.size >= BOOKS_MAX) this.#forgetIdle(now_ms);
    const name = this.#tenants.has(source) || this.#tenants.size < BOOKS_MAX ? source : SHARED;
    const known = this.#tenants.get(name) ?? {
      book: new SeriesBook({ shelf: this.#shelf, ...book, seed: integerBelow(random, 2 ** 32) }),
      mapper: new CatalogMapper(name),
      swept_ms: now_ms,
      used_ms: now_ms,
    };
    known.used_ms = now_ms;
    this.#tenants.set(name, known);
    if (now_ms - known.swept_ms > IDLE_MS) {
      known.book.evictIdle();
      known.mapper.sweep((low, high) => known.book.holds(low, high));
      known.swept_ms = now_ms;
    }
    return known;
  }

  /** Makes room for new sources. Series that were not announced yet come again with their samples. */
  #forgetIdle(now_ms: number): void {
    for (const [name, { book, used_ms }] of this.#tenants) {
      if (now_ms - used_ms <= IDLE_MS) continue;
      book.evictIdle(); // what came since the last look is kept by the first
      book.evictIdle();
      this.#tenants.delete(name);
    }
  }

  #sender(source: string): NumberedSender {
    const { bus, epoch } = this.#options;
    const name = this.#senders.has(source) || this.#senders.size < LIMITS.sources_max ? source : SHARED;
    const sender = this.#senders.get(name) ?? new NumberedSender({ bus, source: name, epoch });
    this.#senders.set(name, sender);
    return sender;
  }
}

/** How many values a label had, as far as the count knows. */
function spread({ values_count }: { readonly values_count: number }): string {
  return values_count > COUNTABLE ? `more than ${COUNTABLE} values` : `about ${values_count} values`;
}

/**
 * Writes the series that wait to be announced, by themselves: a body with more of them than may wait is refused and comes
 * again, and would be refused for ever if those of its first attempt still waited then.
 */
async function announce({ book, mapper, sender }: Announcing, signal: AbortSignal): Promise<void> {
  const fresh = book.drainNew();
  mapper.learn(fresh);
  for (let from = 0; from < fresh.length; ) {
    const rows = fresh.slice(from, from + rowsAtOnce(fresh, from));
    try {
      await sender.send({ records: rows.map((row): StoredRecord => ({ type: 'series', ...row })) }, signal);
    } catch (error) {
      book.returnNew(fresh.slice(from));
      throw error;
    }
    from += rows.length;
  }
}

/** How many rows from `from` on go in one batch: one at least. */
function rowsAtOnce(rows: readonly SeriesRow[], from: number): number {
  let bytes = 0;
  let count = 0;
  for (; count < ANNOUNCED_AT_ONCE && from + count < rows.length; count++) {
    bytes += textOf(rows[from + count] as SeriesRow); // < rows.length
    if (bytes > ANNOUNCED_BYTES && count > 0) break;
  }
  return count;
}

function recordsOf(decoded: DecodedSamples, fresh: readonly SeriesRow[]): StoredRecord[] {
  return [
    ...fresh.map((row): StoredRecord => ({ type: 'series', ...row })),
    ...decoded.histograms.map((row): StoredRecord => ({ type: 'histogram', ...row })),
    ...decoded.exemplars.map((row): StoredRecord => ({ type: 'exemplar', ...row })),
    ...decoded.metadata.map((row): StoredRecord => ({ type: 'metadata', ...row })),
  ];
}

/** Codes of the decoders are those of bodies. */
function codeOf(code: string): 'LW-BODY' | 'LW-BODY-SIZE' | 'LW-BUSY' {
  return code === 'LW-BODY-SIZE' || code === 'LW-BUSY' ? code : 'LW-BODY';
}
