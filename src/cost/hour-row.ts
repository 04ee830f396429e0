import { compareUtf8 } from '../core/canonical.ts';
import { type Category, type Mode, MODES, type Tenant } from './record.ts';

/** What kind of record a charge comes from. */
export type ChargeSource = 'asset' | 'transfer' | 'storage' | 'overhead' | 'commitment';

/**
 * One line of the ledger: what `asset` cost in one UTC hour for one category and tenant. `nano_usd` is final;
 * `gpu_time_fs` is Σ share × GPUs × time in 10⁻¹⁵ GPU-seconds. Only corrections may be negative.
 */
export type HourRow = {
  readonly asset: string;
  readonly hour: number;
  readonly source: ChargeSource;
  readonly category: Category;
  readonly tenant: Tenant | null;
  readonly correction: boolean;
  readonly nano_usd: bigint;
  readonly gpu_time_fs: bigint;
  readonly basis: string;
};

/** The key that breaks ties of rounding: the tenant's canonical JSON, or the category's word. */
export function tieKey(of: { readonly category: Category; readonly tenant: Tenant | null }): string {
  return of.tenant?.key ?? of.category;
}

/** Ascending UTF-8 bytes; plain text, which is nearly all, compares natively. */
export function byBytes(a: string, b: string): number {
  if (a === b) return 0;
  return /[\ud800-\uffff]/.test(a + b) ? compareUtf8(a, b) : a < b ? -1 : 1;
}

/** The bit of a mode in a set of modes. */
export function modeBit(mode: Mode): number {
  return 1 << MODES.indexOf(mode);
}

const NAMES = Array.from({ length: 1 << MODES.length }, (_, bits) =>
  MODES.filter((mode) => (bits & modeBit(mode)) !== 0)
    .sort()
    .join('+'),
);

/** The modes of a set, joined by `+` in alphabetical order; `otherwise` where it is empty. */
export function basisOf(bits: number, otherwise: string): string {
  return bits === 0 ? otherwise : (NAMES[bits] ?? otherwise);
}

/** The union of two bases: `mig` and `whole` → `mig+whole`. */
export function joinBases(a: string, b: string): string {
  if (a === b) return a;
  return [...new Set([...a.split('+'), ...b.split('+')])].sort().join('+');
}
