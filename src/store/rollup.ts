import type { Engine, WritingSession } from './engine.ts';
import type { RollupTable } from './rollup-schema.ts';

/** Minutes computed by one statement: 10,000 series at one sample a second are 36 million rows an hour. */
const MINUTES_A_STATEMENT = 60;
/** Minutes of one call, the newest first; the next one goes on. */
const MINUTES_MAX = 240;
/** Minutes listed by one call. */
const LISTED_MAX = 10_000;
const MINUTE_MS = 60_000;
const HOUR_S = 3_600;
const DAY_S = 86_400;

/** Days whose samples retention dropped (expire.ts). */
const DROPPED_DAYS = `SELECT DISTINCT partition AS day FROM leeway.expired FINAL WHERE \`table\` = 'samples' AND done < 2`;

/** Bits of Prometheus' stale marker: it says that a series ended and is no value. */
const STALE_BITS = '0x7ff0000000000002';

export type RolledUp = {
  readonly minutes: number;
  /** Minutes of which raw samples are dropped already: their roll-ups stay as they are. */
  readonly too_old: number;
  /** Minutes that are known to wait for the next call. */
  readonly left: number;
};

type DirtyRow = { readonly t: string; readonly marks: readonly string[] };

/** Marks the minutes that an insert touched, after its rows are there and before its ledger says so. */
export async function markDirty(
  session: WritingSession,
  minutes: Iterable<number>,
  newMark: () => bigint,
): Promise<void> {
  const rows = Array.from(minutes, (minute) => ({ t: minute * 60, mark: String(newMark()), sign: 1 }));
  if (rows.length > 0) await session.insert('leeway.samples_dirty', rows);
}

export type RollUpOptions = {
  readonly now_ms: number;
  /** Days that minutes are kept: hours of older ones are computed from samples, where these are kept longer. */
  readonly rollup_1m_days: number;
  readonly onBegin: () => void;
};

/**
 * Computes anew, from deduplicated samples, every past minute that inserts touched and the hours they lie in. Replays and
 * late samples give the same numbers as if all had come at once, because nothing is added up: a row is replaced. One at a
 * time (the caller's lease): of two at once the slower could put back what it read earlier, until the next change.
 */
export function rollUp(
  engine: Engine,
  { now_ms, rollup_1m_days, onBegin }: RollUpOptions,
  signal: AbortSignal,
): Promise<RolledUp> {
  return engine.write(async (session) => {
    onBegin();
    const dirty =
      await session.rows<DirtyRow>(`SELECT toUnixTimestamp(t) AS t, groupArray(toString(mark)) AS marks FROM (
  SELECT t, mark FROM leeway.samples_dirty WHERE t <= toDateTime(${Math.floor(now_ms / MINUTE_MS) * 60 - 60}, 'UTC')
  GROUP BY t, mark HAVING sum(sign) > 0
) GROUP BY t ORDER BY t DESC LIMIT ${LISTED_MAX}`);
    // of these days the samples are gone: what came later is not all that there was
    const dropped = await session.rows<{ day: string }>(DROPPED_DAYS);
    const days = new Set(dropped.map(({ day }) => day));
    const isKept = (row: DirtyRow): boolean => !days.has(dayOf(Number(row.t)));
    const due = dirty.filter(isKept).slice(0, MINUTES_MAX);
    const too_old = dirty.filter((row) => !isKept(row));
    for (let from = 0; from < due.length; from += MINUTES_A_STATEMENT) {
      signal.throwIfAborted();
      const some = due.slice(from, from + MINUTES_A_STATEMENT);
      const minutes = some.map((row) => Number(row.t));
      await session.command(fromSamples('samples_1m', minutes, 60));
      const hours = new Set(minutes.map((minute) => minute - (minute % HOUR_S)));
      const isOld = (hour: number): boolean => isPast(hour, now_ms, rollup_1m_days);
      const { old = [], young = [] } = Object.groupBy(hours, (hour) => (isOld(hour) ? 'old' : 'young'));
      if (young.length > 0) await session.command(hoursFromMinutes(young));
      if (old.length > 0) await session.command(fromSamples('samples_1h', old, HOUR_S));
      await unmark(session, some);
    }
    await unmark(session, too_old);
    return { minutes: due.length, too_old: too_old.length, left: dirty.length - too_old.length - due.length };
  }, signal);
}

