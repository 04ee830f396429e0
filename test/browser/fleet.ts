import type { DecisionDetail, RetrainRunItem } from '../../src/server/shapes/decision.ts';
import type { IncidentDetail } from '../../src/server/shapes/incident.ts';
import type { AuditEntry, Overview, RuleItem, SinkItem } from '../../src/server/shapes/operation.ts';
import type {
  DeliveryItem,
  JobDetail,
  ModelDetail,
  ModelDrift,
  ModelQuality,
  SourceItem,
  StepItem,
} from '../../src/server/shapes/telemetry.ts';

/** A name as an attacker would send it in telemetry: it must be shown as text. */
export const HOSTILE = '<img src=x onerror="document.title=\'pwned\'">';

export const HOUR_MS = 3_600_000;
const RANKS = 16;
const STEPS = 240;
const SLOW_RANK = 5;
const SLOW_FROM = 150;

/** A small fleet: one training job with a slow rank, a finished one, a drifting model, a bill. */
export type Fleet = {
  readonly overview: Overview;
  readonly jobs: readonly JobDetail[];
  readonly steps: readonly StepItem[];
  readonly incidents: readonly IncidentDetail[];
  readonly models: readonly ModelDetail[];
  readonly drift: ModelDrift;
  readonly quality: ModelQuality;
  readonly decisions: readonly DecisionDetail[];
  readonly delivery: readonly DeliveryItem[];
  readonly sources: readonly SourceItem[];
  readonly rules: readonly RuleItem[];
  readonly sinks: readonly SinkItem[];
  readonly audit: readonly AuditEntry[];
};

/** Noise without a generator: the fractional part of a multiple of the golden ratio, -0.5..0.5. */
function wobble(index: number): number {
  return ((index * 0.618_033_988_75) % 1) - 0.5;
}

/** The fleet as it is at `now_ms`. The same time gives the same fleet. */
export function createFleet(now_ms: number): Fleet {
  const steps = stepsOf(now_ms);
  const decisions = decisionsOf(now_ms);
  const incidents = incidentsOf(now_ms, decisions);
  return {
    steps,
    decisions,
    incidents,
    overview: overviewOf(now_ms, incidents),
    jobs: jobsOf(now_ms, steps),
    models: modelsOf(now_ms),
    drift: driftOf(now_ms),
    quality: qualityOf(now_ms),
    ...operationsOf(now_ms),
  };
}

function stepsOf(now_ms: number): StepItem[] {
  return Array.from({ length: RANKS * STEPS }, (_, cell) => {
    const [step, rank] = [Math.floor(cell / RANKS), cell % RANKS];
    const slow = rank === SLOW_RANK && step >= SLOW_FROM ? 1.22 : 1;
    const compute_ms = 180 * slow * (1 + 0.03 * wobble(cell));
    const checkpoint = step % 80 === 79;
    return {
      type: 'step',
      rank,
      step,
      at_ms: now_ms - (STEPS - step) * 300,
      duration_ms: (step >= SLOW_FROM ? 245 : 205) + (checkpoint ? 180 : 0) + 4 * wobble(cell + 1),
      compute_ms,
      data_ms: 6,
      phase: checkpoint ? 'checkpoint' : 'train',
    };
  });
}

