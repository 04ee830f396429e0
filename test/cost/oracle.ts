import type { RawRecord } from './cases.ts';

/*
 * A second reading of contracts/cost.md for small inputs of well-formed records, written to be obvious and slow: it
 * cuts time at every instant that any record mentions, gives every GPU of every asset to somebody in every piece, and
 * adds reduced fractions. It shares no code with src/.
 */

type Q = { n: bigint; d: bigint };
type Any = Record<string, any>; // oxlint-disable-line typescript/no-explicit-any -- raw records, an oracle for tests
const HOUR = 3_600_000_000n;

function gcd(a: bigint, b: bigint): bigint {
  return b === 0n ? (a < 0n ? -a : a) : gcd(b, a % b);
}
function q(n: bigint, d = 1n): Q {
  const g = gcd(n, d) || 1n;
  return { n: n / g, d: d / g };
}
const plus = (a: Q, b: Q): Q => q(a.n * b.d + b.n * a.d, a.d * b.d);
const times = (a: Q, b: Q): Q => q(a.n * b.n, a.d * b.d);
const less = (a: Q, b: Q): boolean => a.n * b.d < b.n * a.d;
const most = (a: Q, b: Q): Q => (less(a, b) ? b : a);
const over = (a: Q, b: Q): Q => q(a.n * b.d, a.d * b.n);
const ONE = q(1n);
const ZERO = q(0n);

const us = (ms: number): bigint => BigInt(Math.round(ms * 1000));
const nano = (usd: string): bigint => {
  const [whole = '0', fraction = ''] = usd.replace('-', '').split('.');
  const value = BigInt(whole + fraction.padEnd(9, '0'));
  return usd.startsWith('-') ? -value : value;
};
function canon(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canon).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const sorted = Object.entries(value).sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return `{${sorted.map(([k, v]) => `${JSON.stringify(k)}:${canon(v)}`).join(',')}}`;
}
const byteOrder = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

function halfEven(x: Q): bigint {
  const floor = x.n / x.d; // every exact amount is ≥ 0
  const twice = 2n * (x.n - floor * x.d);
  return twice > x.d || (twice === x.d && floor % 2n === 1n) ? floor + 1n : floor;
}

function remainders(total: bigint, exact: Map<string, Q>): Map<string, bigint> {
  const floors = [...exact].map(([key, x]) => ({ key, floor: x.n / x.d, rest: q(x.n % x.d, x.d) }));
  let left = total - floors.reduce((sum, item) => sum + item.floor, 0n);
  floors.sort((a, b) => (less(b.rest, a.rest) ? -1 : less(a.rest, b.rest) ? 1 : byteOrder(a.key, b.key)));
  return new Map(floors.map(({ key, floor }) => [key, left-- > 0n ? floor + 1n : floor]));
}

const MIG: Record<string, [bigint, bigint]> = {
  '1g.10gb': [1n, 1n],
  '1g.20gb': [1n, 2n],
  '2g.20gb': [2n, 2n],
  '3g.40gb': [3n, 4n],
  '4g.40gb': [4n, 4n],
  '7g.80gb': [7n, 8n],
};

/** Claims of an asset that fit, by trying every one at its first instant against those already taken. */
function fitting(asset: Any, claims: Any[]): Any[] {
  const taken: Any[] = [];
  const [begin, end] = [us(asset['from_ms']), us(asset['to_ms'])];
  const ordered = [...claims].sort(
    (a, b) => Number(us(a['from_ms']) - us(b['from_ms'])) || byteOrder(canon(a), canon(b)),
  );
  for (const claim of ordered) {
    const at = us(claim['from_ms']) > begin ? us(claim['from_ms']) : begin;
    const lives = at < end && at < us(claim['to_ms']);
    const here = [...taken.filter((c) => us(c['from_ms']) <= at && at < us(c['to_ms'])), claim];
    if (!lives || asset['gpus'] === 0 || fits(asset, here)) taken.push(claim);
  }
  return taken;
}

