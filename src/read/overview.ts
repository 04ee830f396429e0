import { INCIDENTS, RETRAIN_DECISIONS, RETRAIN_RUNS } from '../control/collections.ts';
import type { Control, Store } from '../core/ports.ts';
import { groupAllocations } from '../cost/allocations.ts';
import { HOUR_MS } from '../cost/record.ts';
import type { DeliveryItem, JobItem, ModelItem } from '../server/shapes/telemetry.ts';
import type { Overview } from '../server/shapes/operation.ts';
import type { CostBook } from './costs.ts';
import { storedRecords } from './stored-records.ts';

const DAY_MS = 24 * HOUR_MS;
const TIMELINE_MAX = 200;

export type OverviewParts = {
  readonly store: Store;
  readonly control: Control;
  readonly costs: CostBook;
  readonly jobs: readonly JobItem[];
  readonly models: readonly ModelItem[];
  readonly delivery: readonly DeliveryItem[];
  readonly lag_ms: number;
  readonly now_ms: number;
};

/** One line of health per area, and the last 24 hours on one axis. */
export async function overview(parts: OverviewParts): Promise<Overview> {
  const { now_ms, jobs, models, delivery } = parts;
  const active = jobs.filter((job) => job.state !== 'ended');
  const [incidents, retraining, timeline, cost] = await Promise.all([
    openIncidents(parts.control),
    retrainingCounts(parts.control),
    timelineOf(parts),
    costToday(parts),
  ]);
  return {
    at_ms: now_ms,
    incidents,
    jobs: { running: active.length, slowed: active.filter((job) => job.state !== 'running').length },
    models: { serving: models.length, drifting: models.filter((model) => model.status === 'drifting').length },
    cost: cost.summary,
    delivery: {
      emitted: total(delivery, (item) => item.emitted),
      stored: total(delivery, (item) => item.stored),
      in_flight: total(delivery, (item) => item.in_flight),
      declared_loss: total(delivery, (item) =>
        Object.values(item.declared_loss).reduce((sum, count) => sum + count, 0),
      ),
      lag_ms: parts.lag_ms,
    },
    retraining,
    timeline,
    cost_series: cost.series,
  };
}

function total(items: readonly DeliveryItem[], of: (item: DeliveryItem) => number): number {
  return items.reduce((sum, item) => sum + of(item), 0);
}

async function openIncidents(control: Control): Promise<Overview['incidents']> {
  const open = await control.transaction((tx) =>
    tx.list(INCIDENTS, {
      where: [
        { field: 'status', is: '!=', value: 'resolved' },
        { field: 'opened_at_ms', is: '>', value: 0 },
      ],
      limit: 10_000,
    }),
  );
  const page = open.filter(({ body }) => body.severity === 'page').length;
  return { open: open.length, page, warn: open.length - page };
}

async function retrainingCounts(control: Control): Promise<Overview['retraining']> {
  return control.transaction(async (tx) => ({
    running: await tx.count(RETRAIN_RUNS, [{ field: 'state', is: 'in', value: ['dispatched', 'running'] }]),
    awaiting_approval: await tx.count(RETRAIN_DECISIONS, [{ field: 'state', is: '=', value: 'awaiting_approval' }]),
  }));
}

async function timelineOf({ store, control, now_ms }: OverviewParts): Promise<Overview['timeline']> {
  const since_ms = now_ms - DAY_MS;
  const recent = [{ field: 'opened_at_ms', is: '>=', value: since_ms } as const];
  const dispatched = [{ field: 'dispatched_at_ms', is: '>=', value: since_ms } as const];
  const [incidents, decisions] = await control.transaction(async (tx) => [
    await tx.list(INCIDENTS, { where: recent, limit: TIMELINE_MAX }),
    await tx.list(RETRAIN_DECISIONS, { where: dispatched, limit: TIMELINE_MAX }),
  ]);
  const deploys = await storedRecords(
    store,
    {
      type: 'deploy',
      where: 'at >= fromUnixTimestamp64Milli({since:Int64})',
      parameters: { since: BigInt(Math.floor(since_ms)) },
      order: 'at_ms DESC',
      limit: TIMELINE_MAX,
    },
    new AbortController().signal,
  );
  const entries: Overview['timeline'] = [
    ...incidents.map(({ body }) => ({
      at_ms: body.opened_at_ms ?? body.updated_at_ms,
      kind: 'incident' as const,
      title: body.title,
      href: `/incidents/${body.id}`,
      severity: body.severity,
    })),
    ...deploys.map(({ record }) => ({
      at_ms: record.at_ms,
      kind: 'deploy' as const,
      title: `${record.model} ${record.version}: ${record.action}`,
      href: `/models/${encodeURIComponent(record.model)}`,
    })),
    ...decisions.map(({ body }) => ({
      at_ms: body.dispatched_at_ms ?? body.updated_at_ms,
      kind: 'retrain' as const,
      title: `Retraining of ${body.model}: ${body.state.replaceAll('_', ' ')}`,
      href: `/retraining/${body.id}`,
    })),
  ];
  return entries.sort((a, b) => a.at_ms - b.at_ms).slice(-TIMELINE_MAX);
}

type CostToday = { readonly summary: Overview['cost']; readonly series: Overview['cost_series'] };

async function costToday({ costs, now_ms }: OverviewParts): Promise<CostToday> {
  const today_ms = Math.floor(now_ms / DAY_MS) * DAY_MS;
  const hour_ms = Math.floor(now_ms / HOUR_MS) * HOUR_MS;
  const ledger = await costs.ledger({ from: hour_ms - DAY_MS + HOUR_MS }); // without an end: the hour under way is not billed ahead
  const hours = new Map<number, bigint>();
  const known = { rows: ledger.rows.filter((row) => row.hour * HOUR_MS <= now_ms) };
  for (const { from_ms, nano_usd } of groupAllocations(known, { period: 'hour', group_by: [] }))
    hours.set(from_ms ?? 0, (hours.get(from_ms ?? 0) ?? 0n) + nano_usd);
  const sum = (rows: readonly { readonly nano_usd: bigint }[]) =>
    String(rows.reduce((all, row) => all + row.nano_usd, 0n));
  const rows = known.rows.filter((row) => row.hour * HOUR_MS >= today_ms);
  return {
    summary: {
      today_nano_usd: sum(rows),
      idle_nano_usd: sum(rows.filter((row) => row.category === 'idle')),
      budget_nano_usd: null,
    },
    series: [...hours].sort(([a], [b]) => a - b).map(([at_ms, nano_usd]) => ({ at_ms, nano_usd: String(nano_usd) })),
  };
}
