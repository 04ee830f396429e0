import { LIMITS } from '../core/limits.ts';
import type { LeewayRecord } from '../core/records.ts';
import type { SourceItem } from '../server/shapes/telemetry.ts';

/** A sender is silent when it said nothing for this long: ten ticks of a 1 Hz collector. */
const SILENT_AFTER_MS = 10_000;
/** Distinct `field:reason` pairs counted a source. */
const QUALITY_MAX = 200;

type Known = Omit<SourceItem, 'state' | 'rejected' | 'quality'> & {
  absent: boolean;
  rejected: Record<string, number>;
  quality: Record<string, number>;
};

/** Who sends what: last seen, accepted, rejected by code, absent fields by reason. In memory, since this start. */
export class SourceRegistry {
  readonly #sources = new Map<string, Known>();

  /** Records of a source that became durable. */
  accepted(source: string, kind: SourceItem['kind'], records: readonly LeewayRecord[], now_ms: number): void {
    this.counted(source, kind, records.length, now_ms);
    const known = this.#of(source, kind);
    for (const record of records)
      if ('quality' in record && record.quality !== undefined) countQuality(known, record.quality);
  }

  /** Samples of a source that became durable: rows without a quality of their own. */
  counted(source: string, kind: SourceItem['kind'], rows: number, now_ms: number): void {
    const known = this.#of(source, kind);
    known.accepted += rows;
    known.last_seen_ms = now_ms;
    known.absent = false;
    known.detail = null;
  }

  /** Lines or records of a source that were refused, by code. */
  rejected(
    source: string,
    kind: SourceItem['kind'],
    counts: Readonly<Record<string, number | undefined>>,
    now_ms: number,
  ): void {
    const known = this.#of(source, kind);
    known.last_seen_ms = now_ms;
    for (const [code, count] of Object.entries(counts))
      known.rejected[code] = (known.rejected[code] ?? 0) + (count ?? 0);
  }

  /** What a person should know of a source that goes on all the same; null: nothing. */
  warned(source: string, kind: SourceItem['kind'], detail: string | null): void {
    this.#of(source, kind).detail = detail;
  }

  /** A collector that cannot read its source on this machine; `detail` says why. */
  absent(source: string, detail: string): void {
    const known = this.#of(source, 'collector');
    known.absent = true;
    known.detail = detail;
  }

  items(now_ms: number): SourceItem[] {
    return [...this.#sources.values()]
      .map(({ absent, ...known }): SourceItem => ({ ...known, state: stateOf(absent, known.last_seen_ms, now_ms) }))
      .sort((a, b) => (a.source < b.source ? -1 : 1));
  }

  #of(source: string, kind: SourceItem['kind']): Known {
    const name = this.#sources.has(source) || this.#sources.size < LIMITS.sources_max ? source : 'other';
    const known = this.#sources.get(name);
    if (known !== undefined) return known;
    const fresh: Known = {
      source: name,
      kind,
      detail: null,
      last_seen_ms: null,
      accepted: 0,
      absent: false,
      rejected: {},
      quality: {},
    };
    this.#sources.set(name, fresh);
    return fresh;
  }
}

function countQuality(known: Known, quality: Readonly<Record<string, string>>): void {
  for (const [field, reason] of Object.entries(quality)) {
    const key = `${field}:${reason}`;
    if (key in known.quality || Object.keys(known.quality).length < QUALITY_MAX)
      known.quality[key] = (known.quality[key] ?? 0) + 1;
  }
}

function stateOf(absent: boolean, last_seen_ms: number | null, now_ms: number): SourceItem['state'] {
  if (absent) return 'absent';
  return last_seen_ms !== null && now_ms - last_seen_ms <= SILENT_AFTER_MS ? 'live' : 'silent';
}
