import { BUCKETS, MODES } from './record.ts';

/** How a field is read: a word of the list, or one of the shapes below. */
export type Kind =
  | readonly string[]
  | 'text'
  | 'date'
  | 'time'
  | 'open_time'
  | 'count'
  | 'positive_count'
  | 'counts'
  | 'seconds'
  | 'ratio'
  | 'amount'
  | 'amounts'
  | 'money'
  | 'signed_money'
  | 'tenant'
  | 'covers'
  | 'object';

export type Field = readonly [name: string, kind: Kind, required: boolean];

/** Limits of contracts/cost.md "Numbers and records". */
export const TIME_MAX_MS = 253_402_300_799_999;
export const COUNT_MAX = 2n ** 63n - 1n;

const PRICING = ['on_demand', 'spot', 'reserved', 'committed'] as const;
const INTERVAL: readonly Field[] = [
  ['from_ms', 'time', true],
  ['to_ms', 'time', true],
];

/** The fields of the money records of contracts/events.md, by type. Other fields are kept and ignored. */
export const FIELDS: ReadonlyMap<string, readonly Field[]> = new Map<string, readonly Field[]>([
  [
    'asset',
    [
      ['id', 'text', true],
      ['kind', ['gpu_node', 'node', 'storage', 'network', 'other'], true],
      ['gpus', 'count', true],
      ['gpu_model', 'text', false],
      ['vcpus', 'amount', false],
      ['memory_gib', 'amount', false],
      ['from_ms', 'time', true],
      ['to_ms', 'open_time', true],
      ['provider', 'text', true],
      ['region', 'text', true],
      ['zone', 'text', false],
      ['instance_type', 'text', true],
      ['pricing', PRICING, true],
      ['account', 'text', true],
      ['min_billable_s', 'seconds', false],
      ['granularity_s', 'seconds', false],
    ],
  ],
  [
    'price',
    [
      ['asset', 'text', false],
      ['instance_type', 'text', false],
      ['region', 'text', false],
      ['pricing', PRICING, false],
      ['from_ms', 'time', true],
      ['usd_per_hour', 'money', true],
      ['source', 'text', true],
      ['retrieved_on', 'date', true],
    ],
  ],
  [
    'claim',
    [
      ['asset', 'text', true],
      ['tenant', 'tenant', true],
      ...INTERVAL,
      ['gpus', 'count', true],
      ['gpu_indexes', 'counts', false],
      ['mode', MODES, true],
      ['mig_profile', 'text', false],
      ['replicas', 'positive_count', false],
      ['sm_ratio', 'ratio', false],
      ['memory_ratio', 'ratio', false],
    ],
  ],
  [
    'busy',
    [
      ['asset', 'text', true],
      ['gpu_index', 'count', true],
      ['tenant', 'tenant', true],
      ...INTERVAL,
      ['sm_active', 'ratio', true],
    ],
  ],
  ['bucket', [['run', 'text', true], ['asset', 'text', true], ...INTERVAL, ['bucket', BUCKETS, true]]],
  [
    'served',
    [
      ['model', 'text', true],
      ['tenant', 'tenant', true],
      ['asset', 'text', true],
      ...INTERVAL,
      ['requests', 'count', true],
      ['tokens', 'count', false],
      ['gpu_ms', 'amount', false],
    ],
  ],
  [
    'overhead',
    [
      ['id', 'text', true],
      ...INTERVAL,
      ['usd_per_hour', 'money', true],
      ['split', ['even', 'proportional', 'none'], true],
    ],
  ],
  [
    'transfer',
    [
      ['tenant', 'tenant', true],
      ...INTERVAL,
      ['bytes', 'count', true],
      ['usd_per_gib', 'money', true],
      ['kind', ['zone', 'region', 'internet'], true],
    ],
  ],
  [
    'storage',
    [
      ['id', 'text', true],
      ['tenant', 'tenant', false],
      ...INTERVAL,
      ['bytes', 'count', true],
      ['usd_per_gib_month', 'money', true],
      ['class', 'text', true],
    ],
  ],
  [
    'commitment',
    [
      ['id', 'text', true],
      ...INTERVAL,
      ['usd_per_hour', 'money', true],
      ['covers', 'covers', true],
      ['upfront_usd', 'money', false],
    ],
  ],
  ['correction', [['asset', 'text', true], ...INTERVAL, ['usd', 'signed_money', true], ['reason', 'text', true]]],
  [
    'budget',
    [
      ['scope', 'object', true],
      ['period', ['month'], true],
      ['usd', 'money', true],
      ['thresholds', 'amounts', true],
    ],
  ],
]);
