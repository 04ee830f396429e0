import { formatUsd } from '../core/money.ts';
import { billAsset } from './asset-bill.ts';
import type { Book } from './book.ts';
import { type HourRow, tieKey } from './hour-row.ts';
import { HOUR_MS, type Mode } from './record.ts';
import type { Ledger } from './ledger.ts';

/** A stretch of time with one price and one share. Its exact cost is price × length × share_numerator / share_denominator. */
type CostSegment = {
  readonly from_ms: number;
  readonly to_ms: number;
  readonly mode: Mode;
  readonly usd_per_hour: string;
  /** The part of the asset, as an exact quotient of integers. */
  readonly share_numerator: string;
  readonly share_denominator: string;
  /** The exact cost to nine decimals, truncated; the row's amount is what rounding the hour made of their sum. */
  readonly usd: string;
};

/** What makes one tenant's (or category's) amount on one asset in one hour. */
export type Explanation = {
  readonly asset: string;
  readonly hour_ms: number;
  readonly rows: readonly HourRow[];
  readonly bill_nano_usd: bigint;
  readonly segments: readonly CostSegment[];
};

/** Most segments listed: one second each of an hour. */
const SEGMENTS_MAX = 3_600;

/**
 * Takes an amount apart: `tenant` is a tenant's canonical JSON or a category's word. Null where the ledger has no such
 * row. Idle has no segments of its own: it is the hour's bill less the other rows.
 */
export function explainAmount(
  ledger: Pick<Ledger, 'rows'> & { readonly book: Book },
  of: { readonly asset: string; readonly hour_ms: number; readonly tenant: string },
): Explanation | null {
  const hour = Math.floor(of.hour_ms / HOUR_MS);
  const inHour = ledger.rows.filter((row) => row.asset === of.asset && row.hour === hour);
  const rows = inHour.filter((row) => tieKey(row) === of.tenant || row.category === of.tenant);
  if (rows.length === 0) return null;
  const segments: CostSegment[] = [];
  const book = ledger.book.assets.find(({ asset }) => asset.id === of.asset);
  if (book !== undefined) {
    const divisor = book.asset.gpus === 0n ? 1n : book.asset.gpus;
    const base_ms = Math.max(hour, Math.floor(Number(book.asset.from_us / 1000n) / HOUR_MS)) * HOUR_MS;
    billAsset(book, [{ from: hour, to: hour + 1 }], ({ cell, from, to, piece }) => {
      if ((piece.tenant?.key ?? piece.category) !== of.tenant || segments.length >= SEGMENTS_MAX) return;
      const cost = cell.nano_usd_per_hour * BigInt(to - from) * piece.weight;
      segments.push({
        from_ms: base_ms + from / 1000,
        to_ms: base_ms + to / 1000,
        mode: piece.mode,
        usd_per_hour: formatUsd(cell.nano_usd_per_hour),
        share_numerator: piece.weight.toString(),
        share_denominator: (piece.scale * divisor).toString(),
        usd: formatUsd(cost / (piece.scale * divisor * 3_600_000_000n)),
      });
    });
  }
  segments.sort((a, b) => a.from_ms - b.from_ms || a.to_ms - b.to_ms);
  const bill_nano_usd = inHour.reduce((sum, row) => sum + (row.correction ? 0n : row.nano_usd), 0n);
  return { asset: of.asset, hour_ms: hour * HOUR_MS, rows, bill_nano_usd, segments };
}
