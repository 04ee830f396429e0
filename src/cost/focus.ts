import { formatUsd, splitByWeight } from '../core/money.ts';
import { periodOf } from './allocations.ts';
import type { Book } from './book.ts';
import { byBytes, type ChargeSource, type HourRow, joinBases, tieKey } from './hour-row.ts';
import { type AssetRecord, HOUR_MS } from './record.ts';

export type FocusVersion = '1.2' | '1.3';

/** Columns of FOCUS 1.2 that the ledger fills, in the specification's alphabetical order. */
const COLUMNS_1_2 = [
  'AvailabilityZone',
  'BilledCost',
  'BillingAccountId',
  'BillingAccountName',
  'BillingAccountType',
  'BillingCurrency',
  'BillingPeriodEnd',
  'BillingPeriodStart',
  'ChargeCategory',
  'ChargeClass',
  'ChargeDescription',
  'ChargeFrequency',
  'ChargePeriodEnd',
  'ChargePeriodStart',
  'CommitmentDiscountCategory',
  'CommitmentDiscountId',
  'CommitmentDiscountName',
  'CommitmentDiscountQuantity',
  'CommitmentDiscountStatus',
  'CommitmentDiscountType',
  'CommitmentDiscountUnit',
  'ConsumedQuantity',
  'ConsumedUnit',
  'ContractedCost',
  'EffectiveCost',
  'InvoiceId',
  'InvoiceIssuerName',
  'ListCost',
  'PricingCategory',
  'PricingQuantity',
  'PricingUnit',
  'ProviderName',
  'PublisherName',
  'RegionId',
  'RegionName',
  'ResourceId',
  'ResourceName',
  'ResourceType',
  'ServiceCategory',
  'ServiceName',
  'ServiceSubcategory',
  'SubAccountId',
  'SubAccountName',
  'SubAccountType',
  'Tags',
] as const;

const COLUMNS_1_3 = [
  'AllocatedMethodId',
  'AllocatedMethodDetails',
  'AllocatedResourceId',
  'AllocatedResourceName',
  'AllocatedTags',
] as const;

const COLUMNS_OURS = ['x_Category', 'x_CostBasis', 'x_TeamId', 'x_ModelId', 'x_JobId', 'x_RunId'] as const;

/** The header of an export: FOCUS columns, for 1.3 the split-cost columns, then ours. */
export function focusColumns(version: FocusVersion): readonly string[] {
  return version === '1.2' ? [...COLUMNS_1_2, ...COLUMNS_OURS] : [...COLUMNS_1_2, ...COLUMNS_1_3, ...COLUMNS_OURS];
}

/** Service category, subcategory (FOCUS 1.2 closed lists) and name by what a charge comes from. */
const SERVICES: Readonly<Record<ChargeSource, readonly [string, string, string]>> = {
  asset: ['Compute', 'Virtual Machines', 'GPU and CPU machines'],
  commitment: ['Compute', 'Virtual Machines', 'GPU and CPU machines'],
  storage: ['Storage', 'Other (Storage)', 'Storage'],
  transfer: ['Networking', 'Other (Networking)', 'Data transfer'],
  overhead: ['Management and Governance', 'Other (Management and Governance)', 'Overhead'],
};

const PRICING_CATEGORY: Readonly<Record<string, string>> = {
  on_demand: 'Standard',
  spot: 'Dynamic',
  reserved: 'Committed',
  committed: 'Committed',
};

/** Billionths in a ratio of one. */
const ONE_RATIO = 1_000_000_000n;
const FS_PER_NANO_HOUR = 3_600_000_000n; // 3600 s = 3.6 × 10¹⁸ fs; a billionth of it

/** Stands where a mandatory name is not known: charges without an asset in a ledger of several accounts. */
const UNKNOWN = 'unknown';

/**
 * The ledger as FOCUS CSV lines (RFC 4180, CRLF), header first: one row an (asset, hour, category, tenant, correction),
 * none of zero. Source: contracts/cost.md "FOCUS"; FOCUS 1.2 and 1.3 "Cost and Usage".
 */
export function* focusLines(
  ledger: { readonly rows: readonly HourRow[]; readonly book: Book },
  version: FocusVersion,
): Generator<string> {
  const columns = focusColumns(version);
  yield `${columns.join(',')}\r\n`;
  const payers = new Payers(ledger.book);
  for (const group of originGroups(ledger.rows)) {
    const ratios = version === '1.3' ? ratiosOf(group) : [];
    for (const [index, row] of group.entries()) {
      const values = { ...ofCharge(row, payers), ...(version === '1.3' ? ofSplit(row, ratios[index] ?? 0n) : {}) };
      yield `${columns.map((column) => cell(values[column] ?? '')).join(',')}\r\n`;
    }
  }
}

function cell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Rows merged to one a (asset, hour, category, tenant, correction), in groups of one (hour, asset, class). */
function originGroups(rows: readonly HourRow[]): HourRow[][] {
  const groups = new Map<string, Map<string, HourRow>>();
  for (const row of rows) {
    const origin = `${String(row.hour).padStart(9, '0')}\n${row.asset}\n${Number(row.correction)}`;
    let group = groups.get(origin);
    if (group === undefined) groups.set(origin, (group = new Map()));
    const key = `${row.category}\n${tieKey(row)}`;
    const held = group.get(key);
    group.set(key, held === undefined ? row : merged(held, row));
  }
  return [...groups]
    .sort(([a], [b]) => byBytes(a, b))
    .map(([, group]) =>
      [...group].sort(([a], [b]) => byBytes(a, b)).flatMap(([, row]) => (row.nano_usd === 0n ? [] : [row])),
    );
}