function jobsOf(now_ms: number, steps: readonly StepItem[]): JobDetail[] {
  const ranks = Array.from({ length: RANKS }, (_, rank) => ({
    rank,
    node: `n0${Math.floor(rank / 8) + 1}`,
    gpu: rank % 8,
    compute_ms_median: steps.find((record) => record.rank === rank && record.step === STEPS - 2)?.compute_ms ?? null,
    cohort_ratio: rank === SLOW_RANK ? 1.22 : 1 + 0.01 * wobble(rank),
    last_step: STEPS - 1,
  }));
  const llama: JobDetail = {
    job: 'llama-3.1-pretrain',
    attempt: 2,
    team: 'research',
    model: 'llama-3.1',
    world_size: RANKS,
    state: 'slowed',
    last_step: STEPS - 1,
    last_at_ms: now_ms - 400,
    median_step_ms: 243,
    gpu_seconds: 81_240,
    gpu_seconds_lost: 1440,
    usd_lost: '42.1',
    coverage_ratio: 0.998,
    incidents_open: 1,
    ranks,
  };
  const digits = { job: 'digits', team: 'vision', model: 'digits', world_size: 4, state: 'ended' as const };
  const over = { last_at_ms: now_ms - 5 * HOUR_MS, gpu_seconds_lost: 0, usd_lost: '0', incidents_open: 0, ranks: [] };
  const hostile = { ...llama, job: HOSTILE, team: null, model: null, state: 'running' as const, ...over, ranks: [] };
  return [llama, { ...llama, ...digits, ...over, coverage_ratio: null }, hostile];
}

function incidentsOf(now_ms: number, decisions: readonly DecisionDetail[]): IncidentDetail[] {
  const started_at_ms = now_ms - 27 * 60_000;
  const slow: IncidentDetail = {
    id: 'inc_01JDAQ7K9',
    kind: 'slow_rank',
    severity: 'page',
    status: 'open',
    state: 'firing',
    title: 'Rank 5 is 22 % slower than usual (thermal)',
    subjects: [
      { type: 'rank', id: '5' },
      { type: 'node', id: 'n01' },
    ],
    cause: 'thermal',
    job: 'llama-3.1-pretrain',
    started_at_ms,
    opened_at_ms: started_at_ms + 5000,
    resolved_at_ms: null,
    updated_at_ms: now_ms - 3200,
    coverage_ratio: 0.9993,
    gpu_seconds_lost: 1440,
    usd_lost: '42.1',
    usd_per_hour: '93.55',
    rule: 'straggler.slow_rank',
    runbook_url: 'docs/runbooks/straggler.slow_rank.md',
    events: [
      { at_ms: started_at_ms + 5000, kind: 'opened', note: 'Rank 5 is 22 % slower than usual', actor: null },
      { at_ms: started_at_ms + 9000, kind: 'escalated', note: 'from warn to page', actor: null },
    ],
    findings: [
      {
        name: 'straggler.slow_rank',
        value: 0.182,
        threshold: { above: 0.03 },
        window: { from_ms: started_at_ms, to_ms: now_ms },
        evidence: { ranks: [5], slowdown_ratio: 1.22, cost_ratio: 0.182, peers_count: 15, temperature_celsius: 91 },
      },
    ],
    notifications: [
      {
        id: 'ntf_1',
        sink: 'ops-slack',
        type: 'leeway.incident.opened',
        state: 'delivered',
        created_at_ms: started_at_ms + 5000,
        next_attempt_at_ms: null,
        attempts: [{ at_ms: started_at_ms + 5100, outcome: 'ok', http_status: 200, reason: null, duration_ms: 84 }],
      },
      {
        id: 'ntf_2',
        sink: 'pager',
        type: 'leeway.incident.escalated',
        state: 'retrying',
        created_at_ms: started_at_ms + 9000,
        next_attempt_at_ms: now_ms + 20_000,
        attempts: [
          { at_ms: started_at_ms + 9100, outcome: 'retry', http_status: 503, reason: 'HTTP 503', duration_ms: 120 },
        ],
      },
    ],
    decisions: [],
  };
  const { job: _job, ...bare } = slow;
  const drift: IncidentDetail = {
    ...bare,
    id: 'inc_01JDAR2M4',
    kind: 'drift',
    severity: 'warn',
    status: 'acknowledged',
    title: 'digits v3: 3 of 8 features drift',
    subjects: [{ type: 'model', id: 'digits' }],
    cause: 'drift',
    model: 'digits',
    version: 'v3',
    gpu_seconds_lost: null,
    usd_lost: null,
    usd_per_hour: null,
    rule: 'drift.features',
    findings: [
      {
        name: 'drift.features',
        value: 3,
        threshold: { above: 0 },
        window: { from_ms: now_ms - 2 * HOUR_MS, to_ms: now_ms },
        evidence: {
          e_value: 4210,
          windows_drifted: 4,
          features: [
            { name: 'brightness', statistic: 'ks', value: 0.31, p_value: 1e-9, contribution: 0.6 },
            { name: 'contrast', statistic: 'ks', value: 0.12, p_value: 0.0004, contribution: 0.3 },
          ],
        },
      },
    ],
    notifications: [],
    decisions: [...decisions],
  };
  const hostile = {
    ...slow,
    id: 'inc_hostile',
    title: HOSTILE,
    job: HOSTILE,
    subjects: [{ type: 'rank', id: HOSTILE }],
  };
  const done = { resolved_at_ms: now_ms - 7 * HOUR_MS, status: 'resolved' as const, state: 'resolved' as const };
  return [slow, drift, { ...hostile, ...done, started_at_ms: now_ms - 8 * HOUR_MS, findings: [], cause: HOSTILE }];
}

