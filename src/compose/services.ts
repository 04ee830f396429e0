import {
  OUTBOX,
  RETRAIN_DECISIONS,
  RETRAIN_RUNS,
  RULE_MUTES,
  AUDIT,
  DELIVERY_ATTEMPTS,
} from '../control/collections.ts';
import type { Clock } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import type { Bus, Control, Store } from '../core/ports.ts';
import { systemRandom } from '../core/random.ts';
import type { SampleRejection } from '../core/samples.ts';
import type { SetAside } from '../core/set-aside.ts';
import type { Rule } from '../incident/rules.ts';
import type { DeclaredGaps } from '../pipeline/declared-gaps.ts';
import type { Desk } from '../pipeline/decide.ts';
import { type Courier, type Destination, sinkStates } from '../pipeline/deliver.ts';
import type { ExternalAlerts } from '../pipeline/external-alerts.ts';
import { OpenIngest } from '../pipeline/open-ingest.ts';
import { NumberedSender } from '../pipeline/publish.ts';
import type { Retraining } from '../pipeline/retrain.ts';
import type { AcknowledgedReader } from '../read/acknowledged.ts';
import type { CostBook } from '../read/costs.ts';
import { decisionDetail, decisionItem, listDecisions, listRuns, runItem } from '../read/decisions.ts';
import { type DeclaredLoss, deliveryAccount } from '../read/delivery.ts';
import { incidentDetail, incidentItem, listIncidents, notificationItem } from '../read/incidents.ts';
import { jobDetail, JobRows, listJobs, listSteps } from '../read/jobs.ts';
import { listModels, modelDetail, modelDrift, modelQuality } from '../read/models.ts';
import { overview } from '../read/overview.ts';
import { conditions, newestPage, pageOf } from '../read/page.ts';
import { listExemplars, listHistograms, listSamples, listSeries } from '../read/series.ts';
import type { SourceRegistry } from '../read/sources.ts';
import type { Change, Services, SignedBody, StreamEvent } from '../server/services.ts';
import type { DeliveryItem, SourceItem } from '../server/shapes/telemetry.ts';
import type { Readiness, RuleItem, SinkItem } from '../server/shapes/operation.ts';

/** Everything that the services stand on; made by compose/server-role.ts. */
export type ServiceParts = {
  readonly bus: Bus;
  readonly store: Store;
  readonly control: Control;
  readonly clock: Clock;
  readonly desk: Desk;
  readonly alerts: ExternalAlerts;
  readonly courier: Courier;
  readonly retraining: Retraining;
  readonly costs: CostBook;
  readonly sources: SourceRegistry;
  readonly listSources: () => Promise<SourceItem[]>;
  readonly epoch: number;
  readonly losses: () => readonly DeclaredLoss[];
  readonly acknowledged: AcknowledgedReader | null;
  /** What senders say they lost. */
  readonly gaps: Pick<DeclaredGaps, 'take'>;
  /** Keeps what was refused, for a person. */
  readonly quarantine: (aside: SetAside) => void;
  readonly rules: () => readonly Rule[];
  readonly destinations: () => readonly Destination[];
  readonly drift: { readonly window_ms: number; readonly alpha: number };
  readonly verifyTarget: (policy: string, signed: SignedBody) => Promise<boolean>;
  readonly readiness: () => Promise<Readiness>;
  readonly reload: (actor: string) => Promise<readonly Change[]>;
  readonly subscribe: (listener: (event: StreamEvent) => void) => () => void;
};

const ALL = { limit: 500, after: null } as const;
/** Senders without a name share this one. */
const UNNAMED = 'events';

/** The HTTP server's view of the running service. */
export function createServices(parts: ServiceParts): Services {
  return {
    ingest: ingestService(parts),
    read: readService(parts),
    operate: operateService(parts),
    stream: { subscribe: parts.subscribe },
    system: { readiness: parts.readiness },
  };
}