function merged(a: HourRow, b: HourRow): HourRow {
  return {
    ...a,
    nano_usd: a.nano_usd + b.nano_usd,
    gpu_time_fs: a.gpu_time_fs + b.gpu_time_fs,
    basis: joinBases(a.basis, b.basis),
  };
}

/** Shares of the origin charge in billionths that sum to exactly one. */
function ratiosOf(group: readonly HourRow[]): bigint[] {
  if (group.length === 0) return [];
  const parts = group.map((row) => ({
    key: `${tieKey(row)}\n${row.category}`,
    weight: row.nano_usd < 0n ? -row.nano_usd : row.nano_usd,
  }));
  return splitByWeight(ONE_RATIO, parts, byBytes);
}

/** Who is billed for an asset; charges without one belong to the only account and provider, if there is only one. */
class Payers {
  readonly #assets: ReadonlyMap<string, AssetRecord>;
  readonly account: string;
  readonly provider: string;

  constructor(book: Book) {
    const assets = book.assets.map(({ asset }) => asset);
    this.#assets = new Map(assets.map((asset) => [asset.id, asset]));
    this.account = onlyOne(assets.map((asset) => asset.account));
    this.provider = onlyOne(assets.map((asset) => asset.provider));
  }

  of(row: HourRow): AssetRecord | undefined {
    return row.source === 'asset' ? this.#assets.get(row.asset) : undefined;
  }
}

function onlyOne(names: readonly string[]): string {
  const distinct = new Set(names.filter((name) => name !== ''));
  const [first] = distinct;
  return distinct.size === 1 && first !== undefined ? first : UNKNOWN;
}

type Values = Readonly<Record<string, string>>;

function ofCharge(row: HourRow, payers: Payers): Values {
  const asset = payers.of(row);
  const amount = formatUsd(row.nano_usd);
  const account = asset?.account || payers.account;
  const provider = asset?.provider || payers.provider;
  const [ServiceCategory, ServiceSubcategory, ServiceName] = SERVICES[row.source];
  const fields = row.tenant?.fields ?? {};
  return {
    AvailabilityZone: asset?.zone ?? '',
    BilledCost: amount,
    BillingAccountId: account,
    BillingAccountName: account,
    BillingAccountType: 'Account',
    BillingCurrency: 'USD',
    ...periods(row.hour),
    ChargeCategory: 'Usage',
    ChargeClass: row.correction ? 'Correction' : '',
    ChargeDescription: `${row.asset}: ${row.category}`,
    ChargeFrequency: 'Usage-Based',
    ...quantities(row),
    ContractedCost: amount,
    EffectiveCost: amount,
    InvoiceIssuerName: provider,
    ListCost: amount,
    PricingCategory: row.source === 'commitment' ? 'Committed' : (PRICING_CATEGORY[asset?.pricing ?? ''] ?? 'Standard'),
    ProviderName: provider,
    PublisherName: provider,
    RegionId: asset?.region ?? '',
    RegionName: asset?.region ?? '',
    ResourceId: row.asset,
    ResourceName: row.asset,
    ResourceType: asset?.instance_type || row.source,
    ServiceCategory,
    ServiceName,
    ServiceSubcategory,
    SubAccountId: account,
    SubAccountName: account,
    SubAccountType: 'Account',
    Tags: row.tenant?.key ?? '{}',
    x_Category: row.category,
    x_CostBasis: row.basis,
    x_TeamId: fields['team'] ?? '',
    x_ModelId: fields['model'] ?? '',
    x_JobId: fields['job'] ?? '',
    x_RunId: fields['run'] ?? '',
  };
}

function periods(hour: number): Values {
  const month_ms = periodOf(hour, 'month');
  const next_ms = periodOf(month_ms / HOUR_MS + 31 * 24, 'month');
  return {
    BillingPeriodStart: utc(month_ms),
    BillingPeriodEnd: utc(next_ms),
    ChargePeriodStart: utc(hour * HOUR_MS),
    ChargePeriodEnd: utc((hour + 1) * HOUR_MS),
  };
}

function utc(at_ms: number): string {
  return new Date(at_ms).toISOString().replace(/\.\d{3}Z$/, 'Z');
}

/** GPU time where there is any, else the money itself; corrections consume nothing, unused commitments neither. */
function quantities(row: HourRow): Values {
  if (row.source === 'commitment')
    return {
      CommitmentDiscountCategory: 'Spend',
      CommitmentDiscountId: row.asset,
      CommitmentDiscountName: row.asset,
      CommitmentDiscountQuantity: formatUsd(row.nano_usd),
      CommitmentDiscountStatus: 'Unused',
      CommitmentDiscountType: 'Compute commitment',
      CommitmentDiscountUnit: 'USD',
      PricingQuantity: formatUsd(row.nano_usd),
      PricingUnit: 'USD',
    };
  const timed = row.gpu_time_fs > 0n;
  const quantity = formatUsd(timed ? (row.gpu_time_fs + FS_PER_NANO_HOUR / 2n) / FS_PER_NANO_HOUR : row.nano_usd);
  const unit = timed ? 'GPU-Hours' : 'USD';
  return {
    ConsumedQuantity: row.correction ? formatUsd(0n) : quantity,
    ConsumedUnit: unit,
    PricingQuantity: row.correction ? formatUsd(0n) : quantity,
    PricingUnit: unit,
  };
}

function ofSplit(row: HourRow, ratio: bigint): Values {
  const name = tieKey(row);
  return {
    AllocatedMethodId: `leeway-cost-1:${row.basis}`,
    AllocatedMethodDetails: `{"Elements":[{"AllocatedRatio":${formatUsd(ratio)}}]}`,
    AllocatedResourceId: name,
    AllocatedResourceName: row.tenant === null ? row.category : Object.values(row.tenant.fields).join('/') || name,
    AllocatedTags: row.tenant?.key ?? '{}',
  };
}
