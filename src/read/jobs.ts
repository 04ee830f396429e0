import { INCIDENTS } from '../control/collections.ts';
import type { Clock } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import type { Incident } from '../core/incident.ts';
import { formatUsd, parseUsd } from '../core/money.ts';
import type { Control, Store } from '../core/ports.ts';
import { notACursor } from '../server/cursor.ts';
import type { JobFilter, Page, Paging, StepFilter } from '../server/services.ts';
import type { JobDetail, JobItem, StepItem } from '../server/shapes/telemetry.ts';
import { pageOf } from './page.ts';
import { storedRecords } from './stored-records.ts';
import { TableNews } from './table-news.ts';

/** A job without news for this long has ended: longer than any checkpoint of a healthy job reports nothing. */
const ENDED_AFTER_MS = 120_000;
const JOBS_MAX = 5_000;
/** Times are below it, so that what is left to it sorts the latest first. */
const START_MS_MAX = 9_007_199_254_740_991;
/** Steps of the heat map's default and of the medians shown. */
const RECENT_STEPS = 200;

type JobRow = {
  readonly job: string;
  readonly attempt: number;
  readonly ranks: number;
  readonly last_step: number;
  readonly first_ms: number;
  readonly last_ms: number;
  readonly median_step_ms: number;
  readonly gpu_seconds: number;
  readonly rows: number;
  readonly steps: number;
  readonly world_size: number | null;
  readonly team: string | null;
  readonly model: string | null;
  readonly exited: number;
};

const JOBS_SQL = `
SELECT s.job AS job, s.attempt AS attempt, s.ranks AS ranks, s.last_step AS last_step, s.first_ms AS first_ms,
  s.last_ms AS last_ms, s.median_step_ms AS median_step_ms, s.gpu_seconds AS gpu_seconds, s.rows AS rows, s.steps AS steps,
  if(j.job = '', NULL, toFloat64(j.world_size)) AS world_size, j.team AS team, j.model AS model,
  toFloat64(h.exited) AS exited
FROM (SELECT job, toFloat64(max(ifNull(attempt, 0))) AS attempt, toFloat64(uniqExact(rank)) AS ranks,
    toFloat64(max(step)) AS last_step, min(at_ms) AS first_ms, max(at_ms) AS last_ms, median(duration_ms) AS median_step_ms,
    sum(duration_ms) / 1000 AS gpu_seconds, toFloat64(count()) AS rows,
    toFloat64(uniqExact(step)) AS steps
  FROM leeway.step FINAL WHERE ({job:String} = '' OR job = {job:String}) GROUP BY job) AS s
LEFT JOIN (SELECT job, argMax(world_size, at_ms) AS world_size, argMax(team, at_ms) AS team, argMax(model, at_ms) AS model
  FROM leeway.job FINAL WHERE ({job:String} = '' OR job = {job:String}) GROUP BY job) AS j ON j.job = s.job
LEFT JOIN (SELECT job, countIf(state = 'exited') AS exited FROM (
    SELECT job, rank, argMax(state, at_ms) AS state FROM leeway.heartbeat
    WHERE ({job:String} = '' OR job = {job:String}) GROUP BY job, rank) GROUP BY job) AS h ON h.job = s.job
ORDER BY s.first_ms DESC, s.job LIMIT ${JOBS_MAX}`;

/** Reading all jobs takes at most this share of the time: it aggregates every step that is stored. */
const READING_SHARE = 20;

/** The rows of all jobs, read again when there are new ones and the last reading is long enough ago. */
export class JobRows {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #news: TableNews;
  #held: readonly JobRow[] = [];
  #due_ms = Number.NEGATIVE_INFINITY;
  #reading: Promise<readonly JobRow[]> | null = null;

  constructor(store: Store, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
    this.#news = new TableNews(store);
  }