function ingestService({ bus, clock, epoch, sources, alerts, quarantine, gaps }: ServiceParts): Services['ingest'] {
  const open = new OpenIngest({ bus, clock, random: systemRandom, epoch, onSetAside: quarantine });
  const senders = new Map<string, NumberedSender>();
  const senderOf = (source: string): NumberedSender => {
    const known = senders.get(source) ?? new NumberedSender({ bus, source, epoch });
    senders.set(source, known);
    return known;
  };
  return {
    events: async ({ identity, source, records, rejected, set_aside }, signal) => {
      const name = identity?.source ?? source ?? UNNAMED;
      const now_ms = clock.now_ms();
      if (Object.keys(rejected).length > 0) sources.rejected(name, 'sender', rejected, now_ms);
      let repeated = false;
      if (records.length > 0) {
        if (identity === null) await senderOf(name).send({ records }, signal);
        else ({ repeated } = await bus.publish({ ...identity, records }, signal));
      }
      if (repeated) return { repeated };
      if (records.length > 0) sources.accepted(name, 'sender', records, now_ms);
      for (const { code, reason, raw } of set_aside)
        quarantine({ source: name, kind: 'record', code, reason, count: 1, raw, truncated: false });
      return { repeated };
    },
    declare: (given) => gaps.take(given),
    samples: async ({ source, identity, decode }, signal) => {
      const taken = await open.take({ source, identity }, decode, signal);
      const now_ms = clock.now_ms();
      if (!taken.repeated) sources.counted(source, 'sender', taken.samples_count + taken.histograms.length, now_ms);
      const rejected = Object.fromEntries(taken.rejections.map(({ code, count }) => [code, count]));
      if (taken.rejections.length > 0) sources.rejected(source, 'sender', rejected, now_ms);
      sources.warned(source, 'sender', open.overflow(source) ?? clockWarning(taken.rejections));
      return taken;
    },
    alerts: (messages) => alerts.take(messages, clock.now_ms()),
  };
}

function clockWarning(rejections: readonly SampleRejection[]): string | null {
  const clock = rejections.find(({ code }) => code === 'clock');
  return clock === undefined ? null : `of the last body ${clock.count} refused: ${clock.reason}`;
}

function readService(parts: ServiceParts): Services['read'] {
  const { store, control, clock, costs, drift } = parts;
  const doors = { store, control };
  const rows = new JobRows(store, clock);
  const account = (): Promise<DeliveryItem[]> => deliveryAccount(parts, parts.losses(), AbortSignal.timeout(20_000));
  return {
    overview: async () => {
      const now_ms = clock.now_ms();
      const [jobs, models, delivery] = await Promise.all([
        listJobs({ rows, control }, { filter: {}, paging: ALL, now_ms }),
        listModels(control, {}, ALL),
        account(),
      ]);
      // where the bus does not know what waits in it, the account does
      const ages = delivery.flatMap(({ oldest_in_flight_ms }) => oldest_in_flight_ms ?? []);
      const lag_ms =
        parts.acknowledged === null ? parts.bus.backlog().oldest_ms : ages.reduce((a, b) => Math.max(a, b), 0);
      return overview({ store, control, costs, jobs: jobs.items, models: models.items, delivery, lag_ms, now_ms });
    },
    sources: async (filter, paging) =>
      pageOf((await parts.listSources()).filter(matching<SourceItem>(filter)), paging, (item) => item.source),
    jobs: (filter, paging) => listJobs({ rows, control }, { filter, paging, now_ms: clock.now_ms() }),
    job: (id) => jobDetail(doors, id, clock.now_ms()),
    series: (filter, paging) => listSeries(store, filter, paging),
    samples: (id, filter, paging) => listSamples(store, id, filter, paging),
    histograms: (id, filter, paging) => listHistograms(store, id, filter, paging),
    exemplars: (id, filter, paging) => listExemplars(store, id, filter, paging),
    steps: (job, filter, paging) => listSteps(store, job, filter, paging),
    models: (filter, paging) => listModels(control, filter, paging),
    model: (name) => modelDetail(doors, name),
    drift: (name, window) => modelDrift(control, name, window, drift.alpha),
    quality: (name, window) => modelQuality(control, name, window, drift.window_ms),
    incidents: (filter, paging) => listIncidents(control, filter, paging),
    incident: (id) => incidentDetail(control, id),
    decisions: (filter, paging) => listDecisions(control, filter, paging),
    decision: (id) => decisionDetail(control, id),
    runs: (filter, paging) => listRuns(control, filter, paging),
    costs: (query) => costs.costs(query),
    explainCost: (query) => costs.explain(query),
    delivery: async (filter, paging) =>
      pageOf(
        (await account()).filter(matching<DeliveryItem>(filter)),
        paging,
        (item) => `${item.source}/${item.epoch}`,
      ),
    rules: async (paging) => pageOf(await ruleItems(parts), paging, (item) => item.id),
    sinks: async (paging) => pageOf(await sinkItems(parts), paging, (item) => item.id),
    audit: (filter, paging) =>
      newestPage(
        control,
        { collection: AUDIT, field: 'sequence', where: conditions({ ...filter }, 'at_ms') },
        paging,
        ({ body }) => body,
      ),
  };
}