function fits(asset: Any, here: Any[]): boolean {
  const indexed = new Set(here.flatMap((c) => c['gpu_indexes'] ?? []));
  const loose = here.filter((c) => c['gpu_indexes'] === undefined).reduce((sum, c) => sum + c['gpus'], 0);
  if (indexed.size + loose > asset['gpus']) return false;
  return [...indexed].every((gpu) => {
    const on = here.filter((c) => c['gpu_indexes']?.includes(gpu));
    if (new Set(on.map((c) => c['mode'])).size > 1) return false;
    if (on[0]?.['mode'] === 'whole' && on.length > 1) return false;
    if (on[0]?.['mode'] === 'mig') {
      const slices = on.map((c): [bigint, bigint] => MIG[c['mig_profile']] ?? [0n, 0n]);
      return slices.reduce((s, slice) => s + slice[0], 0n) <= 7n && slices.reduce((s, slice) => s + slice[1], 0n) <= 8n;
    }
    if (on[0]?.['mode'] === 'time_slice')
      return !less(
        ONE,
        on.reduce<Q>((s, c) => plus(s, q(1n, BigInt(c['replicas']))), ZERO),
      );
    return true;
  });
}

/** Who has one GPU: fractions by key that add up to one. */
function holders(on: Any[], busy: Any[]): Map<string, Q> {
  const out = new Map<string, Q>();
  const give = (key: string, x: Q): void => void (x.n > 0n && out.set(key, plus(out.get(key) ?? ZERO, x)));
  const mode = on[0]?.['mode'];
  let weights: [string, Q][] = on.map((c) => [canon(c['tenant']), ONE]);
  if (mode === 'time_slice') weights = on.map((c) => [canon(c['tenant']), q(1n, BigInt(c['replicas']))]);
  if (mode === 'mps')
    weights = on.map((c) => [canon(c['tenant']), most(ratio(c['sm_ratio'] ?? 0), ratio(c['memory_ratio'] ?? 0))]);
  if (mode === 'mig')
    weights = on.map((c) => {
      const [g, m] = MIG[c['mig_profile']] ?? [0n, 0n];
      return [canon(c['tenant']), most(q(g, 7n), q(m, 8n))];
    });
  let rest = 'idle';
  if (mode === 'measured') {
    const tenants = [...new Set(on.map((c) => canon(c['tenant'])))];
    const seen = (k: string): Q[] => busy.filter((b) => canon(b['tenant']) === k).map((b) => ratio(b['sm_active']));
    weights = tenants.map((k) => [k, seen(k).reduce(most, ZERO)]);
    if (tenants.some((k) => seen(k).length === 0)) rest = 'unobserved';
  }
  if (mode === 'mig') rest = 'stranded';
  const sum = weights.reduce((s, [, w]) => plus(s, w), ZERO);
  const scale = most(sum, ONE);
  for (const [key, w] of weights) give(key, over(w, scale));
  give(rest, plus(ONE, times(q(-1n), over(sum, scale))));
  return out;
}
const ratio = (x: number): Q => q(BigInt(Math.round(x * 1e9)), 1_000_000_000n);

type Rows = Map<string, bigint>;
const SEP = ' | ';