/** Whether minutes of an hour may be gone. The engine drops them by its own clock, which may be an hour ahead. */
function isPast(hour: number, now_ms: number, rollup_1m_days: number): boolean {
  return hour - (hour % DAY_S) + rollup_1m_days * DAY_S <= now_ms / 1_000 + HOUR_S;
}

/** `YYYYMMDD` of a time in seconds. */
function dayOf(at_s: number): string {
  return new Date(at_s * 1_000).toISOString().slice(0, 10).replaceAll('-', '');
}

async function unmark(session: WritingSession, rows: readonly DirtyRow[]): Promise<void> {
  const marks = rows.flatMap(({ t, marks: of }) => of.map((mark) => ({ t: Number(t), mark, sign: -1 })));
  if (marks.length > 0) await session.insert('leeway.samples_dirty', marks);
}

/** One thread, and parts merged in the order of the key: sums of doubles depend on the order of their terms. */
const IN_ORDER = 'SETTINGS max_threads = 1, split_parts_ranges_into_intersecting_and_non_intersecting_final = 0';

function fromSamples(into: RollupTable, starts: readonly number[], seconds: number): string {
  const finite = 'isFinite(value)';
  return rollupSql(into, starts, {
    columns: `minIf(value, ${finite}), maxIf(value, ${finite}), sumIf(value, ${finite}), argMaxIf(value, at, ${finite}),
  countIf(${finite}) AS finite, countIf(NOT ${finite} AND reinterpretAsUInt64(value) != ${STALE_BITS}) AS others`,
    from: 'samples',
    time: 'at',
    seconds,
    having: 'HAVING finite + others > 0',
  });
}

function hoursFromMinutes(hours: readonly number[]): string {
  return rollupSql('samples_1h', hours, {
    columns: `minIf(min, count > 0), maxIf(max, count > 0), sum(samples_1m.sum), argMaxIf(last, samples_1m.t, count > 0),
  sum(samples_1m.count), sum(samples_1m.non_finite)`,
    from: 'samples_1m',
    time: 't',
    seconds: HOUR_S,
    having: '',
  });
}

type Shape = {
  readonly columns: string;
  readonly from: 'samples' | 'samples_1m';
  readonly time: 'at' | 't';
  readonly seconds: number;
  readonly having: string;
};

function rollupSql(into: RollupTable, starts: readonly number[], shape: Shape): string {
  const { columns, from, time, seconds, having } = shape;
  const list = starts.map((start) => `toDateTime(${start}, 'UTC')`).join(', ');
  // bounds of the column's own type: against a DateTime, engine 26.7 prunes parts by seconds and loses 00:00:59.999
  const bound = (at_s: number): string =>
    time === 'at' ? `fromUnixTimestamp64Milli(toInt64(${at_s * 1_000}), 'UTC')` : `toDateTime(${at_s}, 'UTC')`;
  const span = `${from}.${time} >= ${bound(Math.min(...starts))} AND ${from}.${time} < ${bound(Math.max(...starts) + seconds)}`;
  const start = `toStartOfInterval(toDateTime(${from}.${time}, 'UTC'), toIntervalSecond(${seconds}))`;
  return `INSERT INTO leeway.${into} (id, t, min, max, sum, last, count, non_finite, ver)
SELECT id, ${start} AS start, ${columns}, (SELECT max(ver) FROM leeway.${into} WHERE t IN (${list})) + 1
FROM leeway.${from} FINAL WHERE ${span} AND ${start} IN (${list})
GROUP BY id, start ${having}
${IN_ORDER}, async_insert = 0, max_partitions_per_insert_block = 0`;
}
