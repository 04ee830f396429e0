import { LeewayError } from '../core/errors.ts';
import { type Allocation, groupAllocations } from './allocations.ts';
import { billAsset, cellsOf, type HourRange } from './asset-bill.ts';
import { type Badput, BadputLedger } from './badput.ts';
import { type AssetBook, type Book, bookOf } from './book.ts';
import { addCovered, commitmentRows, type CoveredBills } from './commitment.ts';
import { correctionRows, hourBooked, hoursTouched } from './correction.ts';
import type { CostIntake } from './intake.ts';
import { type InvoiceLine, invoiceOf } from './invoice.ts';
import { overheadRows } from './overhead.ts';
import type { Category, Rejection } from './record.ts';
import { HOUR_MS, hourAfter, hourOf } from './record.ts';
import { type Recommendation, recommendationsOf } from './recommendations.ts';
import { storageRows, transferRows } from './usage-charges.ts';
import type { HourRow } from './hour-row.ts';
import { type UnitCost, unitCostsOf } from './unit-costs.ts';

/** The reported window, on UTC hours (LW-USAGE otherwise); absent means everything on that side. */
export type LedgerOptions = {
  readonly from_ms?: number;
  readonly to_ms?: number;
  /** Tenant keys to keep: allocations and invoice are added up over the others. */
  readonly group_by?: readonly string[];
};

type CostWarning = { readonly code: 'LW-COST-UNPRICED'; readonly asset: string; readonly message: string };

/** Totals by category; their sum is `billed`. Nano-USD. */
type Totals = Readonly<Record<'billed' | Category, bigint>>;

/** Everything the ledger knows. `rows` are the smallest entries, one an asset, hour, category and tenant. */
export type Ledger = {
  readonly window: HourRange;
  readonly totals: Totals;
  readonly rows: readonly HourRow[];
  readonly allocations: readonly Allocation[];
  readonly invoice: readonly InvoiceLine[];
  readonly badput: readonly Badput[];
  readonly unit_costs: readonly UnitCost[];
  readonly recommendations: readonly Recommendation[];
  readonly warnings: readonly CostWarning[];
  readonly rejected: readonly Rejection[];
  readonly book: Book;
};

/** Most hours over all assets and charges: 1,000 assets for a year. More needs a window. */
const HOURS_MAX = 8_760_000;

/**
 * The exact cost ledger of a set of records (contracts/cost.md): every row an integer of nano-USD, rows of an asset's
 * hour add up to its bill, allocations to the total. Pure; does not depend on the order of the records.
 * Throws LW-USAGE for a window off the hours and LW-INPUT where the hours exceed HOURS_MAX.
 */
export function costLedger(intake: CostIntake, options: LedgerOptions = {}): Ledger {
  const window = windowOf(options);
  const book = bookOf(intake, options.to_ms === undefined ? null : BigInt(options.to_ms) * 1000n);
  checkHours(book, window);
  const assets = billAssets(book, window);
  const charged = [...assets.rows, ...transferRows(book.transfers, window), ...storageRows(book.storages, window)];
  const overheads = overheadRows(book.overheads, charged, window);
  const unused = commitmentRows(book.commitments, assets.covered, window);
  const corrections = correctionRows(
    book.corrections.filter((correction) => inWindow(hourBooked(correction), window)),
    (asset) => assets.forCorrections.get(asset) ?? new Map<number, HourRow[]>(),
  );
  const rows = [...charged, ...overheads, ...unused, ...corrections];
  return {
    window,
    totals: totalsOf(rows),
    rows,
    allocations: groupAllocations({ rows }, options.group_by === undefined ? {} : { group_by: options.group_by }),
    invoice: invoiceOf(rows, options.group_by),
    badput: assets.badput.settle(assets.rows),
    unit_costs: unitCostsOf(rows, book.served, window),
    recommendations: recommendationsOf(rows),
    warnings: assets.warnings,
    rejected: book.rejections,
    book,
  };
}

