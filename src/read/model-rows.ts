import type { Store } from '../core/ports.ts';

/** A version of a model that has predictions in the window looked at. Times Unix ms. */
export type ActiveVersion = {
  readonly model: string;
  readonly version: string;
  readonly first_ms: number;
  readonly last_ms: number;
  readonly predictions: number;
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

/** The most rows of one window that are read; more are sampled by time order and show in `coverage_ratio`. */
export const WINDOW_ROWS_MAX = 20_000;

/** Versions with predictions since `since_ms`, newest activity last. */
export async function activeVersions(store: Store, since_ms: number, signal: AbortSignal): Promise<ActiveVersion[]> {
  return store.query<ActiveVersion>(
    `SELECT model, version, min(at_ms) AS first_ms, max(at_ms) AS last_ms, toFloat64(count()) AS predictions
     FROM leeway.prediction WHERE at >= fromUnixTimestamp64Milli({since:Int64}) GROUP BY model, version ORDER BY last_ms`,
    { since: BigInt(Math.floor(since_ms)) },
    signal,
  );
}

type RawRow = Position & { readonly features: string };

/** Up to `limit` predictions of a version strictly after `after` (null: from the first) and before `to_ms`, in order. */
export async function predictionRows(
  store: Store,
  of: { model: string; version: string; after: Position | null; from_ms: number; to_ms: number; limit: number },
  signal: AbortSignal,
): Promise<PredictionRow[]> {
  const rows = await store.query<RawRow>(
    `SELECT at_ms, request_id, features FROM leeway.prediction FINAL
     WHERE model = {model:String} AND version = {version:String}
       AND at >= fromUnixTimestamp64Milli({from:Int64}) AND at_ms < {to:Float64}
       AND (at_ms, request_id) > ({after_ms:Float64}, {after_id:String})
     ORDER BY at_ms, request_id LIMIT {limit:UInt32}`,
    {
      model: of.model,
      version: of.version,
      from: BigInt(Math.floor(of.from_ms)),
      to: of.to_ms,
      after_ms: of.after?.at_ms ?? 0,
      after_id: of.after?.request_id ?? '',
      limit: of.limit,
    },
    signal,
  );
  return rows.map((row) => ({ at_ms: row.at_ms, request_id: row.request_id, features: parseFeatures(row.features) }));
}

function parseFeatures(text: string): FeatureValues {
  const value: unknown = JSON.parse(text);
  return typeof value === 'object' && value !== null ? { ...(value as FeatureValues) } : {}; // checked at the record door
}

/** Predictions, labels and hits of a version in spans of `span_ms` aligned to the epoch, after `after`. */
export async function accuracyBySpan(
  store: Store,
  of: { model: string; version: string; after: Position | null; from_ms: number; to_ms: number; span_ms: number },
  signal: AbortSignal,
): Promise<SpanCount[]> {
  return store.query<SpanCount>(
    `SELECT floor(p.at_ms / {span:Float64}) * {span:Float64} AS from_ms, toFloat64(count()) AS predicted,
       toFloat64(countIf(l.label != '')) AS labelled, toFloat64(countIf(l.label != '' AND l.label = p.answer)) AS correct
     FROM (SELECT at_ms, request_id, trim(BOTH '"' FROM prediction) AS answer FROM leeway.prediction FINAL
           WHERE model = {model:String} AND version = {version:String} AND at >= fromUnixTimestamp64Milli({from:Int64})
             AND at_ms < {to:Float64} AND (at_ms, request_id) > ({after_ms:Float64}, {after_id:String})) AS p
     LEFT ANY JOIN (SELECT request_id, trim(BOTH '"' FROM label) AS label FROM leeway.label FINAL
           WHERE model = {model:String} AND at >= fromUnixTimestamp64Milli({from:Int64})) AS l USING (request_id)
     GROUP BY from_ms ORDER BY from_ms`,
    {
      model: of.model,
      version: of.version,
      from: BigInt(Math.floor(of.from_ms)),
      to: of.to_ms,
      after_ms: of.after?.at_ms ?? 0,
      after_id: of.after?.request_id ?? '',
      span: of.span_ms,
    },
    signal,
  );
}

/** Requests that the server counted for a version in [from, to): what the predictions should add up to. 0 = unknown. */
export async function requestsServed(
  store: Store,
  of: { model: string; version: string; from_ms: number; to_ms: number },
  signal: AbortSignal,
): Promise<number> {
  const rows = await store.query<{ requests: number }>(
    `SELECT toFloat64(sum(requests)) AS requests FROM leeway.inference FINAL WHERE model = {model:String} AND version = {version:String}
       AND at_ms >= {from:Float64} AND at_ms < {to:Float64}`,
    { model: of.model, version: of.version, from: of.from_ms, to: of.to_ms },
    signal,
  );
  return rows[0]?.requests ?? 0;
}
