// The bill as bands over time and as rows of a table, in whole nano-USD. Pure.

/**
 * @typedef {{ period_ms: number | null, tenant: Record<string, unknown> | null, category: string, nano_usd: string, gpu_seconds: number | string | null }} CostItem
 * @typedef {{ key: string, name: string, category: string, tenant: Record<string, unknown> | null, nano_usd: bigint, gpu_seconds: number, byPeriod: Map<number, bigint> }} Band
 */

/** What is not a tenant's, in the order in which it lies on top of the tenants. */
export const CATEGORIES = ['overhead', 'idle', 'stranded', 'unobserved'];

/** Tenants drawn by themselves; the rest are drawn as one band (the table has them all). */
const TENANTS_DRAWN_MAX = 6;

/**
 * One band a tenant or category: tenants first, the greatest first, then overhead, idle, stranded, unobserved.
 * @param {ReadonlyArray<CostItem>} items
 * @returns {Band[]}
 */
export function bandsOf(items) {
  /** @type {Map<string, Band>} */
  const bands = new Map();
  for (const item of items) {
    const key = `${item.category}/${JSON.stringify(item.tenant)}`;
    const band = bands.get(key) ?? freshBand(key, item);
    bands.set(key, band);
    const amount = BigInt(item.nano_usd);
    band.nano_usd += amount;
    band.gpu_seconds += Number(item.gpu_seconds ?? 0);
    const period = item.period_ms ?? 0;
    band.byPeriod.set(period, (band.byPeriod.get(period) ?? 0n) + amount);
  }
  return [...bands.values()].sort(inOrder);
}

/** @param {string} key @param {CostItem} item @returns {Band} */
function freshBand(key, { category, tenant }) {
  return { key, name: nameOf(category, tenant), category, tenant, nano_usd: 0n, gpu_seconds: 0, byPeriod: new Map() };
}

/**
 * A tenant as people call it: { team: "vision", model: "digits" } → "vision · digits"; else the category.
 * @param {string} category @param {Record<string, unknown> | null} tenant
 */
function nameOf(category, tenant) {
  if (tenant === null) return category;
  const values = Object.values(tenant).map((value) => (typeof value === 'string' ? value : JSON.stringify(value)));
  const name = values.length === 0 ? 'tenant without these keys' : values.join(' · ');
  return category === 'tenant' ? name : `${name} (${category})`;
}

/** @param {Band} a @param {Band} b */
function inOrder(a, b) {
  const [left, right] = [CATEGORIES.indexOf(a.category), CATEGORIES.indexOf(b.category)];
  return left - right || (a.nano_usd === b.nano_usd ? 0 : a.nano_usd > b.nano_usd ? -1 : 1);
}

/**
 * What the rows add up to, and whether that is the bill to the last nano-USD.
 * @param {ReadonlyArray<Band>} bands @param {string} billed_nano_usd
 */
export function checkSum(bands, billed_nano_usd) {
  const sum = bands.reduce((total, band) => total + band.nano_usd, 0n);
  return { sum, billed: BigInt(billed_nano_usd), exact: sum === BigInt(billed_nano_usd) };
}

/**
 * The bands as they are drawn: at most TENANTS_DRAWN_MAX tenants by themselves, the others as one.
 * @param {ReadonlyArray<Band>} bands
 * @returns {Band[]}
 */
export function drawnBands(bands) {
  const tenants = bands.filter((band) => !CATEGORIES.includes(band.category));
  if (tenants.length <= TENANTS_DRAWN_MAX) return [...bands];
  const rest = tenants.slice(TENANTS_DRAWN_MAX - 1);
  const others = {
    ...freshBand('others', { period_ms: null, tenant: null, category: 'tenant', nano_usd: '0', gpu_seconds: 0 }),
    name: `${rest.length} other tenants`,
  };
  for (const band of rest) {
    others.nano_usd += band.nano_usd;
    for (const [period, amount] of band.byPeriod)
      others.byPeriod.set(period, (others.byPeriod.get(period) ?? 0n) + amount);
  }
  return [
    ...tenants.slice(0, TENANTS_DRAWN_MAX - 1),
    others,
    ...bands.filter((band) => CATEGORIES.includes(band.category)),
  ];
}

/**
 * Every period that any band has, ascending.
 * @param {ReadonlyArray<Band>} bands
 * @returns {number[]}
 */
export function periodsOf(bands) {
  return [...new Set(bands.flatMap((band) => [...band.byPeriod.keys()]))].sort((a, b) => a - b);
}

/** Canonical JSON of a tenant, as the API names one: keys sorted, no spaces. @param {Record<string, unknown>} tenant */
export function tenantKey(tenant) {
  return JSON.stringify(Object.fromEntries(Object.entries(tenant).sort(([a], [b]) => (a < b ? -1 : 1))));
}
