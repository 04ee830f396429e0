import { assert } from '../core/assert.ts';
import { LeewayError } from '../core/errors.ts';
import { divideHalfEven, largestRemainder } from '../core/money.ts';
import { type Fraction, subtractFrom, sumFractions } from '../core/rational.ts';
import type { AssetBook } from './book.ts';
import { basisOf, byBytes, type HourRow, modeBit, tieKey } from './hour-row.ts';
import { type Category, HOUR_US, HOUR_US_BIG, hourAfter, hourOf, type Tenant } from './record.ts';
import { type Piece, sharePieces } from './shares.ts';

/** Hours [from, to) since 1970; lists of them ascend and do not touch. */
export type HourRange = { readonly from: number; readonly to: number };

/** An asset's hour: its bill and the rows that add up to it. */
export type HourBill = { readonly hour: number; readonly nano_usd: bigint; readonly rows: readonly HourRow[] };

/** A stretch of one hour at one price, in µs after the asset's base. */
export type Cell = {
  readonly from: number;
  readonly to: number;
  readonly hour: number;
  readonly nano_usd_per_hour: bigint;
  readonly priced: boolean;
};

/** Told of every piece within one cell: the money of it is price × (to − from) × weight / (scale × divisor). */
export type Observer = (part: {
  readonly cell: Cell;
  readonly from: number;
  readonly to: number;
  readonly piece: Piece;
}) => void;

/** Most cells of one asset: 285 years of hours, the longest span whose µs are exact numbers (2⁵³ / 3.6 × 10⁹). */
const CELLS_MAX = 2_500_000;

type Term = { cost: bigint; time: bigint };
type RowSum = { category: Category; tenant: Tenant | null; modes: number; terms: Map<bigint, Term> };

/** The cells of the billed life within `hours`, and the base that their times count from. */
export function cellsOf(book: AssetBook, hours: readonly HourRange[]): { base_us: bigint; cells: Cell[] } {
  const first = hourOf(book.asset.from_us);
  const last = hourAfter(book.billed_to_us);
  const own = hours
    .map((range) => ({ from: Math.max(range.from, first), to: Math.min(range.to, last) }))
    .filter((range) => range.from < range.to);
  if (book.billed_to_us <= book.asset.from_us || own.length === 0) return { base_us: 0n, cells: [] };
  const base = own[0]?.from ?? 0;
  if ((own.at(-1)?.to ?? 0) - base > CELLS_MAX)
    throw new LeewayError(
      'LW-INPUT',
      `asset ${JSON.stringify(book.asset.id)} spans more than ${CELLS_MAX} hours; check its times or give --from and --to`,
    );
  const base_us = BigInt(base) * HOUR_US_BIG;
  const clock = { base, begin: Number(book.asset.from_us - base_us), end: Number(book.billed_to_us - base_us) };
  const steps = book.prices.map((step) => ({ at: Number(step.from_us - base_us), price: step.nano_usd_per_hour }));
  return { base_us, cells: cut(own, clock, steps) };
}

type Step = { readonly at: number; readonly price: bigint };

function cut(hours: readonly HourRange[], clock: { base: number; begin: number; end: number }, steps: Step[]): Cell[] {
  const cells: Cell[] = [];
  let step = -1; // the step in force
  for (const range of hours)
    for (let hour = range.from; hour < range.to; hour++) {
      const end = Math.min(clock.end, (hour + 1 - clock.base) * HOUR_US);
      let from = Math.max(clock.begin, (hour - clock.base) * HOUR_US);
      while (from < end) {
        while ((steps[step + 1]?.at ?? Infinity) <= from) step++;
        const to = Math.min(end, steps[step + 1]?.at ?? Infinity);
        const nano_usd_per_hour = steps[step]?.price ?? 0n;
        cells.push({ from, to, hour, nano_usd_per_hour, priced: step >= 0 });
        from = to;
      }
    }
  return cells;
}

/**
 * Bills an asset hour by hour over `hours`: exact shares, one half-even rounding of the hour's bill, rows by largest
 * remainder that add up to it. Source: contracts/cost.md "Rounding". O(claims log claims + pieces + hours).
 */
export function billAsset(book: AssetBook, hours: readonly HourRange[], observe?: Observer): HourBill[] {
  const { base_us, cells } = cellsOf(book, hours);
  const last = cells.at(-1);
  if (last === undefined) return [];
  const sums = new Map<number, Map<string, RowSum>>();
  const life = {
    base_us,
    low: Math.max(0, Number(book.asset.from_us - base_us)),
    high: Math.min(last.to, Number(book.to_us - base_us)),
  };
  sharePieces(book, life, (piece) => {
    for (let index = cellAt(cells, piece.from); index < cells.length; index++) {
      const cell = cells[index] as Cell; // index < length
      if (cell.from >= piece.to) break;
      const from = Math.max(cell.from, piece.from);
      const to = Math.min(cell.to, piece.to);
      deposit(rowOf(sums, cell.hour, piece), piece, { lasted: BigInt(to - from), price: cell.nano_usd_per_hour });
      observe?.({ cell, from, to, piece });
    }
  });
  return hourTotals(cells).map((total) => settle(book, total, sums.get(total.hour)));
}

