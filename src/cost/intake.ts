import { type ParsedCost, parseCostLine, parseCostRecord, type Place } from './parse.ts';
import type { CostRecord, Rejection } from './record.ts';

/**
 * Takes cost records one by one and keeps each canonical JSON once, so that repeats, order and division into files do
 * not matter. Memory grows with the distinct records.
 */
export class CostIntake {
  readonly #seen = new Set<string>();
  readonly #records: CostRecord[] = [];
  readonly #rejections: Rejection[] = [];

  get records(): readonly CostRecord[] {
    return this.#records;
  }

  /** What the records themselves show to be wrong, in order of arrival. */
  get rejections(): readonly Rejection[] {
    return this.#rejections;
  }

  /** One NDJSON line; a blank one is skipped. */
  addLine(text: string, place: Place): void {
    if (text.trim() !== '') this.#keep(parseCostLine(text, place));
  }

  /** One decoded JSON value, as stored or received. */
  addValue(value: unknown, place: Place): void {
    this.#keep(parseCostRecord(value, place));
  }

  /** Something at `place` that could not even be read as a record. */
  refuse(place: Place, reason: string): void {
    this.#rejections.push({ ...place, code: 'LW-COST-JSON', reason });
  }

  #keep(parsed: ParsedCost): void {
    if (parsed.kind === 'ignored') return;
    const canonical = parsed.kind === 'record' ? parsed.record.canonical : parsed.canonical;
    if (canonical !== null) {
      if (this.#seen.has(canonical)) return;
      this.#seen.add(canonical);
    }
    if (parsed.kind === 'record') this.#records.push(parsed.record);
    else this.#rejections.push(parsed.rejection);
  }
}

/** An intake filled from decoded values; `line` is their 1-based position. */
export function intakeOf(values: Iterable<unknown>, path = 'records'): CostIntake {
  const intake = new CostIntake();
  let line = 0;
  for (const value of values) intake.addValue(value, { path, line: ++line });
  return intake;
}