function overviewOf(now_ms: number, incidents: readonly IncidentDetail[]): Overview {
  const hour_ms = Math.floor(now_ms / HOUR_MS) * HOUR_MS;
  return {
    at_ms: now_ms,
    incidents: { open: 2, page: 1, warn: 1 },
    jobs: { running: 2, slowed: 1 },
    models: { serving: 2, drifting: 1 },
    cost: { today_nano_usd: '742103500000', idle_nano_usd: '61200000000', budget_nano_usd: '900000000000' },
    delivery: { emitted: 1_204_210, stored: 1_204_190, in_flight: 20, declared_loss: 0, lag_ms: 840 },
    retraining: { running: 1, awaiting_approval: 1 },
    timeline: [
      { at_ms: now_ms - 20 * HOUR_MS, kind: 'deploy', title: 'digits v3: deploy', href: '/models/digits' },
      ...incidents.map(({ started_at_ms, title, id, severity }) => ({
        at_ms: started_at_ms ?? now_ms,
        kind: 'incident' as const,
        title,
        href: `/incidents/${id}`,
        severity,
      })),
      {
        at_ms: now_ms - HOUR_MS,
        kind: 'retrain',
        title: 'Retraining of digits: dispatched',
        href: '/retraining/dec_2',
      },
    ],
    cost_series: Array.from({ length: 24 }, (_, index) => ({
      at_ms: hour_ms - (23 - index) * HOUR_MS,
      nano_usd: String(31_000_000_000 + Math.round(8e9 * wobble(index))),
    })),
  };
}

function modelsOf(now_ms: number): ModelDetail[] {
  const window = { from_ms: now_ms - HOUR_MS, to_ms: now_ms };
  const accuracy = { value: 0.912, low: 0.897, high: 0.925, completeness_ratio: 0.43 };
  const digits: ModelDetail = {
    model: 'digits',
    version: 'v3',
    status: 'drifting',
    accuracy,
    reference_accuracy: 0.971,
    predictions: 184_220,
    last_at_ms: now_ms - 900,
    features_drifted: 3,
    window,
    versions: [
      {
        version: 'v2',
        deployed_at_ms: now_ms - 30 * HOUR_MS,
        action: 'promote',
        accuracy: { ...accuracy, value: 0.96 },
      },
      { version: 'v3', deployed_at_ms: now_ms - 20 * HOUR_MS, action: 'deploy', accuracy },
    ],
    inference: {
      requests_per_s: 212.4,
      errors: 0,
      queue_ms_p50: 0.42,
      compute_ms_p50: 1.31,
      total_ms_p50: 1.9,
      total_ms_p99: 7.4,
      batch_mean: 3.2,
      provider: 'CPUExecutionProvider',
    },
  };
  const bare = { accuracy: null, reference_accuracy: null, features_drifted: null, window: null, inference: null };
  return [digits, { ...digits, ...bare, model: HOSTILE, version: null, status: 'no_reference', versions: [] }];
}

