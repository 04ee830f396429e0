import { LeewayError } from '../../src/core/errors.ts';
import { SampleColumns } from '../../src/formats/sample-columns.ts';
import { SeriesBook } from '../../src/formats/series-book.ts';
import type { IncomingBatch, Page, Services, SignedBody, StreamEvent } from '../../src/server/services.ts';
import type { DecisionItem, RetrainRunItem } from '../../src/server/shapes/decision.ts';
import type { IncidentItem, NotificationItem } from '../../src/server/shapes/incident.ts';
import type { RuleItem } from '../../src/server/shapes/operation.ts';
import type { SeriesItem } from '../../src/server/shapes/series.ts';
import type { JobItem, ModelItem, StepItem } from '../../src/server/shapes/telemetry.ts';

export const NOW_MS = 1_767_225_600_000;

const INCIDENT: IncidentItem = {
  id: 'inc_1',
  kind: 'slow_rank',
  severity: 'page',
  status: 'open',
  state: 'firing',
  title: 'Rank 2 computes 30 % slower',
  subjects: [{ type: 'rank', id: '2' }],
  cause: 'thermal',
  job: 'digits',
  started_at_ms: NOW_MS,
  opened_at_ms: NOW_MS,
  resolved_at_ms: null,
  updated_at_ms: NOW_MS,
  coverage_ratio: 1,
  gpu_seconds_lost: 12.5,
  usd_lost: '0.0087',
  usd_per_hour: '1.25',
  rule: 'straggler-slow-rank',
  runbook_url: null,
};

const JOB: JobItem = {
  job: 'digits',
  attempt: 0,
  team: 'vision',
  model: 'digits',
  world_size: 4,
  state: 'slowed',
  last_step: 12,
  last_at_ms: NOW_MS,
  median_step_ms: 100,
  gpu_seconds: 48,
  gpu_seconds_lost: 12.5,
  usd_lost: '0.0087',
  coverage_ratio: 1,
  incidents_open: 1,
};

const SERIES: SeriesItem = {
  id: '17',
  metric: 'up',
  labels: { __name__: 'up', job: 'node' },
  kind: 'gauge',
  unit: '',
  help: '',
};

const MODEL: ModelItem = {
  model: 'digits',
  version: 'v1',
  status: 'stable',
  accuracy: { value: 0.97, low: 0.95, high: 0.98, completeness_ratio: 1 },
  reference_accuracy: 0.97,
  predictions: 5000,
  last_at_ms: NOW_MS,
  features_drifted: 0,
  window: { from_ms: NOW_MS - 3_600_000, to_ms: NOW_MS },
};

const DECISION: DecisionItem = {
  id: 'dec_1',
  model: 'digits',
  version: 'v1',
  policy: 'default',
  state: 'awaiting_approval',
  reason: null,
  created_at_ms: NOW_MS,
  updated_at_ms: NOW_MS,
  expires_at_ms: NOW_MS + 86_400_000,
  incident_id: 'inc_1',
  episode_id: 'ep_1',
  dispatch_key: null,
  run_id: null,
  gates: [{ gate: 'labels', result: 'pass', observed: 800, threshold: 500, note: null }],
  can_approve: true,
};

const RUN: RetrainRunItem = {
  id: 'run_1',
  decision_id: 'dec_1',
  model: 'digits',
  state: 'dispatched',
  dispatched_at_ms: NOW_MS,
  updated_at_ms: NOW_MS,
  version: null,
  metrics: null,
  url: null,
  reason: null,
};

const RULE: RuleItem = {
  id: 'straggler-slow-rank',
  finding: 'straggler.slow_rank',
  fire: { above: 1.1 },
  clear: { below: 1.05 },
  for_ms: 5000,
  keep_firing_ms: 30_000,
  data_min: 20,
  severity: 'page',
  runbook: null,
  muted: false,
};

const NOTIFICATION: NotificationItem = {
  id: 'ntf_1',
  sink: 'ops',
  type: 'leeway.incident.opened',
  state: 'retrying',
  created_at_ms: NOW_MS,
  next_attempt_at_ms: NOW_MS + 5000,
  attempts: [{ at_ms: NOW_MS, outcome: 'retrying', http_status: 503, reason: null, duration_ms: 12 }],
};

function one<Item>(item: Item): Page<Item> {
  return { items: [item], next: null };
}

function known<Item>(id: string, expected: string, item: Item): Item {
  if (id === expected) return item;
  throw new LeewayError('LW-NOT-FOUND', `nothing has the id "${id}"`);
}

