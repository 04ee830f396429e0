import type { QueryParameters, Store } from '../core/ports.ts';
import { STREAM, type StreamMarks, unseen } from './stream-marks.ts';

/** What arrived of a version since the last look: its time span and the windows that took rows. Times Unix ms. */
export type FreshRows = {
  readonly model: string;
  readonly version: string;
  readonly first_ms: number;
  readonly last_ms: number;
  /** The newest lineage of each stream that they came by. */
  readonly lineages: readonly bigint[];
  /** Starts of the windows that changed. */
  readonly spans: readonly number[];
};

/** Where a row stands in a version's stream: ordered by time, then request. */
export type Position = { readonly at_ms: number; readonly request_id: string };

/** Named feature values as sent. */
export type FeatureValues = Readonly<Record<string, string | number | boolean | null>>;

export type PredictionRow = Position & { readonly features: FeatureValues };

/** Predictions and labels that met, in one span of time. */
export type SpanCount = {
  readonly from_ms: number;
  readonly predicted: number;
  readonly labelled: number;
  readonly correct: number;
};

/** Rows of one window that are read at most; of more, every k-th by the hash of its request stands for them all. */
export const WINDOW_ROWS_MAX = 20_000;

type Look = {
  /** Rows up to these marks were seen. */
  readonly after: StreamMarks;
  readonly since_ms: number;
  readonly span_ms: number;
  readonly spans_max: number;
};

function lookParameters({ since_ms, span_ms }: Look): QueryParameters {
  return { since: BigInt(Math.floor(since_ms)), span: span_ms };
}

type FreshRow = Omit<FreshRows, 'lineages'> & { readonly lineages: readonly string[] };

/** Predictions that are unseen and not older than `since_ms`, by version, newest activity last. */
export async function freshPredictions(store: Store, look: Look, signal: AbortSignal): Promise<FreshRows[]> {
  const rows = await store.query<FreshRow>(
    `SELECT model, version, min(first) AS first_ms, max(last) AS last_ms, groupArray(lineage) AS lineages,
       groupUniqArrayArray(${look.spans_max})(changed) AS spans
     FROM (SELECT model, version, min(at_ms) AS first, max(at_ms) AS last, bitNot(min(precedence)) AS lineage,
         groupUniqArray(${look.spans_max})(floor(at_ms / {span:Float64}) * {span:Float64}) AS changed
       FROM leeway.prediction WHERE at >= fromUnixTimestamp64Milli({since:Int64}) AND ${unseen(look.after)}
       GROUP BY model, version, ${STREAM})
     GROUP BY model, version ORDER BY last_ms`,
    lookParameters(look),
    signal,
  );
  return rows.map((row) => ({ ...row, lineages: row.lineages.map(BigInt) }));
}

/** The newest lineage of the unseen labels of each stream, none when none arrived. */
export async function freshLabels(store: Store, look: Look, signal: AbortSignal): Promise<bigint[]> {
  const rows = await store.query<{ readonly lineage: string }>(
    `SELECT bitNot(min(precedence)) AS lineage FROM leeway.label
     WHERE at >= fromUnixTimestamp64Milli({since:Int64}) AND ${unseen(look.after)} GROUP BY ${STREAM}`,
    lookParameters(look),
    signal,
  );
  return rows.map(({ lineage }) => BigInt(lineage));
}

/** Windows whose predictions got an unseen label: labels not older than `since_ms`, predictions than `from_ms`. */
export async function labelledSpans(
  store: Store,
  look: Look & { readonly from_ms: number },
  signal: AbortSignal,
): Promise<{ model: string; version: string; spans: number[] }[]> {
  return store.query(
    `SELECT model, version, groupUniqArray(${look.spans_max})(floor(at_ms / {span:Float64}) * {span:Float64}) AS spans
     FROM leeway.prediction WHERE at >= fromUnixTimestamp64Milli({from:Int64}) AND (model, request_id) IN (
       SELECT model, request_id FROM leeway.label
       WHERE at >= fromUnixTimestamp64Milli({since:Int64}) AND ${unseen(look.after)})
     GROUP BY model, version`,
    { ...lookParameters(look), from: BigInt(Math.floor(look.from_ms)) },
    signal,
  );
}

/** A version's rows in [from_ms, to_ms), strictly after `after` (null: from the first). */
export type RowRange = {
  readonly model: string;
  readonly version: string;
  readonly after: Position | null;
  readonly from_ms: number;
  readonly to_ms: number;
};

function rangeParameters({ model, version, after, from_ms, to_ms }: RowRange): QueryParameters {
  return {
    model,
    version,
    from: BigInt(Math.floor(from_ms)),
    from_ms,
    to_ms,
    after_ms: after?.at_ms ?? -1,
    after_id: after?.request_id ?? '',
  };
}

const IN_RANGE = `model = {model:String} AND version = {version:String}
  AND at >= fromUnixTimestamp64Milli({from:Int64}) AND at_ms >= {from_ms:Float64} AND at_ms < {to_ms:Float64}
  AND (at_ms, request_id) > ({after_ms:Float64}, {after_id:String})`;