function driftOf(now_ms: number): ModelDrift {
  const names = ['brightness', 'contrast', HOSTILE, 'stroke', 'slant', 'aspect', 'mass', 'symmetry'];
  const edges = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8];
  const normal = (middle: number): number[] => {
    const weights = Array.from({ length: 10 }, (_, bin) => Math.exp(-((bin - middle) ** 2) / 4));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return weights.map((weight) => weight / total);
  };
  return {
    model: 'digits',
    version: 'v3',
    reference: { version: 'v3', edges_id: 'e_1', rows: 10_000, accuracy: 0.971 },
    alpha: 0.001,
    windows: Array.from({ length: 40 }, (_, index) => ({
      from_ms: now_ms - (40 - index) * 900_000,
      to_ms: now_ms - (39 - index) * 900_000,
      n: 4605,
      status: index > 29 ? 'drift' : 'stable',
      min_p: index > 29 ? 1e-6 : 0.4,
      e_value: index > 26 ? 2 ** (index - 26) : Math.exp(wobble(index)),
      features_drifted: index > 29 ? 3 : 0,
    })),
    features: names.map((name, index) => ({
      name,
      statistic: 'ks',
      value: index < 3 ? 0.31 - 0.08 * index : 0.01,
      p_value: index < 3 ? 1e-9 : 0.6,
      drifted: index < 3,
      contribution: index < 3 ? 0.5 - 0.15 * index : 0.01,
      edges,
      reference_ratios: normal(4.5),
      current_ratios: normal(index < 3 ? 6.5 - 0.5 * index : 4.6),
    })),
  };
}

function qualityOf(now_ms: number): ModelQuality {
  return {
    model: 'digits',
    version: 'v3',
    reference: { accuracy: 0.971, labelled: 10_000 },
    items: Array.from({ length: 40 }, (_, index) => {
      const accuracy = (index > 29 ? 0.91 : 0.968) + 0.01 * wobble(index);
      return {
        from_ms: now_ms - (40 - index) * 900_000,
        to_ms: now_ms - (39 - index) * 900_000,
        version: 'v3',
        predicted: 4605,
        labelled: 1980,
        accuracy,
        low: accuracy - 0.012,
        high: accuracy + 0.011,
        completeness_ratio: 0.43,
      };
    }),
  };
}

function decisionsOf(now_ms: number): DecisionDetail[] {
  const run: RetrainRunItem = {
    id: 'run_1',
    decision_id: 'dec_2',
    model: 'digits',
    state: 'succeeded',
    dispatched_at_ms: now_ms - 26 * HOUR_MS,
    updated_at_ms: now_ms - 25 * HOUR_MS,
    version: 'v3',
    metrics: { accuracy: 0.971 },
    url: null,
    reason: null,
  };
  const waiting: DecisionDetail = {
    id: 'dec_1',
    model: 'digits',
    version: 'v3',
    policy: 'default',
    state: 'awaiting_approval',
    reason: 'accuracy fell and the features moved with it',
    created_at_ms: now_ms - 20 * 60_000,
    updated_at_ms: now_ms - 19 * 60_000,
    expires_at_ms: now_ms + 23 * HOUR_MS,
    incident_id: 'inc_01JDAR2M4',
    episode_id: 'ep_1',
    dispatch_key: null,
    run_id: null,
    gates: [
      { gate: 'hysteresis', result: 'pass', observed: '4 of 4 windows', threshold: '3 of 4 windows', note: null },
      { gate: 'labelled_rows', result: 'pass', observed: 1980, threshold: 500, note: null },
      { gate: 'budget_usd', result: 'override', observed: '12.4', threshold: '10', note: 'raised for this week' },
      { gate: 'cooldown_ms', result: 'pass', observed: 93_600_000, threshold: 86_400_000, note: null },
    ],
    can_approve: true,
    events: [{ at_ms: now_ms - 20 * 60_000, kind: 'created', note: null, actor: null }],
    run: null,
    confirmation: null,
  };
  const confirmation = { accuracy_before: 0.968, accuracy_drifted: 0.902, accuracy_after: 0.965, windows: [] };
  const done = { state: 'confirmed' as const, can_approve: false, run, run_id: 'run_1' };
  return [waiting, { ...waiting, id: 'dec_2', ...done, confirmation: { ...confirmation, result: 'confirmed' } }];
}

