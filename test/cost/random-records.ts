import { integerBelow, type Random, seededRandom } from '../../src/core/random.ts';
import { asset, claim, price, type RawRecord } from './cases.ts';

/** Up to three machines of a few hours with claims of every mode and every other kind of charge; all well formed. */
export function randomRecords(seed: number): RawRecord[] {
  const random = seededRandom(seed);
  const records: RawRecord[] = [];
  const machines = 1 + integerBelow(random, 3);
  for (let machine = 0; machine < machines; machine++) records.push(...machineRecords(random, `node-${machine}`));
  return [...records, ...chargeRecords(random, machines)];
}

const pick = <Item>(random: Random, items: readonly Item[]): Item => items[integerBelow(random, items.length)] as Item;

/** A time of the first three hours: whole seconds mostly, whole hours and fractions of a millisecond too. */
function time(random: Random): number {
  const kind = integerBelow(random, 4);
  if (kind === 0) return 3_600_000 * integerBelow(random, 4);
  if (kind === 1) return integerBelow(random, 10_800_000) + pick(random, [0.25, 0.5, 0.125]);
  return 1000 * integerBelow(random, 10_800);
}

function interval(random: Random): { from_ms: number; to_ms: number } {
  const [a, b] = [time(random), time(random)];
  return { from_ms: Math.min(a, b), to_ms: Math.max(a, b) };
}

const usd = (random: Random): string => pick(random, ['0', '10', '55.04', '2.123456789', '0.000000007', '98.32']);
const tenant = (random: Random): Record<string, string> =>
  pick(random, [
    { team: 'A' },
    { team: 'B' },
    { team: 'C', run: 'r1' },
    { team: 'C', model: 'm' },
    { team: 'é\u{1F600}' },
  ]);

function machineRecords(random: Random, id: string): RawRecord[] {
  const gpus = pick(random, [0, 1, 2, 4]);
  const life = interval(random);
  const records: RawRecord[] = [
    asset({
      id,
      gpus,
      ...life,
      pricing: pick(random, ['on_demand', 'spot', 'reserved', 'committed']),
      ...(random.next() < 0.3 ? { min_billable_s: pick(random, [60, 7200]) } : {}),
      ...(random.next() < 0.5 ? { granularity_s: pick(random, [0, 1, 60, 3600, 7]) } : {}),
    }),
  ];
  const times = new Set(Array.from({ length: integerBelow(random, 4) }, () => time(random)));
  for (const from_ms of times) records.push(price(usd(random), { asset: id, from_ms }));
  const claims = integerBelow(random, 9);
  for (let index = 0; index < claims; index++) records.push(randomClaim(random, id, gpus));
  for (let index = 0; index < integerBelow(random, 8) && gpus > 0; index++)
    records.push({
      type: 'busy',
      asset: id,
      gpu_index: integerBelow(random, gpus),
      tenant: tenant(random),
      ...interval(random),
      sm_active: pick(random, [0, 0.25, 1 / 3, 0.7, 1]),
    });
  return records;
}

function randomClaim(random: Random, id: string, gpus: number): RawRecord {
  const base = { asset: id, tenant: tenant(random), ...interval(random) };
  if (gpus === 0) return claim('', { ...base, gpus: 0 });
  const indexes = Array.from({ length: gpus }, (_, index) => index).filter(() => random.next() < 0.5);
  const listed = { ...base, gpus: indexes.length, gpu_indexes: indexes };
  switch (integerBelow(random, 6)) {
    case 0:
      return claim('', { ...base, gpus: integerBelow(random, gpus + 1) });
    case 1:
      return claim('', listed);
    case 2:
      return claim('', {
        ...listed,
        mode: 'mig',
        mig_profile: pick(random, ['1g.10gb', '1g.20gb', '2g.20gb', '3g.40gb', '4g.40gb', '7g.80gb']),
      });
    case 3:
      return claim('', { ...listed, mode: 'time_slice', replicas: pick(random, [1, 2, 3, 7]) });
    case 4:
      return claim('', {
        ...listed,
        mode: 'mps',
        sm_ratio: pick(random, [0, 0.3, 0.5, 0.9]),
        memory_ratio: pick(random, [0.1, 0.6]),
      });
    default:
      return claim('', { ...listed, mode: 'measured' });
  }
}

function chargeRecords(random: Random, machines: number): RawRecord[] {
  const kind = { instance_type: 'p5.48xlarge', region: 'us-east-1' };
  const some = (build: (index: number) => RawRecord): RawRecord[] =>
    Array.from({ length: integerBelow(random, 3) }, (_, index) => build(index));
  return [
    {
      type: 'price',
      ...kind,
      pricing: 'on_demand',
      from_ms: 0,
      usd_per_hour: usd(random),
      source: 's',
      retrieved_on: 'd',
    },
    {
      type: 'price',
      ...kind,
      pricing: 'reserved',
      from_ms: 0,
      usd_per_hour: usd(random),
      source: 's',
      retrieved_on: 'd',
    },
    ...some((index) => ({
      type: 'overhead',
      id: `ops-${index}`,
      ...interval(random),
      usd_per_hour: usd(random),
      split: pick(random, ['even', 'proportional', 'none']),
    })),
    ...some(() => ({
      type: 'transfer',
      tenant: tenant(random),
      ...interval(random),
      bytes: integerBelow(random, 1e9),
      usd_per_gib: '0.02',
      kind: pick(random, ['zone', 'region']),
    })),
    ...some((index) => ({
      type: 'storage',
      id: `disk-${index}`,
      ...(random.next() < 0.5 ? { tenant: tenant(random) } : {}),
      ...interval(random),
      bytes: integerBelow(random, 1e12),
      usd_per_gib_month: '0.023',
      class: 'standard',
    })),
    ...some((index) => ({
      type: 'commitment',
      id: `plan-${index}`,
      ...interval(random),
      usd_per_hour: usd(random),
      covers: kind,
      ...(random.next() < 0.5 ? { upfront_usd: usd(random) } : {}),
    })),
    ...some(() => ({
      type: 'correction',
      asset: `node-${integerBelow(random, machines)}`,
      ...interval(random),
      usd: pick(random, ['-1.25', '3.333333333', '-0.000000001']),
      reason: 'r',
    })),
  ];
}