/** Row amounts in nano-USD by `asset | hour | category | key | correction`, zero rows left out. */
export function oracleRows(records: readonly RawRecord[]): Rows {
  const all = [...new Map(records.map((r) => [canon(r), r as Any])).values()];
  const of = (type: string): Any[] => all.filter((r) => r['type'] === type);
  const rows: Rows = new Map();
  const bills = new Map<string, bigint>();
  const put = (asset: string, hour: bigint, key: string, amount: bigint, category?: string): void => {
    const kind = category ?? (key.startsWith('{') ? 'tenant' : key);
    const id = [asset, hour, kind, key, ''].join(SEP);
    if (amount !== 0n) rows.set(id, (rows.get(id) ?? 0n) + amount);
  };
  const round = (exact: Map<string, Map<string, Q>>): void => {
    for (const [place, shares] of exact) {
      const [asset = '', hour = '0'] = place.split(SEP);
      const bill = halfEven([...shares.values()].reduce(plus, ZERO));
      bills.set(place, bill);
      for (const [key, amount] of remainders(bill, shares)) put(asset, BigInt(hour), key, amount);
    }
  };
  const add = (exact: Map<string, Map<string, Q>>, place: string, key: string, x: Q): void => {
    if (!exact.has(place)) exact.set(place, new Map());
    const shares = exact.get(place);
    shares?.set(key, plus(shares.get(key) ?? ZERO, x));
  };
  const instants = new Set<bigint>();
  for (const r of all) for (const t of [r['from_ms'], r['to_ms']]) if (typeof t === 'number') instants.add(us(t));
  for (const a of of('asset')) instants.add(billedEnd(a));
  const last = [...instants].reduce((a, b) => (a > b ? a : b), 0n);
  for (let t = 0n; t < last + HOUR; t += HOUR) instants.add(t);
  const cuts = [...instants].sort((a, b) => Number(a - b));
  const exact = new Map<string, Map<string, Q>>();
  for (const asset of of('asset')) {
    const claims = fitting(
      asset,
      of('claim').filter((c) => c['asset'] === asset['id']),
    );
    for (const [index, from] of cuts.entries()) {
      const to = cuts[index + 1] ?? from;
      if (from < us(asset['from_ms']) || to > billedEnd(asset) || from === to) continue;
      const cost = times(q(priceAt(asset, of('price'), from)), q(to - from, HOUR));
      const place = `${asset['id']}${SEP}${from / HOUR}`;
      const covers = (r: Any): boolean => us(r['from_ms']) <= from && to <= us(r['to_ms']);
      const active = to <= us(asset['to_ms']) ? claims.filter(covers) : [];
      if (asset['gpus'] === 0) {
        for (const c of active) add(exact, place, canon(c['tenant']), times(cost, q(1n, BigInt(active.length))));
        if (active.length === 0) add(exact, place, 'idle', cost);
        continue;
      }
      const loose = active.filter((c) => c['gpu_indexes'] === undefined).flatMap((c) => Array<Any>(c['gpus']).fill(c));
      for (let gpu = 0; gpu < asset['gpus']; gpu++) {
        let on = active.filter((c) => c['gpu_indexes']?.includes(gpu));
        if (on.length === 0 && loose.length > 0) on = [loose.pop() as Any];
        const busy = of('busy').filter((b) => b['asset'] === asset['id'] && b['gpu_index'] === gpu && covers(b));
        for (const [key, share] of holders(on, busy))
          add(exact, place, key, times(share, times(cost, q(1n, BigInt(asset['gpus'])))));
      }
    }
  }
  for (const t of of('transfer'))
    add(
      exact,
      `transfer:${t['kind']}${SEP}${us(t['from_ms']) / HOUR}`,
      canon(t['tenant']),
      q(BigInt(t['bytes']) * nano(t['usd_per_gib']), 2n ** 30n),
    );
  for (const s of of('storage'))
    for (const [hour, part] of hourParts(s))
      add(
        exact,
        `${s['id']}${SEP}${hour}`,
        s['tenant'] === undefined ? 'idle' : canon(s['tenant']),
        times(q(BigInt(s['bytes']) * nano(s['usd_per_gib_month']), 730n * 2n ** 30n), q(part, HOUR)),
      );
  round(exact);
  const spent = [...rows].map(([id, amount]) => ({ parts: id.split(SEP), amount }));
  for (const o of of('overhead'))
    for (const [hour, part] of hourParts(o)) {
      const bill = halfEven(q(nano(o['usd_per_hour']) * part, HOUR));
      const tenants = new Map<string, bigint>();
      for (const { parts, amount } of spent)
        if (parts[2] === 'tenant' && parts[1] === String(hour))
          tenants.set(parts[3] ?? '', (tenants.get(parts[3] ?? '') ?? 0n) + amount);
      if (o['split'] === 'none' || tenants.size === 0) put(o['id'], hour, 'overhead', bill, 'overhead');
      else {
        const sum = o['split'] === 'even' ? BigInt(tenants.size) : [...tenants.values()].reduce((a, b) => a + b, 0n);
        const shares = new Map([...tenants].map(([key, x]) => [key, q(bill * (o['split'] === 'even' ? 1n : x), sum)]));
        for (const [key, amount] of remainders(bill, shares)) put(o['id'], hour, key, amount, 'overhead');
      }
    }
  const remaining = new Map<string, bigint>();
  for (const asset of of('asset'))
    if (asset['pricing'] === 'reserved' || asset['pricing'] === 'committed')
      for (const [place, bill] of bills) {
        const [id, hour] = place.split(SEP);
        const key = [asset['instance_type'], asset['region'], hour].join(SEP);
        if (id === asset['id']) remaining.set(key, (remaining.get(key) ?? 0n) + bill);
      }
  for (const c of of('commitment').sort((a, b) => byteOrder(a['id'], b['id']))) {
    const term = us(c['to_ms']) - us(c['from_ms']);
    if (term === 0n) continue;
    const total = halfEven(plus(q(nano(c['usd_per_hour']) * term, HOUR), q(nano(c['upfront_usd'] ?? '0'))));
    const exactHours = new Map(
      hourParts(c).map(([hour, part]) => [String(hour).padStart(12, '0'), q(total * part, term)]),
    );
    for (const [hour, cost] of remainders(total, exactHours)) {
      const key = [c['covers'].instance_type, c['covers'].region, String(BigInt(hour))].join(SEP);
      const used = [cost, remaining.get(key) ?? 0n].reduce((a, b) => (a < b ? a : b));
      remaining.set(key, (remaining.get(key) ?? 0n) - used);
      put(c['id'], BigInt(hour), 'idle', cost - used);
    }
  }
  const corrected: Rows = new Map();
  for (const c of of('correction')) {
    const parts = new Map<string, bigint>();
    const touched = new Set([us(c['from_ms']) / HOUR, ...hourParts(c).map(([hour]) => hour)].map(String));
    for (const {
      parts: [asset, hour, , key = ''],
      amount,
    } of spent)
      if (asset === c['asset'] && touched.has(hour ?? '')) parts.set(key, (parts.get(key) ?? 0n) + amount);
    if (parts.size === 0) parts.set('idle', 1n);
    const amount = nano(c['usd']);
    const size = amount < 0n ? -amount : amount;
    const sum = [...parts.values()].reduce((a, b) => a + b, 0n);
    for (const [key, part] of remainders(size, new Map([...parts].map(([k, x]) => [k, q(size * x, sum)])))) {
      const id = [c['asset'], us(c['from_ms']) / HOUR, key.startsWith('{') ? 'tenant' : key, key, 'correction'].join(
        SEP,
      );
      corrected.set(id, (corrected.get(id) ?? 0n) + (amount < 0n ? -part : part));
    }
  }
  for (const [id, amount] of corrected) if (amount !== 0n) rows.set(id, amount);
  return rows;
}