function operationsOf(now_ms: number): Pick<Fleet, 'delivery' | 'sources' | 'rules' | 'sinks' | 'audit'> {
  const whole = { gaps: [], gaps_omitted: 0, sequences_missing: 0, sequences_lost: 0, late: 0, in_flight_known: true };
  const none = { in_flight: 0, declared_loss: {}, duplicates_absorbed: 0, oldest_in_flight_ms: null };
  const account = { emitted: 602_105, ...none, ...whole };
  const sequences = { sequence_min: 1, sequence_max: 4210 };
  const silent = { last_seen_ms: now_ms - 92_000, accepted: 4210, rejected: { 'LW-RECORD-SCHEMA': 3 }, quality: {} };
  const rule = { fire: { above: 0.03 }, clear: { below: 0.01 }, for_ms: 5000, keep_firing_ms: 30_000, data_min: 20 };
  const sha = 'a'.repeat(64);
  return {
    delivery: [
      { ...account, ...sequences, source: 'n01', epoch: '1', stored: 602_105, duplicates_absorbed: 42, late: 310 },
      { ...account, ...sequences, source: 'n02', epoch: '1', emitted: 8_420, stored: 8_420 },
      {
        ...account,
        ...sequences,
        source: 'n02',
        epoch: '7205759403792793',
        stored: 601_985,
        in_flight: 20,
        oldest_in_flight_ms: 1_840,
        declared_loss: { spool_full_oldest: 100 },
        sequences_missing: 4,
        sequences_lost: 3,
        gaps: [
          { from_sequence: 17, to_sequence: 19, state: 'missing' },
          { from_sequence: 812, to_sequence: 812, state: 'declared' },
          { from_sequence: 4_208, to_sequence: 4_208, state: 'in_flight' },
        ],
      },
      { ...account, ...sequences, source: HOSTILE, epoch: '3', stored: 602_005, declared_loss: { spool_full: 100 } },
    ],
    sources: [
      {
        ...silent,
        source: 'n01',
        kind: 'sender',
        state: 'live',
        detail: null,
        last_seen_ms: now_ms - 400,
        rejected: {},
      },
      { ...silent, source: HOSTILE, kind: 'sender', state: 'silent', detail: null },
      {
        ...silent,
        source: 'dcgm',
        kind: 'collector',
        state: 'absent',
        detail: 'no dcgm-exporter at :9400',
        accepted: 0,
      },
    ],
    rules: [
      {
        ...rule,
        id: 'straggler.slow_rank',
        finding: 'straggler.slow_rank',
        severity: 'warn',
        runbook: null,
        muted: false,
      },
      { ...rule, id: 'drift.features', finding: 'drift.features', severity: 'warn', runbook: null, muted: true },
    ],
    sinks: [
      {
        id: 'ops-slack',
        kind: 'slack',
        state: 'ok',
        reason: null,
        pending: 0,
        last_attempts: [{ at_ms: now_ms - 60_000, outcome: 'ok', http_status: 200, reason: null }],
      },
      { id: 'pager', kind: 'pagerduty', state: 'retrying', reason: 'HTTP 503', pending: 1, last_attempts: [] },
    ],
    audit: [
      {
        sequence: 1,
        at_ms: now_ms - HOUR_MS,
        actor: 'local',
        action: 'incident.acknowledge',
        subject: 'inc_01JDAR2M4',
        detail: { note: 'looking' },
        previous_sha256: '0'.repeat(64),
        sha256: sha,
      },
    ],
  };
}
