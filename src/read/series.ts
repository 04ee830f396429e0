import { LeewayError } from '../core/errors.ts';
import type { QueryParameters, Store } from '../core/ports.ts';
import { exactBits } from '../formats/exact-number.ts';
import { fieldsOf } from '../formats/record-rows.ts';
import { bitsOfScaled } from '../formats/scaled-value.ts';
import { notACursor } from '../server/cursor.ts';
import type { Page, Paging, SampleFilter, SeriesFilter } from '../server/services.ts';
import type { ExemplarItem, HistogramItem, SampleItem, SeriesItem } from '../server/shapes/series.ts';

const never = new AbortController().signal;

type Row = Readonly<Record<string, unknown>>;

/**
 * Series of open ingest by metric and id, each with the newest description that was given of it, else of its metric (remote
 * write 1.0 describes metrics).
 */
export async function listSeries(store: Store, filter: SeriesFilter, paging: Paging): Promise<Page<SeriesItem>> {
  const [metric = '', id = '0'] = paging.after === null ? [] : [String(paging.after.value), paging.after.id];
  const rows = await store.query<Row>(
    `SELECT * FROM leeway.series FINAL WHERE ({any:UInt8} OR metric = {metric:String})
AND ({whole:UInt8} OR id = {id:UInt64}) AND (metric, id) > ({after_metric:String}, {after_id:UInt64})
ORDER BY metric, id, kind = 'unknown' AND unit = '' AND help = '', precedence
LIMIT 1 BY metric, id LIMIT {limit:UInt32}`,
    {
      any: filter.metric === undefined ? 1 : 0,
      metric: filter.metric ?? '',
      whole: filter.id === undefined ? 1 : 0,
      id: seriesNumber(filter.id ?? '0'),
      after_metric: metric,
      after_id: cursorNumber(id),
      limit: paging.limit + 1,
    },
    never,
  );
  const said = await metadataOf(store, rows);
  const items = rows.map((row): SeriesItem => {
    const own = fieldsOf('series', row) as SeriesItem; // the store's parse door: it holds such rows only
    const of_metric = said.get(own.metric);
    return of_metric === undefined || isDescribed(own) ? own : { ...own, ...of_metric };
  });
  return pageFrom(items, paging, ({ metric: value, id: own }) => ({ value, id: own }));
}

type Description = Pick<SeriesItem, 'kind' | 'unit' | 'help'>;

const isDescribed = ({ kind, unit, help }: Description): boolean => kind !== 'unknown' || unit !== '' || help !== '';

/** What senders last said of the metrics of these rows, apart from any series. */
async function metadataOf(store: Store, rows: readonly Row[]): Promise<ReadonlyMap<string, Description>> {
  const metrics = [...new Set(rows.map((row) => String(row['metric'])))];
  if (metrics.length === 0) return new Map();
  const found = await store.query<Row>(
    `SELECT * FROM leeway.metadata FINAL WHERE metric IN {metrics:Array(String)}
ORDER BY metric, precedence LIMIT 1 BY metric`,
    { metrics },
    never,
  );
  return new Map(
    found.map((row) => {
      const { metric, kind, unit, help } = fieldsOf('metadata', row) as Description & { readonly metric: string }; // as above
      return [metric, { kind, unit, help }];
    }),
  );
}

/** Samples of one series by time, exactly as they were sent; of two at one time the first that came. */
export async function listSamples(
  store: Store,
  id: string,
  filter: SampleFilter,
  paging: Paging,
): Promise<Page<SampleItem>> {
  const rows = await store.query<{ at_ms: string; mant: string; exp: number }>(
    `SELECT toUnixTimestamp64Milli(at) AS at_ms, mant, exp FROM leeway.samples FINAL
WHERE id = {id:UInt64} AND at >= fromUnixTimestamp64Milli({from:Int64}) AND at < fromUnixTimestamp64Milli({to:Int64})
ORDER BY at LIMIT {limit:UInt32}`,
    spanOf(id, filter, paging),
    never,
  );
  const items = rows.map(({ at_ms, mant, exp }): SampleItem => {
    const bits = bitsOfScaled(BigInt(mant), exp);
    return { at_ms: Number(at_ms), value: exactBits(Number(bits & 0xffff_ffffn), Number(bits >> 32n)) };
  });
  return pageFrom(items, paging, ({ at_ms }) => ({ value: at_ms, id: String(at_ms) }));
}

