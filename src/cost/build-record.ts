import { unreachable } from '../core/assert.ts';
import { parseUsd } from '../core/money.ts';
import { scaledDecimal } from '../core/rational.ts';
import { canonicalText } from './canonical-text.ts';
import type { AssetRecord, Bucket, CostRecord, Mode, Origin, OverheadRecord, PriceRecord, Tenant } from './record.ts';

type Raw = Readonly<Record<string, unknown>>;

/** The typed record of a raw object whose fields parse.ts has checked; `as` below rests on those checks. */
export function buildRecord(type: string, raw: Raw, origin: Origin): CostRecord {
  switch (type) {
    case 'asset':
      return asset(raw, origin);
    case 'price':
      return price(raw, origin);
    case 'budget':
      return { ...origin, type };
    default:
      return ofInterval(type, raw, { ...origin, from_us: micros(raw['from_ms']), to_us: micros(raw['to_ms']) });
  }
}

type Placed = Origin & { readonly from_us: bigint; readonly to_us: bigint };

function ofInterval(type: string, raw: Raw, base: Placed): CostRecord {
  switch (type) {
    case 'claim':
      return {
        ...base,
        type,
        asset: text(raw, 'asset'),
        tenant: tenant(raw['tenant']),
        gpus: count(raw['gpus']),
        gpu_indexes: raw['gpu_indexes'] === undefined ? null : (raw['gpu_indexes'] as unknown[]).map(count),
        mode: raw['mode'] as Mode,
        mig_profile: text(raw, 'mig_profile'),
        replicas: count(raw['replicas'] ?? 1),
        mps_billionths: larger(billionths(raw['sm_ratio'] ?? 0), billionths(raw['memory_ratio'] ?? 0)),
      };
    case 'busy':
      return {
        ...base,
        type,
        asset: text(raw, 'asset'),
        gpu_index: count(raw['gpu_index']),
        tenant: tenant(raw['tenant']),
        sm_active_billionths: billionths(raw['sm_active']),
      };
    case 'bucket':
      return { ...base, type, run: text(raw, 'run'), asset: text(raw, 'asset'), bucket: raw['bucket'] as Bucket };
    case 'served':
      return {
        ...base,
        type,
        model: text(raw, 'model'),
        asset: text(raw, 'asset'),
        requests: count(raw['requests']),
        tokens: count(raw['tokens'] ?? 0),
      };
    case 'overhead':
      return {
        ...base,
        type,
        id: text(raw, 'id'),
        nano_usd_per_hour: money(raw['usd_per_hour']),
        split: raw['split'] as OverheadRecord['split'],
      };
    default:
      return ofCharge(type, raw, base);
  }
}

function ofCharge(type: string, raw: Raw, base: Placed): CostRecord {
  switch (type) {
    case 'transfer':
      return {
        ...base,
        type,
        tenant: tenant(raw['tenant']),
        bytes: count(raw['bytes']),
        nano_usd_per_gib: money(raw['usd_per_gib']),
        kind: text(raw, 'kind'),
      };
    case 'storage':
      return {
        ...base,
        type,
        id: text(raw, 'id'),
        tenant: raw['tenant'] === undefined ? null : tenant(raw['tenant']),
        bytes: count(raw['bytes']),
        nano_usd_per_gib_month: money(raw['usd_per_gib_month']),
      };
    case 'commitment': {
      const covers = raw['covers'] as Raw;
      return {
        ...base,
        type,
        id: text(raw, 'id'),
        nano_usd_per_hour: money(raw['usd_per_hour']),
        upfront_nano_usd: money(raw['upfront_usd'] ?? '0'),
        instance_type: text(covers, 'instance_type'),
        region: text(covers, 'region'),
      };
    }
    case 'correction':
      return {
        ...base,
        type,
        asset: text(raw, 'asset'),
        nano_usd: money(raw['usd']),
        reason: text(raw, 'reason'),
      };
    default:
      return unreachable(type as never); // parse.ts looked the type up in the same table
  }
}

function asset(raw: Raw, origin: Origin): AssetRecord {
  return {
    ...origin,
    type: 'asset',
    id: text(raw, 'id'),
    kind: text(raw, 'kind'),
    gpus: count(raw['gpus']),
    gpu_model: text(raw, 'gpu_model'),
    from_us: micros(raw['from_ms']),
    to_us: raw['to_ms'] === null ? null : micros(raw['to_ms']),
    provider: text(raw, 'provider'),
    region: text(raw, 'region'),
    zone: text(raw, 'zone'),
    instance_type: text(raw, 'instance_type'),
    pricing: text(raw, 'pricing'),
    account: text(raw, 'account'),
    min_billable_us: seconds(raw['min_billable_s'] ?? 0),
    granularity_us: seconds(raw['granularity_s'] ?? 0),
  };
}

function price(raw: Raw, origin: Origin): PriceRecord {
  return {
    ...origin,
    type: 'price',
    asset: raw['asset'] === undefined ? null : text(raw, 'asset'),
    instance_type: text(raw, 'instance_type'),
    region: text(raw, 'region'),
    pricing: text(raw, 'pricing'),
    from_us: micros(raw['from_ms']),
    nano_usd_per_hour: money(raw['usd_per_hour']),
  };
}

function text(raw: Raw, name: string): string {
  return (raw[name] ?? '') as string;
}

function count(value: unknown): bigint {
  return BigInt(value as string | number | bigint);
}

function micros(value: unknown): bigint {
  return scaledDecimal(Number(value), 3);
}

function seconds(value: unknown): bigint {
  return typeof value === 'number' ? scaledDecimal(value, 6) : count(value) * 1_000_000n;
}

function billionths(value: unknown): bigint {
  return scaledDecimal(Number(value), 9);
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

function money(value: unknown): bigint {
  return parseUsd(value as string, true) ?? 0n;
}

function tenant(value: unknown): Tenant {
  return { key: canonicalText(value) ?? '{}', fields: value as Record<string, string> };
}
