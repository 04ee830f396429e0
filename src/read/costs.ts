import type { Store } from '../core/ports.ts';
import { LEDGER_TYPES } from '../core/records.ts';
import { LeewayError } from '../core/errors.ts';
import { groupAllocations } from '../cost/allocations.ts';
import { explainAmount } from '../cost/explain.ts';
import { intakeOf } from '../cost/intake.ts';
import { costLedger, type Ledger } from '../cost/ledger.ts';
import { HOUR_MS } from '../cost/record.ts';
import type { CostQuery } from '../server/services.ts';
import type { Costs } from '../server/shapes/operation.ts';
import { storedRecords } from './stored-records.ts';
import { TableNews } from './table-news.ts';

const DAY_MS = 24 * HOUR_MS;
/** Ledger records read for one answer: a month of 1,000 claims an hour. Beyond it the answer would not be whole: refused. */
const RECORDS_MAX = 750_000;
/** Ledgers held until cost records come: those of the dashboard, of the scrape and of a few people. */
const LEDGERS_MAX = 8;

/** Costs of the records in the store, computed by the same ledger as `leeway cost`. */
export class CostBook {
  readonly #store: Store;
  readonly #extra: readonly unknown[];
  readonly #news: TableNews;
  #ledgers = new Map<string, Promise<Ledger>>();

  /** `extra`: records of the configured assets_file and prices_file, in force beside the stored ones. */
  constructor(store: Store, extra: readonly unknown[]) {
    this.#store = store;
    this.#extra = extra;
    this.#news = new TableNews(store);
  }

  /** The ledger of whole UTC hours that cover [from, to); everything by default. Computed when cost records came. */
  async ledger(interval: { from?: number; to?: number }): Promise<Ledger> {
    const from_ms = interval.from === undefined ? undefined : Math.floor(interval.from / HOUR_MS) * HOUR_MS;
    const to_ms = interval.to === undefined ? undefined : Math.ceil(interval.to / HOUR_MS) * HOUR_MS;
    const signal = new AbortController().signal;
    const news = await this.#news.look(signal);
    if (LEDGER_TYPES.some((type) => news.tables.has(type))) this.#ledgers = new Map();
    const ledgers = this.#ledgers;
    const key = `${from_ms}/${to_ms}`;
    const held = ledgers.get(key);
    if (held !== undefined) return held;
    const options = { ...(from_ms === undefined ? {} : { from_ms }), ...(to_ms === undefined ? {} : { to_ms }) };
    const ledger = this.#records(signal).then((values) => costLedger(intakeOf(values), options));
    if (ledgers.size >= LEDGERS_MAX) ledgers.clear();
    ledgers.set(key, ledger);
    ledger.catch(() => ledgers.delete(key)); // the caller has the failure; the next one tries again
    news.read();
    return ledger;
  }

  /** What the UTC day of `now_ms` has cost by category, nano-USD: its hours until the one under way. The ledger is that of the overview. */
  async today(now_ms: number): Promise<ReadonlyMap<string, bigint>> {
    const [first, last] = [Math.floor(now_ms / DAY_MS) * 24, Math.floor(now_ms / HOUR_MS)];
    const ledger = await this.ledger({ from: (last - 23) * HOUR_MS });
    const sums = new Map<string, bigint>();
    for (const category of Object.keys(ledger.totals)) if (category !== 'billed') sums.set(category, 0n);
    for (const { hour, category, nano_usd } of ledger.rows)
      if (hour >= first && hour <= last) sums.set(category, (sums.get(category) ?? 0n) + nano_usd);
    return sums;
  }