  /** Callers that come while a reading runs share it. */
  all(): Promise<readonly JobRow[]> {
    this.#reading ??= this.#all().finally(() => {
      this.#reading = null;
    });
    return this.#reading;
  }

  async #all(): Promise<readonly JobRow[]> {
    const started_ms = this.#clock.elapsed_ms();
    if (started_ms < this.#due_ms) return this.#held;
    const signal = new AbortController().signal;
    const news = await this.#news.look(signal);
    if (!['step', 'job', 'heartbeat'].some((table) => news.tables.has(table))) return this.#held;
    this.#held = await readRows(this.#store, '');
    news.read();
    const now_ms = this.#clock.elapsed_ms();
    this.#due_ms = now_ms + Math.min(60_000, READING_SHARE * (now_ms - started_ms));
    return this.#held;
  }
}

function readRows(store: Store, job: string): Promise<JobRow[]> {
  return store.query<JobRow>(JOBS_SQL, { job }, new AbortController().signal);
}

/** What lists of jobs are made of. */
export type JobDoors = { readonly rows: JobRows; readonly control: Control };

/** Jobs that reported steps, the latest start first: an order that pages can rely on. */
export async function listJobs(
  doors: JobDoors,
  query: { readonly filter: JobFilter; readonly paging: Paging; readonly now_ms: number },
): Promise<Page<JobItem>> {
  const { filter, paging, now_ms } = query;
  const rows = (await doors.rows.all()).filter((row) => filter.job === undefined || row.job === filter.job);
  const items = (await jobItems(doors.control, rows, filter.job, now_ms)).filter(
    (item) =>
      (filter.state === undefined || item.state === filter.state) &&
      (filter.team === undefined || item.team === filter.team) &&
      (filter.model === undefined || item.model === filter.model) &&
      (filter.from === undefined || (item.last_at_ms ?? 0) >= filter.from) &&
      (filter.to === undefined || (item.last_at_ms ?? 0) < filter.to),
  );
  const starts = new Map(rows.map((row) => [row.job, row.first_ms]));
  return pageOf(
    items,
    paging,
    ({ job }) => `${String(START_MS_MAX - (starts.get(job) ?? 0)).padStart(16, '0')} ${job}`,
  );
}

/** One job with its ranks over the last steps. Throws LW-NOT-FOUND. */
export async function jobDetail(
  doors: { readonly store: Store; readonly control: Control },
  job: string,
  now_ms: number,
): Promise<JobDetail> {
  const [item] = await jobItems(doors.control, await readRows(doors.store, job), job, now_ms);
  if (item === undefined) throw new LeewayError('LW-NOT-FOUND', `no job ${job} has reported a step`);
  return { ...item, ranks: await readRanks(doors.store, job, item.last_step ?? 0) };
}

/** Step records of a job as they were sent, by step and rank. */
export async function listSteps(
  store: Store,
  job: string,
  filter: StepFilter,
  paging: Paging,
): Promise<Page<StepItem>> {
  const after = paging.after === null ? START : stepPlace(String(paging.after.value));
  const rows = await storedRecords(
    store,
    {
      type: 'step',
      where: `job = {job:String} AND step >= {from:UInt64} AND step < {to:UInt64}
        AND (step, rank, at_ms, record_hash) > ({step:Int64}, {rank:Int64}, {at:Float64}, {hash:UInt64})
        AND (empty({ranks:Array(String)}) OR has({ranks:Array(String)}, toString(rank)))
        AND ({attempt:Int64} < 0 OR ifNull(attempt, 0) = {attempt:Int64})`,
      parameters: {
        job,
        from: filter.from_step ?? 0,
        to: filter.to_step ?? Number.MAX_SAFE_INTEGER,
        ...after,
        ranks: filter.ranks.map(String),
        attempt: filter.attempt ?? -1,
      },
      order: 'step, rank, at_ms, record_hash',
      limit: paging.limit + 1,
    },
    new AbortController().signal,
  );
  const shown = rows.slice(0, paging.limit);
  const last = rows.length > paging.limit ? shown.at(-1) : undefined;
  const items = shown.map(({ record }) => record);
  if (last === undefined) return { items, next: null };
  const { step, rank, at_ms } = last.record;
  const place = `${step}/${rank}/${at_ms}/${last.hash}`;
  return { items, next: { value: place, id: place } };
}

type StepPlace = { readonly step: number; readonly rank: number; readonly at: number; readonly hash: bigint };
const START: StepPlace = { step: 0, rank: -1, at: 0, hash: 0n };