/** Index of the first cell that ends after `at`. */
function cellAt(cells: readonly Cell[], at: number): number {
  let low = 0;
  let high = cells.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((cells[middle]?.to ?? 0) > at) high = middle;
    else low = middle + 1;
  }
  return low;
}

function rowOf(sums: Map<number, Map<string, RowSum>>, hour: number, piece: Piece): RowSum {
  let rows = sums.get(hour);
  if (rows === undefined) sums.set(hour, (rows = new Map()));
  const key = piece.tenant?.key ?? piece.category;
  let row = rows.get(key);
  if (row === undefined)
    rows.set(key, (row = { category: piece.category, tenant: piece.tenant, modes: 0, terms: new Map() }));
  return row;
}

function deposit(row: RowSum, piece: Piece, cell: { lasted: bigint; price: bigint }): void {
  if (row.tenant !== null) row.modes |= modeBit(piece.mode);
  const time = cell.lasted * piece.weight;
  const term = row.terms.get(piece.scale);
  if (term === undefined) row.terms.set(piece.scale, { cost: time * cell.price, time });
  else {
    term.cost += time * cell.price;
    term.time += time;
  }
}

type HourTotal = { readonly hour: number; cost: bigint; time: bigint };

/** Σ price × µs and Σ µs of each hour. */
function hourTotals(cells: readonly Cell[]): HourTotal[] {
  const totals: HourTotal[] = [];
  for (const cell of cells) {
    const lasted = BigInt(cell.to - cell.from);
    const held = totals.at(-1);
    if (held?.hour === cell.hour) {
      held.cost += lasted * cell.nano_usd_per_hour;
      held.time += lasted;
    } else totals.push({ hour: cell.hour, cost: lasted * cell.nano_usd_per_hour, time: lasted });
  }
  return totals;
}

/** 10⁻¹⁵ s in one µs. */
const FS_PER_US = 1_000_000_000n;

function settle(book: AssetBook, total: HourTotal, sums: ReadonlyMap<string, RowSum> | undefined): HourBill {
  const { id, gpus } = book.asset;
  const divisor = gpus === 0n ? 1n : gpus;
  const nano_usd = divideHalfEven(total.cost, HOUR_US_BIG);
  const rows = [...(sums?.values() ?? [])].map((row) => ({
    category: row.category,
    tenant: row.tenant,
    basis: basisOf(row.modes, 'asset'),
    cost: sumFractions([...row.terms].map(([denominator, term]) => ({ numerator: term.cost, denominator }))),
    gpu_time_fs: gpus === 0n ? 0n : roundedTime(row.terms),
  }));
  const idle: Fraction = subtractFrom(total.cost * divisor, sumFractions(rows.map((row) => row.cost)));
  assert(idle.numerator >= 0n, 'shares of an asset never exceed the asset');
  const gpu_time_fs = rows.reduce((rest, row) => rest - row.gpu_time_fs, gpus * total.time * FS_PER_US);
  rows.push({
    category: 'idle',
    tenant: null,
    basis: 'asset',
    cost: idle,
    gpu_time_fs: gpu_time_fs > 0n ? gpu_time_fs : 0n,
  });
  const amounts = largestRemainder(
    nano_usd,
    rows.map((row) => ({
      key: tieKey(row),
      numerator: row.cost.numerator,
      denominator: row.cost.denominator * divisor * HOUR_US_BIG,
    })),
    byBytes,
  );
  return {
    hour: total.hour,
    nano_usd,
    rows: rows
      .map(({ category, tenant, basis, gpu_time_fs }, index): HourRow => {
        const amount = amounts[index] ?? 0n;
        return {
          asset: id,
          hour: total.hour,
          source: 'asset',
          category,
          tenant,
          correction: false,
          nano_usd: amount,
          gpu_time_fs,
          basis,
        };
      })
      .filter((row) => row.nano_usd !== 0n || row.gpu_time_fs !== 0n),
  };
}

function roundedTime(terms: ReadonlyMap<bigint, Term>): bigint {
  let sum = 0n;
  for (const [scale, term] of terms) sum += divideHalfEven(term.time * FS_PER_US, scale);
  return sum;
}