  /** The records themselves are not held: a month of them would be most of the process. */
  async #records(signal: AbortSignal): Promise<unknown[]> {
    const values: unknown[] = [...this.#extra];
    for (const type of LEDGER_TYPES) {
      const limit = RECORDS_MAX + 1 - values.length;
      const query = { type, where: '1', parameters: {}, order: 'precedence DESC', limit };
      for (const { record } of await storedRecords(this.#store, query, signal)) values.push(record);
      if (values.length > RECORDS_MAX)
        throw new LeewayError(
          'LW-OVERLOADED',
          `more than ${RECORDS_MAX} cost records are stored; use "leeway cost" on an export of them`,
        );
    }
    return values;
  }

  /** `GET /api/v1/costs`: the totals and one row a period, tenant and category. Amounts in nano-USD. */
  async costs(query: CostQuery): Promise<Costs> {
    const ledger = await this.ledger(query);
    const allocations = groupAllocations(ledger, {
      group_by: query.group_by,
      ...(query.period === undefined ? {} : { period: query.period }),
    });
    const sums = new Map<string, Costs['items'][number] & { amount: bigint; seconds: number }>();
    for (const { from_ms, category, tenant, nano_usd, gpu_seconds } of allocations) {
      const key = `${from_ms}\n${category}\n${tenant?.key ?? ''}`;
      const held = sums.get(key);
      if (held === undefined)
        sums.set(key, {
          period_ms: from_ms,
          tenant: tenant?.fields ?? null,
          category,
          nano_usd: '0',
          gpu_seconds: 0,
          amount: nano_usd,
          seconds: gpu_seconds,
        });
      else {
        held.amount += nano_usd;
        held.seconds += gpu_seconds;
      }
    }
    return {
      currency: 'USD',
      ...bounds(ledger, query),
      totals: totalsOf(ledger),
      items: [...sums.values()].map(({ amount, seconds, ...item }) => ({
        ...item,
        nano_usd: String(amount),
        gpu_seconds: seconds,
      })),
      warnings: [...ledger.warnings],
    };
  }

  /** `GET /api/v1/costs/explain`: the segments behind one amount. Throws LW-NOT-FOUND where the ledger has none. */
  async explain(of: { asset: string; hour?: number; tenant?: string }): Promise<Record<string, unknown>> {
    const ledger = await this.ledger({});
    const ofAsset = ledger.rows.filter((row) => row.asset === of.asset);
    const hour = of.hour ?? ofAsset.reduce((latest, row) => Math.max(latest, row.hour * HOUR_MS), 0);
    const explained = explainAmount(ledger, { asset: of.asset, hour_ms: hour, tenant: of.tenant ?? 'idle' });
    if (explained === null)
      throw new LeewayError('LW-NOT-FOUND', `the ledger has no amount for asset ${of.asset} in that hour and tenant`);
    const { rows, bill_nano_usd, ...rest } = explained;
    return {
      ...rest,
      bill_nano_usd: String(bill_nano_usd),
      rows: rows.map(({ category, tenant, nano_usd, correction }) => ({
        category,
        tenant: tenant?.fields ?? null,
        nano_usd: String(nano_usd),
        correction,
      })),
    };
  }
}

/** Totals by category as decimal text. */
export function totalsOf({ totals }: Pick<Ledger, 'totals'>): Costs['totals'] {
  return {
    billed_nano_usd: String(totals.billed),
    tenant_nano_usd: String(totals.tenant),
    idle_nano_usd: String(totals.idle),
    stranded_nano_usd: String(totals.stranded),
    overhead_nano_usd: String(totals.overhead),
    unobserved_nano_usd: String(totals.unobserved),
  };
}

function bounds(ledger: Ledger, query: CostQuery): { from_ms: number; to_ms: number } {
  const hours = ledger.rows.map((row) => row.hour);
  const first = hours.reduce((least, hour) => Math.min(least, hour), Infinity);
  const last = hours.reduce((most, hour) => Math.max(most, hour), -Infinity);
  return {
    from_ms: query.from ?? (Number.isFinite(first) ? first * HOUR_MS : 0),
    to_ms: query.to ?? (Number.isFinite(last) ? (last + 1) * HOUR_MS : 0),
  };
}