/** The place that a cursor names. Throws LW-USAGE. */
function stepPlace(text: string): StepPlace {
  const [, step, rank, at, hash = ''] = /^(\d{1,16})\/(\d{1,16})\/(\d{1,16}(?:\.\d+)?)\/(\d{1,20})$/.exec(text) ?? [];
  if (hash === '' || BigInt(hash) >= 2n ** 64n || !Number.isSafeInteger(Number(step))) throw notACursor();
  return { step: Number(step), rank: Number(rank), at: Number(at), hash: BigInt(hash) };
}

async function jobItems(
  control: Control,
  rows: readonly JobRow[],
  job: string | undefined,
  now_ms: number,
): Promise<JobItem[]> {
  const incidents = await control.transaction((tx) =>
    tx.list(INCIDENTS, {
      where: [
        { field: 'opened_at_ms', is: '>', value: 0 },
        ...(job === undefined ? [] : [{ field: 'job', is: '=', value: job } as const]),
      ],
      order: { field: 'opened_at_ms', descending: true },
      limit: 5_000,
    }),
  );
  const byJob = Map.groupBy(
    incidents.map(({ body }) => body),
    (incident) => incident.job,
  );
  return rows.map((row) => jobItem(row, byJob.get(row.job) ?? [], now_ms));
}

function jobItem(row: JobRow, incidents: readonly Incident[], now_ms: number): JobItem {
  const open = incidents.filter((incident) => incident.status !== 'resolved');
  const expected = (row.world_size ?? row.ranks) * row.steps;
  const usd = incidents.reduce(
    (total, { usd_lost }) => total + (usd_lost === null ? 0n : (parseUsd(usd_lost) ?? 0n)),
    0n,
  );
  return {
    job: row.job,
    attempt: row.attempt,
    team: row.team,
    model: row.model,
    world_size: row.world_size ?? row.ranks,
    state: stateOf(row, open, now_ms),
    last_step: row.last_step,
    last_at_ms: row.last_ms,
    median_step_ms: row.median_step_ms,
    gpu_seconds: row.gpu_seconds,
    gpu_seconds_lost: incidents.reduce((total, { gpu_seconds_lost }) => total + (gpu_seconds_lost ?? 0), 0),
    usd_lost: formatUsd(usd),
    coverage_ratio: expected > 0 ? Math.min(1, row.rows / expected) : null,
    incidents_open: open.length,
  };
}

function stateOf(row: JobRow, open: readonly Incident[], now_ms: number): JobItem['state'] {
  if (row.exited >= row.ranks) return 'ended';
  if (open.some((incident) => incident.kind === 'hang')) return 'hung';
  if (now_ms - row.last_ms > ENDED_AFTER_MS) return 'ended';
  return open.length > 0 ? 'slowed' : 'running';
}

async function readRanks(store: Store, job: string, last_step: number): Promise<JobDetail['ranks']> {
  const signal = new AbortController().signal;
  const [ranks, placed] = await Promise.all([
    store.query<{ rank: number; compute_ms_median: number; last_step: number }>(
      `SELECT toFloat64(rank) AS rank, median(compute_ms) AS compute_ms_median, toFloat64(max(step)) AS last_step
       FROM leeway.step FINAL WHERE job = {job:String} AND step > {from:Int64} GROUP BY rank ORDER BY rank LIMIT 65536`,
      { job, from: BigInt(Math.max(0, last_step - RECENT_STEPS)) },
      signal,
    ),
    storedRecords(
      store,
      { type: 'job', where: 'job = {job:String}', parameters: { job }, order: 'at_ms DESC', limit: 1 },
      signal,
    ),
  ]);
  const places = new Map(placed[0]?.record.ranks.map((place) => [place.rank, place]));
  const sorted = ranks.map((rank) => rank.compute_ms_median).sort((a, b) => a - b);
  const quartile = sorted[Math.floor((sorted.length - 1) / 4)] ?? 0;
  return ranks.map((rank) => ({
    ...rank,
    node: places.get(rank.rank)?.node ?? null,
    gpu: places.get(rank.rank)?.gpu ?? null,
    cohort_ratio: quartile > 0 ? rank.compute_ms_median / quartile : null,
  }));
}