type RawRow = Position & { readonly features: string };

/** Up to `limit` predictions of a range in order; with `every` k, one of k by the hash of its request. */
export async function predictionRows(
  store: Store,
  of: RowRange & { readonly limit: number; readonly every?: number },
  signal: AbortSignal,
): Promise<PredictionRow[]> {
  const rows = await store.query<RawRow>(
    `SELECT at_ms, request_id, features FROM leeway.prediction FINAL
     WHERE ${IN_RANGE} AND cityHash64(request_id) % {every:UInt64} = 0
     ORDER BY at_ms, request_id LIMIT {limit:UInt32}`,
    { ...rangeParameters(of), every: of.every ?? 1, limit: of.limit },
    signal,
  );
  return rows.map((row) => ({ at_ms: row.at_ms, request_id: row.request_id, features: parseFeatures(row.features) }));
}

function parseFeatures(text: string): FeatureValues {
  const value: unknown = JSON.parse(text);
  return typeof value === 'object' && value !== null ? { ...(value as FeatureValues) } : {}; // checked at the record door
}

/** The newest label of each request that a range's predictions name, compared as text: 7 and "7" are the same answer. */
const LABELLED = `SELECT p.at_ms AS at_ms, p.request_id AS request_id, p.answer AS answer, l.label AS label
FROM (SELECT at_ms, request_id, trim(BOTH '"' FROM prediction) AS answer FROM leeway.prediction FINAL WHERE ${IN_RANGE}) AS p
LEFT ANY JOIN (SELECT request_id, argMax(trim(BOTH '"' FROM label), at_ms) AS label FROM leeway.label
  WHERE model = {model:String} AND request_id IN (SELECT request_id FROM leeway.prediction WHERE ${IN_RANGE})
  GROUP BY request_id) AS l USING (request_id)`;

const COUNTED = `toFloat64(count()) AS predicted, toFloat64(countIf(label != '')) AS labelled,
  toFloat64(countIf(label != '' AND label = answer)) AS correct`;

/** Predictions, labels and hits of a version in the windows of `span_ms` that start at `spans` (ascending). */
export async function accuracyBySpan(
  store: Store,
  of: { model: string; version: string; spans: readonly number[]; span_ms: number },
  signal: AbortSignal,
): Promise<SpanCount[]> {
  const { model, version, spans, span_ms } = of;
  const range = { model, version, after: null, from_ms: spans[0] ?? 0, to_ms: (spans.at(-1) ?? 0) + span_ms };
  return store.query<SpanCount>(
    `SELECT floor(at_ms / {span:Float64}) * {span:Float64} AS from_ms, ${COUNTED}
     FROM (${LABELLED}) WHERE toString(toInt64(from_ms)) IN {spans:Array(String)} GROUP BY from_ms ORDER BY from_ms`,
    { ...rangeParameters(range), span: span_ms, spans: spans.map(String) },
    signal,
  );
}

/** Predictions, labels and hits of a version from `from_ms` up to and including the row at `last`. */
export async function accuracyThrough(
  store: Store,
  of: { model: string; version: string; from_ms: number; last: Position },
  signal: AbortSignal,
): Promise<{ labelled: number; correct: number }> {
  const { model, version, from_ms, last } = of;
  const range = { model, version, after: null, from_ms, to_ms: Math.floor(last.at_ms) + 1 };
  const rows = await store.query<{ labelled: number; correct: number }>(
    `SELECT ${COUNTED} FROM (${LABELLED}) WHERE (at_ms, request_id) <= ({last_ms:Float64}, {last_id:String})`,
    { ...rangeParameters(range), last_ms: last.at_ms, last_id: last.request_id },
    signal,
  );
  return { labelled: rows[0]?.labelled ?? 0, correct: rows[0]?.correct ?? 0 };
}

/**
 * Requests that the server counted for a version in [from, to): what the predictions should add up to. 0 = unknown.
 * A record that reaches over an end counts by the share of its window inside.
 */
export async function requestsServed(
  store: Store,
  of: { model: string; version: string; from_ms: number; to_ms: number },
  signal: AbortSignal,
): Promise<number> {
  const rows = await store.query<{ requests: number }>(
    `SELECT sum(requests * if(window_ms > 0,
         greatest(0, least(at_ms, {to:Float64}) - greatest(at_ms - window_ms, {from:Float64})) / window_ms, 1)) AS requests
     FROM leeway.inference FINAL WHERE model = {model:String} AND version = {version:String}
       AND at >= fromUnixTimestamp64Milli({since:Int64}) AND at_ms > {from:Float64} AND at_ms - window_ms < {to:Float64}`,
    {
      model: of.model,
      version: of.version,
      since: BigInt(Math.floor(of.from_ms)),
      from: of.from_ms,
      to: of.to_ms,
    },
    signal,
  );
  return rows[0]?.requests ?? 0;
}
