import { admitClaims, type Claim } from './capacity.ts';
import type { CostIntake } from './intake.ts';
import { migSlice } from './mig.ts';
import { type PriceStep, priceKey, priceSteps } from './price-steps.ts';
import type {
  AssetRecord,
  BucketRecord,
  BusyRecord,
  ClaimRecord,
  CommitmentRecord,
  CorrectionRecord,
  CostRecord,
  OverheadRecord,
  PriceRecord,
  RejectCode,
  Rejection,
  ServedRecord,
  StorageRecord,
  TransferRecord,
} from './record.ts';

/** An asset with everything that was said about it; `to_us` is resolved, `billed_to_us` includes the tail. */
export type AssetBook = {
  readonly asset: AssetRecord;
  readonly to_us: bigint;
  readonly billed_to_us: bigint;
  readonly prices: readonly PriceStep[];
  readonly claims: readonly Claim[];
  readonly busy: readonly BusyRecord[];
  readonly buckets: readonly BucketRecord[];
};

/** All accepted records by what they are for, and the rejected ones. */
export type Book = {
  readonly assets: readonly AssetBook[];
  readonly served: readonly ServedRecord[];
  readonly overheads: readonly OverheadRecord[];
  readonly transfers: readonly TransferRecord[];
  readonly storages: readonly StorageRecord[];
  readonly commitments: readonly CommitmentRecord[];
  readonly corrections: readonly CorrectionRecord[];
  readonly rejections: readonly Rejection[];
};

type Of<Type extends CostRecord['type']> = Extract<CostRecord, { type: Type }>;

/**
 * Checks the records against each other (asset conflict, unknown asset, price conflict, MIG, GPU index, capacity, in
 * this order) and sorts them by asset. `window_to_us` ends assets that are still open; without it the largest `to_ms`
 * of assets, claims and busy records does.
 */
export function bookOf(intake: CostIntake, window_to_us: bigint | null): Book {
  const { records } = intake;
  const rejections = [...intake.rejections];
  const refuse = (record: CostRecord, code: RejectCode, reason: string): void =>
    void rejections.push({ path: record.path, line: record.line, code, reason });
  const assets = uniqueAssets(ofType(records, 'asset'), refuse);
  const known = records.filter((record) => {
    if (record.type === 'asset' || !('asset' in record) || record.asset === null || assets.has(record.asset))
      return true;
    refuse(record, 'LW-COST-UNKNOWN-ASSET', `no valid asset record has the id ${JSON.stringify(record.asset)}`);
    return false;
  });
  const prices = agreeingPrices(ofType(known, 'price'), refuse);
  const claims = Map.groupBy(fittingClaims(ofType(known, 'claim'), assets, refuse), (claim) => claim.record.asset);
  const busy = Map.groupBy(ofType(known, 'busy'), (record) => record.asset);
  const buckets = Map.groupBy(ofType(known, 'bucket'), (record) => record.asset);
  const end_us = window_to_us ?? lastEnd(records);
  const books = [...assets.values()].map((asset): AssetBook => {
    const to_us = asset.to_us ?? end_us;
    const admitted = admitClaims({ gpus: asset.gpus, from_us: asset.from_us, to_us }, claims.get(asset.id) ?? []);
    for (const { claim, reason } of admitted.refused) refuse(claim.record, 'LW-COST-CAPACITY', reason);
    return {
      asset,
      to_us,
      billed_to_us: billedEnd(asset, to_us),
      prices: priceSteps(asset, prices),
      claims: admitted.taken,
      busy: busy.get(asset.id) ?? [],
      buckets: buckets.get(asset.id) ?? [],
    };
  });
  return {
    assets: books,
    served: ofType(known, 'served'),
    overheads: ofType(known, 'overhead'),
    transfers: ofType(known, 'transfer'),
    storages: ofType(known, 'storage'),
    commitments: ofType(known, 'commitment'),
    corrections: ofType(known, 'correction'),
    rejections,
  };
}

type Refuse = (record: CostRecord, code: RejectCode, reason: string) => void;