/** Native histograms of one series by time. */
export async function listHistograms(
  store: Store,
  id: string,
  filter: SampleFilter,
  paging: Paging,
): Promise<Page<HistogramItem>> {
  return (await rowsOf(store, 'histogram', { id, filter, paging })) as unknown as Page<HistogramItem>; // as above
}

/** Exemplars of one series by time. */
export async function listExemplars(
  store: Store,
  id: string,
  filter: SampleFilter,
  paging: Paging,
): Promise<Page<ExemplarItem>> {
  return (await rowsOf(store, 'exemplar', { id, filter, paging })) as unknown as Page<ExemplarItem>; // as above
}

async function rowsOf(
  store: Store,
  table: 'histogram' | 'exemplar',
  { id, filter, paging }: { readonly id: string; readonly filter: SampleFilter; readonly paging: Paging },
): Promise<Page<Row & { readonly at_ms: number }>> {
  const { value: after_ms, id: after_hash } = paging.after ?? { value: 0, id: '0' };
  const rows = await store.query<Row>(
    `SELECT * FROM leeway.${table} FINAL WHERE series = {id:UInt64}
AND at >= fromUnixTimestamp64Milli({from:Int64}) AND at < fromUnixTimestamp64Milli({to:Int64})
AND ({first:UInt8} OR (at, record_hash) > (fromUnixTimestamp64Milli({after:Int64}), {after_hash:UInt64}))
ORDER BY at, record_hash LIMIT {limit:UInt32}`,
    {
      ...spanOf(id, filter, { ...paging, after: null }),
      first: paging.after === null ? 1 : 0,
      after: cursorTime(after_ms),
      after_hash: cursorNumber(after_hash),
    },
    never,
  );
  const page = pageFrom(rows, paging, (row) => ({
    value: Number(fieldsOf(table, row)['at_ms']),
    id: String(row['record_hash']),
  }));
  const items = page.items.map((row) => fieldsOf(table, row) as Row & { readonly at_ms: number }); // as above
  return { ...page, items };
}

/** The engine's times end in 2299. */
const TO_MS_MAX = 10_413_791_999_999;

function spanOf(id: string, filter: SampleFilter, paging: Paging): QueryParameters {
  const after_ms = paging.after === null ? 0 : cursorTime(paging.after.value) + 1;
  // times are whole milliseconds: from 1.5 on is from 2 on, and below 1.5 is below 2
  return {
    id: seriesNumber(id),
    from: Math.min(Math.max(Math.ceil(filter.from ?? 0), after_ms), TO_MS_MAX),
    to: Math.min(Math.ceil(filter.to ?? TO_MS_MAX), TO_MS_MAX),
    limit: paging.limit + 1,
  };
}

function seriesNumber(id: string): bigint {
  const number = numberOf(id);
  if (number !== null) return number;
  throw new LeewayError('LW-NOT-FOUND', `no series ${id.slice(0, 40)}: an id is a 64-bit integer in decimal`);
}

/** The 64-bit number that a cursor ends with. Throws LW-USAGE. */
function cursorNumber(id: string): bigint {
  const number = numberOf(id);
  if (number === null) throw notACursor();
  return number;
}

/** The time that a cursor ends with. Throws LW-USAGE. */
function cursorTime(value: string | number): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || Math.abs(value) > TO_MS_MAX) throw notACursor();
  return value;
}

function numberOf(digits: string): bigint | null {
  if (!/^[0-9]{1,20}$/.test(digits)) return null;
  const number = BigInt(digits);
  return number < 2n ** 64n ? number : null;
}

function pageFrom<Item>(
  items: readonly Item[],
  { limit }: Paging,
  placeOf: (item: Item) => { value: string | number; id: string },
): Page<Item> {
  const shown = items.slice(0, limit);
  const last = items.length > limit ? shown.at(-1) : undefined;
  return { items: shown, next: last === undefined ? null : placeOf(last) };
}