function hourParts(r: Any): [bigint, bigint][] {
  const parts: [bigint, bigint][] = [];
  const [from, to] = [us(r['from_ms']), us(r['to_ms'])];
  for (let hour = from / HOUR; hour * HOUR < to; hour++) {
    const a = from > hour * HOUR ? from : hour * HOUR;
    const b = to < (hour + 1n) * HOUR ? to : (hour + 1n) * HOUR;
    if (a < b) parts.push([hour, b - a]);
  }
  return parts;
}

function billedEnd(asset: Any): bigint {
  const from = us(asset['from_ms']);
  const life = us(asset['to_ms']) - from;
  if (life === 0n) return from;
  let billed = life;
  const least = BigInt(asset['min_billable_s'] ?? 0) * 1_000_000n;
  if (least > billed) billed = least;
  const grain = BigInt(asset['granularity_s'] ?? 0) * 1_000_000n;
  while (grain > 0n && billed % grain !== 0n) billed += grain - (billed % grain);
  return from + billed;
}

function priceAt(asset: Any, prices: Any[], at: bigint): bigint {
  const latest = (list: Any[]): Any | undefined =>
    list.filter((p) => us(p['from_ms']) <= at).sort((a, b) => b['from_ms'] - a['from_ms'])[0];
  const own = latest(prices.filter((p) => p['asset'] === asset['id']));
  const kind = latest(
    prices.filter(
      (p) => p['asset'] === undefined && ['instance_type', 'region', 'pricing'].every((k) => p[k] === asset[k]),
    ),
  );
  return nano((own ?? kind)?.['usd_per_hour'] ?? '0');
}