function ofType<Type extends CostRecord['type']>(records: readonly CostRecord[], type: Type): Of<Type>[] {
  return records.filter((record): record is Of<Type> => record.type === type);
}

function uniqueAssets(assets: readonly AssetRecord[], refuse: Refuse): Map<string, AssetRecord> {
  const unique = new Map<string, AssetRecord>();
  for (const [id, same] of Map.groupBy(assets, (asset) => asset.id)) {
    const [first] = same;
    if (same.length === 1 && first !== undefined) unique.set(id, first);
    else
      for (const asset of same)
        refuse(asset, 'LW-COST-ASSET-CONFLICT', `${same.length} different records have the id ${JSON.stringify(id)}`);
  }
  return unique;
}

/** Accepted prices by their key (price-steps.ts). */
function agreeingPrices(prices: readonly PriceRecord[], refuse: Refuse): Map<string, PriceRecord[]> {
  const agreeing = new Map<string, PriceRecord[]>();
  for (const [key, ofKey] of Map.groupBy(prices, priceKey)) {
    const accepted: PriceRecord[] = [];
    for (const same of Map.groupBy(ofKey, (price) => price.from_us).values()) {
      const amounts = new Set(same.map((price) => price.nano_usd_per_hour));
      if (amounts.size > 1)
        for (const price of same)
          refuse(price, 'LW-COST-PRICE-CONFLICT', `${amounts.size} amounts for ${key} from the same time`);
      else accepted.push(...same.slice(0, 1));
    }
    agreeing.set(key, accepted);
  }
  return agreeing;
}

function fittingClaims(
  claims: readonly ClaimRecord[],
  assets: ReadonlyMap<string, AssetRecord>,
  refuse: Refuse,
): Claim[] {
  const fitting: Claim[] = [];
  for (const record of claims) {
    const asset = assets.get(record.asset);
    if (asset === undefined) continue; // refused before as unknown
    const slice = record.mode === 'mig' ? migSlice(record.mig_profile, asset.gpu_model) : null;
    const wrong = indexFault(record, asset);
    if (record.mode === 'mig' && slice === null)
      refuse(
        record,
        'LW-COST-MIG',
        `no profile ${JSON.stringify(record.mig_profile)} on ${asset.gpu_model || 'no model'}`,
      );
    else if (wrong !== null) refuse(record, 'LW-COST-GPU-INDEX', wrong);
    else fitting.push({ record, slice });
  }
  return fitting;
}

function indexFault(claim: ClaimRecord, asset: AssetRecord): string | null {
  const { gpu_indexes, gpus, mode } = claim;
  if (asset.gpus === 0n && (gpus !== 0n || mode !== 'whole'))
    return 'an asset without GPUs takes claims of 0 GPUs in mode whole';
  if (gpu_indexes === null) return mode === 'whole' ? null : `mode ${mode} needs gpu_indexes`;
  if (BigInt(gpu_indexes.length) !== gpus || new Set(gpu_indexes).size !== gpu_indexes.length)
    return `expected ${gpus} distinct gpu_indexes, got ${gpu_indexes.length}`;
  const outside = gpu_indexes.find((index) => index >= asset.gpus);
  return outside === undefined ? null : `GPU ${outside} of an asset with ${asset.gpus}`;
}

function lastEnd(records: readonly CostRecord[]): bigint {
  let last = 0n;
  for (const record of records)
    if (record.type === 'asset' || record.type === 'claim' || record.type === 'busy')
      if (record.to_us !== null && record.to_us > last) last = record.to_us;
  return last;
}

function billedEnd(asset: AssetRecord, to_us: bigint): bigint {
  const life_us = to_us - asset.from_us;
  if (life_us <= 0n) return asset.from_us;
  const least_us = life_us > asset.min_billable_us ? life_us : asset.min_billable_us;
  const grain_us = asset.granularity_us;
  if (grain_us === 0n) return asset.from_us + least_us;
  return asset.from_us + ((least_us + grain_us - 1n) / grain_us) * grain_us;
}
