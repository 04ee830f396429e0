/** The categories of a charge, as printed. */
export type Category = 'tenant' | 'idle' | 'stranded' | 'overhead' | 'unobserved';

/** How a claim shares its GPUs. Order is that of the contract; the index is the bit in a row's set of modes. */
export const MODES = ['whole', 'mig', 'time_slice', 'mps', 'measured'] as const;
export type Mode = (typeof MODES)[number];

/** Where the time of a run went, in the order in which overlaps are decided: `productive` last. */
export const BUCKETS = [
  'initialization',
  'compile',
  'data_loading',
  'checkpoint_save',
  'checkpoint_restore',
  'lost_work',
  'straggling',
  'hang',
  'other',
  'productive',
] as const;
export type Bucket = (typeof BUCKETS)[number];

/** Who pays: the fields of a record's `tenant` and their canonical JSON, which is the tenant's identity. */
export type Tenant = { readonly key: string; readonly fields: Readonly<Record<string, string>> };

/** What every record carries: where it stood and its canonical JSON. Times are Unix µs, money nano-USD, ratios 10⁻⁹. */
export type Origin = { readonly path: string; readonly line: number; readonly canonical: string };

type Interval = { readonly from_us: bigint; readonly to_us: bigint };

export type AssetRecord = Origin & {
  readonly type: 'asset';
  readonly id: string;
  readonly kind: string;
  readonly gpus: bigint;
  readonly gpu_model: string;
  readonly from_us: bigint;
  readonly to_us: bigint | null;
  readonly provider: string;
  readonly region: string;
  readonly zone: string;
  readonly instance_type: string;
  readonly pricing: string;
  readonly account: string;
  readonly min_billable_us: bigint;
  readonly granularity_us: bigint;
};

export type PriceRecord = Origin & {
  readonly type: 'price';
  /** The one asset that it prices, or null for every asset of `instance_type`, `region` and `pricing`. */
  readonly asset: string | null;
  readonly instance_type: string;
  readonly region: string;
  readonly pricing: string;
  readonly from_us: bigint;
  readonly nano_usd_per_hour: bigint;
};

export type ClaimRecord = Origin &
  Interval & {
    readonly type: 'claim';
    readonly asset: string;
    readonly tenant: Tenant;
    readonly gpus: bigint;
    readonly gpu_indexes: readonly bigint[] | null;
    readonly mode: Mode;
    readonly mig_profile: string;
    readonly replicas: bigint;
    /** Larger of sm_ratio and memory_ratio, in billionths. */
    readonly mps_billionths: bigint;
  };

export type BusyRecord = Origin &
  Interval & {
    readonly type: 'busy';
    readonly asset: string;
    readonly gpu_index: bigint;
    readonly tenant: Tenant;
    readonly sm_active_billionths: bigint;
  };

export type BucketRecord = Origin &
  Interval & { readonly type: 'bucket'; readonly run: string; readonly asset: string; readonly bucket: Bucket };

export type ServedRecord = Origin &
  Interval & {
    readonly type: 'served';
    readonly model: string;
    readonly asset: string;
    readonly requests: bigint;
    readonly tokens: bigint;
  };

export type OverheadRecord = Origin &
  Interval & {
    readonly type: 'overhead';
    readonly id: string;
    readonly nano_usd_per_hour: bigint;
    readonly split: 'even' | 'proportional' | 'none';
  };

export type TransferRecord = Origin &
  Interval & {
    readonly type: 'transfer';
    readonly tenant: Tenant;
    readonly bytes: bigint;
    readonly nano_usd_per_gib: bigint;
    readonly kind: string;
  };

export type StorageRecord = Origin &
  Interval & {
    readonly type: 'storage';
    readonly id: string;
    readonly tenant: Tenant | null;
    readonly bytes: bigint;
    readonly nano_usd_per_gib_month: bigint;
  };

export type CommitmentRecord = Origin &
  Interval & {
    readonly type: 'commitment';
    readonly id: string;
    readonly nano_usd_per_hour: bigint;
    readonly upfront_nano_usd: bigint;
    readonly instance_type: string;
    readonly region: string;
  };

export type CorrectionRecord = Origin &
  Interval & {
    readonly type: 'correction';
    readonly asset: string;
    readonly nano_usd: bigint;
    readonly reason: string;
  };

/** Read for its form only: budgets are watched by the service, not by the ledger. */
type BudgetRecord = Origin & { readonly type: 'budget' };

export type CostRecord =
  | AssetRecord
  | PriceRecord
  | ClaimRecord
  | BusyRecord
  | BucketRecord
  | ServedRecord
  | OverheadRecord
  | TransferRecord
  | StorageRecord
  | CommitmentRecord
  | CorrectionRecord
  | BudgetRecord;

/** A record left out of the ledger and why. `line` is 1-based in `path`. */
export type Rejection = {
  readonly path: string;
  readonly line: number;
  readonly code: RejectCode;
  readonly reason: string;
};

export type RejectCode =
  | 'LW-COST-JSON'
  | 'LW-COST-FIELD'
  | 'LW-COST-CURRENCY'
  | 'LW-COST-NUMBER'
  | 'LW-COST-MONEY'
  | 'LW-COST-RANGE'
  | 'LW-COST-ASSET-CONFLICT'
  | 'LW-COST-UNKNOWN-ASSET'
  | 'LW-COST-PRICE-CONFLICT'
  | 'LW-COST-MIG'
  | 'LW-COST-GPU-INDEX'
  | 'LW-COST-CAPACITY';

export const HOUR_US = 3_600_000_000;
export const HOUR_US_BIG = 3_600_000_000n;
export const HOUR_MS = 3_600_000;

/** The UTC hour (hours since 1970) that holds a time ≥ 0. */
export function hourOf(time_us: bigint): number {
  return Number(time_us / HOUR_US_BIG);
}

/** The first UTC hour that begins at or after a time ≥ 0. */
export function hourAfter(time_us: bigint): number {
  return Number((time_us + HOUR_US_BIG - 1n) / HOUR_US_BIG);
}