function matching<Item extends object>(filter: Readonly<Record<string, string | undefined>>) {
  return (item: Item): boolean =>
    Object.entries(filter).every(([field, value]) => value === undefined || Reflect.get(item, field) === value);
}

async function ruleItems({ rules, control }: ServiceParts): Promise<RuleItem[]> {
  const mutes = await control.transaction((tx) => tx.list(RULE_MUTES, { limit: 5_000 }));
  const muted = new Set(mutes.map(({ id }) => id));
  return rules().map((rule) => {
    const { id, finding, fire, clear, for_ms, keep_firing_ms, data_min, severity, runbook } = rule;
    return { id, finding, fire, clear, for_ms, keep_firing_ms, data_min, severity, runbook, muted: muted.has(id) };
  });
}

async function sinkItems({ destinations, control }: ServiceParts): Promise<SinkItem[]> {
  const states = await sinkStates(control);
  return control.transaction(async (tx) => {
    const items: SinkItem[] = [];
    for (const { id, definition } of destinations()) {
      const mine = { field: 'sink', is: '=', value: id } as const;
      const pending = await tx.count(OUTBOX, [mine, { field: 'state', is: '=', value: 'retrying' }]);
      const attempts = await tx.list(DELIVERY_ATTEMPTS, {
        where: [mine],
        order: { field: 'at_ms', descending: true },
        limit: 5,
      });
      const state = states.get(id);
      items.push({
        id,
        kind: definition.name,
        state: state?.state ?? 'ok',
        reason: state?.reason ?? null,
        pending,
        last_attempts: attempts.map(({ body: { at_ms, outcome, http_status, reason } }) => ({
          at_ms,
          outcome,
          http_status,
          reason,
        })),
      });
    }
    return items;
  });
}

function operateService(parts: ServiceParts): Services['operate'] {
  const { control, desk, courier, retraining } = parts;
  const by = ({ actor, note }: { actor: string; note: string | null }) => ({ actor, note: note ?? '' });
  const rule = async (id: string): Promise<RuleItem> => {
    const found = (await ruleItems(parts)).find((item) => item.id === id);
    if (found === undefined) throw new LeewayError('LW-NOT-FOUND', `no rule ${id}`);
    return found;
  };
  return {
    acknowledge: async (action) => incidentItem(await desk.acknowledge(action.id, by(action))),
    snooze: async (action) => incidentItem(await desk.snooze(action.id, action.until_ms, by(action))),
    resolve: async (action) => incidentItem(await desk.resolve(action.id, by(action))),
    silence: ({ matchers, starts_at_ms, ends_at_ms, comment }, actor) =>
      desk.silence(
        { matchers, starts_at_ms: starts_at_ms ?? parts.clock.now_ms(), ends_at_ms, comment: comment ?? '' },
        { actor, note: comment ?? '' },
      ),
    approve: async ({ id, actor, note }) => decisionItem(await retraining.approve(id, actor, note ?? '')),
    reject: async ({ id, actor, note }) => decisionItem(await retraining.close(id, actor, note ?? '', 'rejected')),
    cancel: async ({ id, actor, note }) => decisionItem(await retraining.close(id, actor, note ?? '', 'cancelled')),
    mute: async (action) => {
      await desk.mute(action.id, by(action));
      return rule(action.id);
    },
    unmute: async (action) => {
      await desk.unmute(action.id, by(action));
      return rule(action.id);
    },
    testSink: async (action) => {
      const result = await courier.test(action.id, by(action), AbortSignal.timeout(30_000));
      return result.outcome === 'blocked' ? { outcome: 'blocked' } : result;
    },
    replay: async (action) => {
      await courier.replay(action.id, by(action));
      return control.transaction(async (tx) => {
        const row = await tx.get(OUTBOX, action.id);
        if (row === null) throw new LeewayError('LW-NOT-FOUND', `no notification ${action.id}`);
        return notificationItem(tx, row);
      });
    },
    runStatus: async (id, status, actor) => runItem(await retraining.report(id, status, actor)),
    verifyRunSignature: async (id, signed) => {
      const policy = await control.transaction(async (tx) => {
        const run = await tx.get(RETRAIN_RUNS, id);
        return run === null ? null : ((await tx.get(RETRAIN_DECISIONS, run.body.decision_id))?.body.policy ?? null);
      });
      return policy !== null && parts.verifyTarget(policy, signed);
    },
    reload: parts.reload,
  };
}
