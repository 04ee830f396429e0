/**
 * What was refused one by one and kept for a person: a record of `POST /v1/events`, or samples whose clock is far off.
 * One JSON object a line of `quarantine/<day>.ndjson` in the data directory, with `received_at_ms` in front.
 */
export type SetAside = {
  readonly source: string;
  /** `record`: `raw` is the line as it came. `samples`: a list of `[series id, at_ms, value]`. `histograms`: rows. */
  readonly kind: 'record' | 'samples' | 'histograms';
  readonly code: string;
  readonly reason: string;
  /** How many there were; `raw` may hold fewer. */
  readonly count: number;
  readonly raw: string | readonly unknown[];
  /** `raw` was cut at its cap. */
  readonly truncated: boolean;
};