function windowOf({ from_ms, to_ms }: LedgerOptions): HourRange {
  for (const [name, value] of [
    ['from', from_ms],
    ['to', to_ms],
  ] as const)
    if (value !== undefined && (!Number.isSafeInteger(value) || value < 0 || value % HOUR_MS !== 0))
      throw new LeewayError(
        'LW-USAGE',
        `${name} ${value} ms is not on a UTC hour; give a whole hour such as 2026-01-01T00:00:00Z`,
      );
  if (from_ms !== undefined && to_ms !== undefined && to_ms < from_ms)
    throw new LeewayError('LW-USAGE', `to ${to_ms} ms is before from ${from_ms} ms; swap them`);
  return { from: (from_ms ?? 0) / HOUR_MS, to: to_ms === undefined ? Infinity : to_ms / HOUR_MS };
}

function inWindow(hour: number, window: HourRange): boolean {
  return hour >= window.from && hour < window.to;
}

function checkHours(book: Book, window: HourRange): void {
  const spans = [
    ...book.assets.map(({ asset, billed_to_us }) => ({ from_us: asset.from_us, to_us: billed_to_us })),
    ...book.overheads,
    ...book.storages,
    ...book.commitments,
  ];
  let hours = 0;
  for (const { from_us, to_us } of spans)
    hours += Math.max(0, Math.min(window.to, hourAfter(to_us)) - Math.max(window.from, hourOf(from_us)));
  if (hours > HOURS_MAX)
    throw new LeewayError(
      'LW-INPUT',
      `the ledger would hold ${hours} asset-hours, at most ${HOURS_MAX}; narrow it with --from and --to`,
    );
}

type AssetBills = {
  rows: HourRow[];
  covered: CoveredBills;
  badput: BadputLedger;
  warnings: CostWarning[];
  forCorrections: Map<string, Map<number, readonly HourRow[]>>;
};

/** Bills every asset over the window, and over the hours outside it that corrections inside it refer to. */
function billAssets(book: Book, window: HourRange): AssetBills {
  const bills: AssetBills = {
    rows: [],
    covered: new Map(),
    badput: new BadputLedger(window),
    warnings: [],
    forCorrections: new Map(),
  };
  const booked = book.corrections.filter((correction) => inWindow(hourBooked(correction), window));
  const corrections = Map.groupBy(booked, (correction) => correction.asset);
  for (const asset of book.assets) {
    const corrected = corrections.get(asset.asset.id) ?? [];
    const hours = joined([window, ...corrected.map(hoursTouched)]);
    const { base_us, cells } = cellsOf(asset, hours);
    if (cells.length === 0) continue;
    const billed = billAsset(asset, hours, bills.badput.watch(asset, base_us) ?? undefined);
    const inside = billed.filter((bill) => inWindow(bill.hour, window));
    for (const bill of inside) for (const row of bill.rows) bills.rows.push(row);
    addCovered(bills.covered, asset, inside);
    if (corrected.length > 0)
      bills.forCorrections.set(asset.asset.id, new Map(billed.map((bill) => [bill.hour, bill.rows])));
    if (cells.some((cell) => !cell.priced && inWindow(cell.hour, window))) bills.warnings.push(unpriced(asset));
  }
  bills.warnings.sort((a, b) => (a.asset < b.asset ? -1 : 1));
  return bills;
}

/** Hour ranges as ascending ones that do not touch. */
function joined(ranges: readonly HourRange[]): HourRange[] {
  const merged: { from: number; to: number }[] = [];
  for (const range of [...ranges].sort((a, b) => a.from - b.from)) {
    const last = merged.at(-1);
    if (last !== undefined && range.from <= last.to) last.to = Math.max(last.to, range.to);
    else merged.push({ ...range });
  }
  return merged;
}

function unpriced({ asset }: AssetBook): CostWarning {
  const kind = `${asset.instance_type} in ${asset.region}, ${asset.pricing}`;
  return {
    code: 'LW-COST-UNPRICED',
    asset: asset.id,
    message: `asset ${asset.id} has no price for part of its life and costs 0 there; add a price record for it or for ${kind}`,
  };
}

function totalsOf(rows: readonly HourRow[]): Totals {
  const totals = { billed: 0n, tenant: 0n, idle: 0n, stranded: 0n, overhead: 0n, unobserved: 0n };
  for (const row of rows) {
    totals.billed += row.nano_usd;
    totals[row.category] += row.nano_usd;
  }
  return totals;
}