/** What a test sees of the services behind the server: everything that reached them. */
export type Memory = {
  readonly services: Services;
  readonly batches: IncomingBatch[];
  readonly calls: { readonly name: string; readonly argument: unknown }[];
  readonly steps: StepItem[];
  readonly emit: (event: StreamEvent) => void;
  readonly listeners: () => number;
  /** What ingest throws instead of storing. */
  failure: Error | null;
  ready: boolean;
};

/** Services that live in memory: small, real implementations of the interface, no stubs of single calls. */
export function createMemory(): Memory {
  const listeners = new Set<(event: StreamEvent) => void>();
  const seen = new Set<string>();
  const memory: Memory = {
    services: undefined as unknown as Services, // set right below, needs the object itself
    batches: [],
    calls: [],
    steps: Array.from({ length: 5 }, (_, step) => ({
      type: 'step',
      job: 'digits',
      rank: step % 2,
      step,
      at_ms: NOW_MS + step * 100,
      duration_ms: 100,
      compute_ms: 80,
      data_ms: 5,
      phase: 'train',
    })),
    emit: (event) => {
      for (const listener of listeners) listener(event);
    },
    listeners: () => listeners.size,
    failure: null,
    ready: true,
  };
  const note = <Result>(name: string, argument: unknown, result: Result): Result => {
    memory.calls.push({ name, argument });
    return result;
  };
  return Object.assign(memory, {
    services: {
      ingest: {
        events: async (batch, signal) => {
          signal.throwIfAborted();
          if (memory.failure !== null) throw memory.failure;
          const { identity } = batch;
          const name = identity === null ? null : `${identity.source}/${identity.epoch}/${identity.sequence}`;
          const repeated = name !== null && seen.has(name);
          if (name !== null) seen.add(name);
          if (!repeated) memory.batches.push(batch);
          return { repeated };
        },
        declare: async (gaps) => note('declare', gaps, 0),
        samples: async (batch) => {
          const outcome = batch.decode({ book: new SeriesBook(), columns: new SampleColumns() });
          if (outcome.kind !== 'ok') throw new LeewayError('LW-BODY', outcome.reason);
          return note('samples', { source: batch.source }, outcome.value);
        },
        alerts: async (messages) => note('alerts', messages, { refused: 0 }),
      },
      read: readers(memory, note),
      operate: operators(note),
      stream: {
        subscribe: (listener) => {
          listeners.add(listener);
          return () => listeners.delete(listener);
        },
      },
      system: {
        readiness: async () => ({ ready: memory.ready, checks: { store: { ok: memory.ready, detail: null } } }),
      },
    } satisfies Services,
  });
}

type Note = <Result>(name: string, argument: unknown, result: Result) => Result;

