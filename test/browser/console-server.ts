import { resolve } from 'node:path';
import { ManualClock, systemClock } from '../../src/core/clock.ts';
import { LeewayError } from '../../src/core/errors.ts';
import { listen } from '../../src/server/listen.ts';
import { createServer } from '../../src/server/server.ts';
import type { Page, Paging, Services, StreamEvent } from '../../src/server/services.ts';
import type { Costs } from '../../src/server/shapes/operation.ts';
import { openTokens } from '../../src/server/tokens.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { createServiceMetrics } from '../../src/telemetry/metrics.ts';
import { bearer, tokensOfEveryScope } from '../server/fixture.ts';
import { createMemory } from '../server/memory.ts';
import { createFleet, type Fleet, HOSTILE, HOUR_MS } from './fleet.ts';

const ROOT = resolve(import.meta.dirname, '../..');

/** What the fleet's service does: answers, has nothing yet, or fails at everything it reads. */
export type Mode = 'data' | 'empty' | 'error';

export type ConsoleServer = {
  readonly url: string;
  readonly fleet: Fleet;
  readonly emit: (event: StreamEvent) => void;
  /** What reached the operate service. */
  readonly calls: { readonly name: string; readonly argument: unknown }[];
} & AsyncDisposable;

/** The token that a server with tokens accepts for everything. */
export const ADMIN_TOKEN = bearer('admin').authorization.replace('Bearer ', '');

/** The real HTTP server over a generated fleet, on a free port of this machine. */
export async function startConsole(mode: Mode = 'data', options: { tokens?: boolean } = {}): Promise<ConsoleServer> {
  const fleet = createFleet(systemClock.now_ms());
  const memory = createMemory();
  const settings = { host: '127.0.0.1', port: 0, public_url: null, tls: { cert_file: null, key_file: null } };
  const server = await createServer({
    settings,
    services: { ...memory.services, read: reading(fleet, mode) },
    logger: createLogger({ level: 'error', format: 'json', isTerminal: false, color: false, write: () => {} }),
    metrics: createServiceMetrics('0.0.0-test'),
    tokens:
      options.tokens === true ? await tokensOfEveryScope(new ManualClock(0)) : await openTokens(null, systemClock),
    version: '0.0.0-test',
    installation: ROOT,
    checkAnswers: true,
  });
  const { url } = await listen(server, settings);
  return {
    url,
    fleet,
    emit: memory.emit,
    calls: memory.calls,
    [Symbol.asyncDispose]: () => server.app.close(),
  };
}

function reading(fleet: Fleet, mode: Mode): Services['read'] {
  const page = <Item>(items: readonly Item[], { limit }: Paging): Page<Item> => {
    refuseOnError(mode);
    return { items: mode === 'empty' ? [] : items.slice(0, limit), next: null };
  };
  const one = <Item>(items: readonly Item[], fits: (item: Item) => boolean): Item => {
    refuseOnError(mode);
    const found = mode === 'empty' ? undefined : items.find(fits);
    if (found === undefined) throw new LeewayError('LW-NOT-FOUND', 'nothing has this id');
    return found;
  };
  return {
    overview: async () => {
      refuseOnError(mode);
      return mode === 'empty' ? emptyOverview(fleet) : fleet.overview;
    },
    sources: async (_filter, paging) => page(fleet.sources, paging),
    series: async (_filter, paging) => page([], paging),
    samples: async (_id, _filter, paging) => page([], paging),
    histograms: async (_id, _filter, paging) => page([], paging),
    exemplars: async (_id, _filter, paging) => page([], paging),
    jobs: async (_filter, paging) => page(fleet.jobs, paging),
    job: async (id) => one(fleet.jobs, (job) => job.job === id),
    steps: async (_job, { from_step = 0, to_step = Infinity, ranks }, paging) => {
      const wanted = (rank: number): boolean => ranks.length === 0 || ranks.includes(rank);
      return page(
        fleet.steps.filter(({ step, rank }) => step >= from_step && step < to_step && wanted(rank)),
        paging,
      );
    },
    models: async (_filter, paging) => page(fleet.models, paging),
    model: async (name) => one(fleet.models, (model) => model.model === name),
    drift: async (name) => one([fleet.drift], () => name === 'digits'),
    quality: async (name) => one([fleet.quality], () => name === 'digits'),
    incidents: async ({ status, job, model }, paging) =>
      page(
        fleet.incidents.filter(
          (item) =>
            (status?.includes(item.status) ?? true) &&
            (job ?? item.job) === item.job &&
            (model ?? item.model) === item.model,
        ),
        paging,
      ),
    incident: async (id) => one(fleet.incidents, (incident) => incident.id === id),
    decisions: async (_filter, paging) => page(fleet.decisions, paging),
    decision: async (id) => one(fleet.decisions, (decision) => decision.id === id),
    runs: async (_filter, paging) =>
      page(
        fleet.decisions.flatMap(({ run }) => (run === null ? [] : [run])),
        paging,
      ),
    costs: async ({ period, from = fleet.overview.at_ms - 24 * HOUR_MS, to = fleet.overview.at_ms }) => {
      refuseOnError(mode);
      return costsOf({ from_ms: from, to_ms: to, period, hours: mode === 'empty' ? 0 : 24 });
    },
    explainCost: async ({ asset, hour = 0 }) => {
      refuseOnError(mode);
      if (asset === 'nothing') throw new LeewayError('LW-NOT-FOUND', 'the ledger has no such amount');
      const price = { usd_per_hour: '3.96', share_numerator: '1', share_denominator: '1', mode: 'whole' };
      const amount = { category: 'tenant', tenant: { team: 'research' }, nano_usd: '3960000000', correction: false };
      return {
        asset,
        hour_ms: hour,
        bill_nano_usd: '3960000000',
        rows: [amount],
        segments: [{ ...price, from_ms: hour, to_ms: hour + HOUR_MS, usd: '3.96' }],
      };
    },
    delivery: async (filter, paging) =>
      page(
        fleet.delivery.filter(({ source }) => (filter['source'] ?? source) === source),
        paging,
      ),
    rules: async (paging) => page(fleet.rules, paging),
    sinks: async (paging) => page(fleet.sinks, paging),
    audit: async (_filter, paging) => page(fleet.audit, paging),
  };
}

