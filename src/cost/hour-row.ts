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

/**
 * Ascending UTF-8 bytes, without encoding: at the first differing UTF-16 unit, surrogates (code points above U+FFFF) are
 * moved behind U+E000…U+FFFF. Equal to core/canonical.ts `compareUtf8`, for the hot path.
 */
export function byBytes(a: string, b: string): number {
  const shared = Math.min(a.length, b.length);
  for (let index = 0; index < shared; index++) {
    const left = a.charCodeAt(index);
    const right = b.charCodeAt(index);
    if (left !== right) return codePointRank(left) - codePointRank(right);
  }
  return a.length - b.length;
}

function codePointRank(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800;
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