function readers(memory: Memory, note: Note): Services['read'] {
  return {
    overview: async () => ({
      at_ms: NOW_MS,
      incidents: { open: 1, page: 1, warn: 0 },
      jobs: { running: 1, slowed: 1 },
      models: { serving: 1, drifting: 0 },
      cost: { today_nano_usd: '1250000000', idle_nano_usd: '0', budget_nano_usd: null },
      delivery: { emitted: 5, stored: 5, in_flight: 0, declared_loss: 0, lag_ms: 3 },
      retraining: { running: 0, awaiting_approval: 1 },
      timeline: [{ at_ms: NOW_MS, kind: 'incident', title: 'x', href: '/incidents/inc_1', severity: 'page' }],
      cost_series: [{ at_ms: NOW_MS, nano_usd: '1250000000' }],
    }),
    sources: async (filter, paging) => note('sources', { filter, paging }, { items: [], next: null }),
    series: async (filter, paging) => note('series', { filter, paging }, one(SERIES)),
    samples: async (id, filter, paging) => note('samples', { id, filter, paging }, one({ at_ms: NOW_MS, value: 1.5 })),
    histograms: async (id, filter, paging) => note('histograms', { id, filter, paging }, { items: [], next: null }),
    exemplars: async (id, filter, paging) => note('exemplars', { id, filter, paging }, { items: [], next: null }),
    jobs: async (filter, paging) => note('jobs', { filter, paging }, one(JOB)),
    job: async (id) =>
      known(id, 'digits', {
        ...JOB,
        ranks: [{ rank: 0, node: 'n01', gpu: 0, compute_ms_median: 80, cohort_ratio: 1, last_step: 12 }],
      }),
    steps: async (_job, filter, { limit, after }) => {
      note('steps', filter, null);
      const from = after === null ? 0 : Number(after.value) + 1;
      const items = memory.steps.slice(from, from + limit);
      const last = from + limit - 1;
      return { items, next: last < memory.steps.length - 1 ? { value: last, id: String(last) } : null };
    },
    models: async (filter, paging) => note('models', { filter, paging }, one(MODEL)),
    model: async (name) => known(name, 'digits', { ...MODEL, versions: [], inference: null }),
    drift: async (name, window) =>
      note(
        'drift',
        window,
        known(name, 'digits', {
          model: 'digits',
          version: 'v1',
          reference: null,
          alpha: 0.01,
          windows: [],
          features: [],
        }),
      ),
    quality: async (name) => known(name, 'digits', { model: 'digits', version: 'v1', reference: null, items: [] }),
    incidents: async (filter, paging) => note('incidents', { filter, paging }, one(INCIDENT)),
    incident: async (id) =>
      known(id, 'inc_1', {
        ...INCIDENT,
        events: [],
        findings: [],
        notifications: [NOTIFICATION],
        decisions: [DECISION],
      }),
    decisions: async (filter, paging) => note('decisions', { filter, paging }, one(DECISION)),
    decision: async (id) => known(id, 'dec_1', { ...DECISION, events: [], run: RUN, confirmation: null }),
    runs: async () => one(RUN),
    costs: async (query) =>
      note('costs', query, {
        currency: 'USD' as const,
        from_ms: 0,
        to_ms: NOW_MS,
        totals: {
          billed_nano_usd: '3',
          tenant_nano_usd: '1',
          idle_nano_usd: '2',
          stranded_nano_usd: '0',
          overhead_nano_usd: '0',
          unobserved_nano_usd: '0',
        },
        items: [{ period_ms: null, tenant: { team: 'vision' }, category: 'tenant', nano_usd: '1', gpu_seconds: 2 }],
        warnings: [],
      }),
    explainCost: async (query) => note('explainCost', query, { segments: [] }),
    delivery: async () => ({ items: [], next: null }),
    rules: async () => one(RULE),
    sinks: async () =>
      one({ id: 'ops', kind: 'webhook', state: 'ok' as const, reason: null, pending: 0, last_attempts: [] }),
    audit: async () => ({ items: [], next: null }),
  };
}

/** The signature that the in-memory services take for right. */
export const GOOD_SIGNATURE = 'v1,good';

function operators(note: Note): Services['operate'] {
  return {
    acknowledge: async (action) => note('acknowledge', action, known(action.id, 'inc_1', INCIDENT)),
    snooze: async (action) => note('snooze', action, known(action.id, 'inc_1', INCIDENT)),
    resolve: async (action) => note('resolve', action, known(action.id, 'inc_1', INCIDENT)),
    silence: async (request, actor) =>
      note(
        'silence',
        { request, actor },
        {
          id: 'sil_1',
          matchers: request.matchers,
          starts_at_ms: request.starts_at_ms ?? NOW_MS,
          ends_at_ms: request.ends_at_ms,
          comment: request.comment ?? '',
          created_by: actor,
          created_at_ms: NOW_MS,
        },
      ),
    approve: async (action) => {
      if (action.id === 'dec_closed') throw new LeewayError('LW-CONFLICT', 'the decision is closed');
      return note('approve', action, known(action.id, 'dec_1', DECISION));
    },
    reject: async (action) => note('reject', action, known(action.id, 'dec_1', DECISION)),
    cancel: async (action) => note('cancel', action, known(action.id, 'dec_1', DECISION)),
    mute: async (action) => note('mute', action, known(action.id, RULE.id, { ...RULE, muted: true })),
    unmute: async (action) => note('unmute', action, known(action.id, RULE.id, RULE)),
    testSink: async (action) => note('testSink', action, known(action.id, 'ops', { outcome: 'blocked' })),
    replay: async (action) => note('replay', action, known(action.id, 'ntf_1', NOTIFICATION)),
    runStatus: async (id, status, actor) => note('runStatus', { id, status, actor }, known(id, 'run_1', RUN)),
    verifyRunSignature: async (id: string, { headers }: SignedBody) =>
      id === 'run_1' && headers['webhook-signature'] === GOOD_SIGNATURE,
    reload: async (actor) =>
      note('reload', actor, [{ path: 'log.level', from: 'info', to: 'debug', needs_restart: true }]),
  };
}