function refuseOnError(mode: Mode): void {
  if (mode === 'error') throw new LeewayError('LW-STORE-GONE', 'the store does not answer');
}

function emptyOverview({ overview }: Fleet): Fleet['overview'] {
  return {
    at_ms: overview.at_ms,
    incidents: { open: 0, page: 0, warn: 0 },
    jobs: { running: 0, slowed: 0 },
    models: { serving: 0, drifting: 0 },
    cost: { today_nano_usd: '0', idle_nano_usd: '0', budget_nano_usd: null },
    delivery: { emitted: 0, stored: 0, in_flight: 0, declared_loss: 0, lag_ms: null },
    retraining: { running: 0, awaiting_approval: 0 },
    timeline: [],
    cost_series: [],
  };
}

type CostRange = { from_ms: number; to_ms: number; period: string | undefined; hours: number };

/** $99 an hour to nano-USD that do not divide evenly: thirds of a nano-USD would show in a float. */
function costsOf({ from_ms, to_ms, period, hours }: CostRange): Costs {
  const first = Math.floor(to_ms / HOUR_MS) - hours + 1;
  const shares = [
    { category: 'tenant', tenant: { team: 'research' }, nano: 61_333_333_333n },
    { category: 'tenant', tenant: { team: HOSTILE }, nano: 20_111_111_111n },
    { category: 'idle', tenant: null, nano: 9_555_555_556n },
    { category: 'stranded', tenant: null, nano: 5_000_000_000n },
    { category: 'unobserved', tenant: null, nano: 3_000_000_000n },
  ];
  const step = period === 'hour' ? 1 : hours;
  const items: Costs['items'] = [];
  for (let hour = 0; hour < hours; hour += step)
    for (const { category, tenant, nano } of shares) {
      const period_ms = period === undefined ? null : (first + hour) * HOUR_MS;
      items.push({ period_ms, tenant, category, nano_usd: String(nano * BigInt(step)), gpu_seconds: 3600 * step });
    }
  const of = (category: string): string =>
    String(items.filter((item) => item.category === category).reduce((sum, item) => sum + BigInt(item.nano_usd), 0n));
  return {
    currency: 'USD',
    from_ms,
    to_ms,
    totals: {
      billed_nano_usd: String(items.reduce((sum, item) => sum + BigInt(item.nano_usd), 0n)),
      tenant_nano_usd: of('tenant'),
      idle_nano_usd: of('idle'),
      stranded_nano_usd: of('stranded'),
      overhead_nano_usd: '0',
      unobserved_nano_usd: of('unobserved'),
    },
    items,
    warnings: [],
  };
}
