import type { Finding } from '../core/finding.ts';
import type { Incident, JudgedFinding, Severity } from '../core/incident.ts';
import { incidentId } from './identity.ts';
import { beyond, boundOf, type Rule } from './rules.ts';

/**
 * What an analysis says of one key: a finding; `clear` = looked with enough data and saw nothing; null = no data.
 */
export type Observation = Finding | 'clear' | null;

/** What happened to the incident. `tells` is what notifications are made of; the rest is history only. */
export type IncidentChange = {
  readonly kind: 'opened' | 'reopened' | 'escalated' | 'recovering' | 'firing' | 'no_data' | 'error' | 'resolved';
  readonly note: string;
  readonly tells: 'opened' | 'escalated' | 'resolved' | null;
};

/** The incident afterwards (null: there is none, or a pending one ended unseen) and what happened on the way. */
export type Step = { readonly incident: Incident | null; readonly events: readonly IncidentChange[] };

/** Returns from recovering to firing that are written into the history; further ones are only counted. */
const FLAPS_RECORDED_MAX = 5;
/** Each relapse doubles how long a recovery must hold, at most 2^5 = 32-fold. */
const RELAPSE_DOUBLINGS_MAX = 5;
/** What is doubled where a rule asks for no hold at all: after a relapse even that must hold for a minute. */
const RELAPSE_HOLD_MS = 60_000;

type Verdict = 'breach' | 'hold' | 'clear' | 'no_data' | 'error';

/**
 * One judgement of one rule on one key: pure, deterministic, no clock. States: pending → firing → recovering →
 * resolved; no_data and error keep an open incident open until `no_data_resolve_ms`. Opening needs a breach that is `for_ms` old (by the finding's own start),
 * resolving `keep_firing_ms` of clear values; a relapse within `reopen_ms` reopens the same incident.
 */
export function step(incident: Incident | null, rule: Rule, observation: Observation, now_ms: number): Step {
  const verdict = verdictOf(rule, observation);
  const finding = observation === null || observation === 'clear' ? null : observation;
  if (incident === null) return begin(rule, verdict, finding, now_ms);
  const judged: Incident = { ...incident, judged_at_ms: now_ms };
  if (judged.state === 'pending') return stepPending(judged, rule, verdict, finding, now_ms);
  if (judged.state === 'resolved') return stepResolved(judged, rule, verdict, finding, now_ms);
  return stepActive(judged, rule, verdict, finding, now_ms);
}

function verdictOf(rule: Rule, observation: Observation): Verdict {
  if (observation === null) return 'no_data';
  if (observation === 'clear') return 'clear';
  const { value, data_count, coverage_ratio } = observation;
  if (data_count < rule.data_min || coverage_ratio < rule.coverage_min_ratio) return 'no_data';
  if (value === null || !Number.isFinite(value)) return 'error';
  if (beyond(value, rule.fire)) return 'breach';
  return beyond(value, rule.clear) ? 'clear' : 'hold';
}

function begin(rule: Rule, verdict: Verdict, finding: Finding | null, now_ms: number): Step {
  if (verdict !== 'breach' || finding === null) return { incident: null, events: [] };
  const pending = fresh(rule, finding, now_ms);
  return lasts(pending, rule, now_ms) ? opened(pending, finding, now_ms) : { incident: pending, events: [] };
}

function stepPending(incident: Incident, rule: Rule, verdict: Verdict, finding: Finding | null, now_ms: number): Step {
  if (verdict === 'breach' && finding !== null) {
    const seen = { ...shows(incident, rule, finding, now_ms), breach_last_ms: now_ms };
    return lasts(incident, rule, now_ms)
      ? opened({ ...seen, severity: severityOf(rule, finding) }, finding, now_ms)
      : { incident: seen, events: [] };
  }
  const unknown = verdict === 'no_data' || verdict === 'error';
  const patient = now_ms - (incident.breach_last_ms ?? now_ms) <= rule.for_ms;
  return { incident: unknown && patient ? incident : null, events: [] };
}

function lasts({ breach_since_ms }: Incident, rule: Rule, now_ms: number): boolean {
  return now_ms - (breach_since_ms ?? now_ms) >= rule.for_ms;
}

/** When the condition began: as the finding says, which is earlier than when it could be told. */
function breachStart({ started_at_ms }: Finding, now_ms: number): number {
  return Math.min(started_at_ms ?? now_ms, now_ms);
}

function opened(incident: Incident, finding: Finding, now_ms: number): Step {
  const open: Incident = { ...incident, state: 'firing', opened_at_ms: now_ms, updated_at_ms: now_ms };
  return { incident: open, events: [{ kind: 'opened', note: finding.title, tells: 'opened' }] };
}

function stepResolved(incident: Incident, rule: Rule, verdict: Verdict, finding: Finding | null, now_ms: number): Step {
  const over = now_ms - (incident.resolved_at_ms ?? now_ms) > rule.reopen_ms;
  if (over && verdict === 'breach') return begin(rule, verdict, finding, now_ms);
  if (over) return { incident: { ...incident, watched: incident.owed === null ? 0 : 1 }, events: [] };
  if (verdict === 'clear') return { incident: { ...incident, latched: false, breach_since_ms: null }, events: [] };
  if (verdict !== 'breach' || finding === null || incident.latched) return { incident, events: [] };
  const since_ms = incident.breach_since_ms ?? now_ms;
  const held = { ...incident, breach_since_ms: since_ms, breach_last_ms: now_ms };
  if (now_ms - since_ms < rule.for_ms) return { incident: held, events: [] };
  const again: Incident = {
    ...shows(held, rule, finding, now_ms),
    state: 'firing',
    status: 'open',
    resolved_at_ms: null,
    recovering_since_ms: null,
    relapses: incident.relapses + 1,
    flaps: 0,
    severity: severityOf(rule, finding),
  };
  return { incident: again, events: [{ kind: 'reopened', note: finding.title, tells: 'opened' }] };
}

function stepActive(incident: Incident, rule: Rule, verdict: Verdict, finding: Finding | null, now_ms: number): Step {
  switch (verdict) {
    case 'breach':
    case 'hold':
      return finding === null ? { incident, events: [] } : firing(incident, rule, finding, { verdict, now_ms });
    case 'clear':
      return clearing(incident, rule, finding, now_ms);
    case 'no_data':
    case 'error':
      return unknown(incident, rule, { verdict, reason: finding?.reason ?? null, now_ms });
  }
}

function firing(
  incident: Incident,
  rule: Rule,
  finding: Finding,
  seen: { readonly verdict: 'breach' | 'hold'; readonly now_ms: number },
): Step {
  const recovering = incident.state === 'recovering';
  // between the thresholds a recovery does not end, it only has to start its hold again
  if (recovering && seen.verdict === 'hold')
    return { incident: { ...lasting(incident, finding, seen.now_ms), recovering_since_ms: seen.now_ms }, events: [] };
  const events: IncidentChange[] = [];
  const shown =
    seen.verdict === 'breach' ? shows(incident, rule, finding, seen.now_ms) : lasting(incident, finding, seen.now_ms);
  let next: Incident = { ...shown, state: 'firing', recovering_since_ms: null, unknown_since_ms: null };
  if (incident.state === 'no_data' || incident.state === 'error')
    events.push({ kind: 'firing', note: 'data is back and shows the fault', tells: null });
  if (recovering) {
    next = { ...next, flaps: incident.flaps + 1 };
    if (next.flaps <= FLAPS_RECORDED_MAX)
      events.push({ kind: 'firing', note: `the fault is back before it was resolved (${next.flaps})`, tells: null });
  }
  if (incident.severity === 'warn' && severityOf(rule, finding) === 'page') {
    next = { ...next, severity: 'page', status: 'open', snoozed_until_ms: null, acknowledged_by: null };
    events.push({ kind: 'escalated', note: `from warn to page: ${finding.title}`, tells: 'escalated' });
  }
  return { incident: next, events };
}

function clearing(incident: Incident, rule: Rule, finding: Finding | null, now_ms: number): Step {
  const since_ms = incident.state === 'recovering' ? (incident.recovering_since_ms ?? now_ms) : now_ms;
  const kept = finding === null ? incident : lasting(incident, finding, now_ms);
  const next: Incident = { ...kept, recovering_since_ms: since_ms, unknown_since_ms: null, breach_since_ms: null };
  if (now_ms - since_ms >= holdMs(rule, incident.relapses)) return resolved(next, now_ms, 'the fault is gone');
  const first = incident.state !== 'recovering' && incident.flaps < FLAPS_RECORDED_MAX;
  return {
    incident: { ...next, state: 'recovering' },
    events: first ? [{ kind: 'recovering', note: 'below the clear threshold', tells: null }] : [],
  };
}

function unknown(
  incident: Incident,
  rule: Rule,
  seen: { readonly verdict: 'no_data' | 'error'; readonly reason: string | null; readonly now_ms: number },
): Step {
  const since_ms = incident.unknown_since_ms ?? seen.now_ms;
  const next: Incident = { ...incident, state: seen.verdict, unknown_since_ms: since_ms, recovering_since_ms: null };
  if (seen.now_ms - since_ms >= rule.no_data_resolve_ms && since_ms !== seen.now_ms)
    return resolved(next, seen.now_ms, 'no data since it was last seen; not known to be fixed');
  if (incident.state === seen.verdict) return { incident: next, events: [] };
  const fallback = seen.verdict === 'no_data' ? 'no or too little data' : 'could not be computed';
  return { incident: next, events: [{ kind: seen.verdict, note: seen.reason ?? fallback, tells: null }] };
}

/** Ends an incident; `note` says why. Also what a person's resolve uses. */
export function resolved(
  incident: Incident,
  now_ms: number,
  note: string,
): { incident: Incident; events: IncidentChange[] } {
  return {
    incident: {
      ...incident,
      state: 'resolved',
      status: 'resolved',
      resolved_at_ms: now_ms,
      updated_at_ms: now_ms,
      breach_since_ms: null,
      recovering_since_ms: null,
      unknown_since_ms: null,
      snoozed_until_ms: null,
      acknowledged_by: null,
    },
    events: [{ kind: 'resolved', note, tells: 'resolved' }],
  };
}

function holdMs(rule: Rule, relapses: number): number {
  if (relapses === 0) return rule.keep_firing_ms;
  return Math.max(rule.keep_firing_ms, RELAPSE_HOLD_MS) * 2 ** Math.min(relapses, RELAPSE_DOUBLINGS_MAX);
}

function severityOf(rule: Rule, finding: Finding): Severity {
  const paged = rule.page !== undefined && finding.value !== null && beyond(finding.value, rule.page);
  return paged ? 'page' : rule.severity;
}

/** `straggler.slow_rank` is of kind `slow_rank`; of other areas the area is the kind: `drift`, `quality`, `external`. */
export function kindOf(finding_name: string): string {
  const [area = finding_name, leaf] = finding_name.split('.');
  return area === 'straggler' && leaf !== undefined ? leaf : area;
}

function fresh(rule: Rule, finding: Finding, now_ms: number): Incident {
  const { scope } = finding;
  return {
    id: incidentId(rule.id, finding.key, now_ms),
    rule: rule.id,
    key: finding.key,
    kind: kindOf(finding.name),
    severity: severityOf(rule, finding),
    status: 'open',
    state: 'pending',
    title: finding.title,
    subjects: [...finding.subjects],
    cause: finding.cause,
    job: 'job' in scope ? scope.job : null,
    model: 'model' in scope ? scope.model : null,
    version: 'version' in scope ? scope.version : null,
    source: 'source' in scope ? scope.source : null,
    started_at_ms: finding.started_at_ms,
    opened_at_ms: null,
    resolved_at_ms: null,
    updated_at_ms: now_ms,
    coverage_ratio: finding.coverage_ratio,
    gpu_seconds_lost: finding.gpu_seconds_lost,
    usd_lost: finding.usd_lost,
    usd_per_hour: finding.usd_per_hour,
    runbook_url: rule.runbook,
    finding: finding.name,
    findings: [judged(rule, finding)],
    watched: 1,
    breach_since_ms: breachStart(finding, now_ms),
    breach_last_ms: now_ms,
    recovering_since_ms: null,
    unknown_since_ms: null,
    judged_at_ms: now_ms,
    relapses: 0,
    flaps: 0,
    latched: false,
    acknowledged_by: null,
    snoozed_until_ms: null,
    announced: false,
    owed: null,
    events: 0,
  };
}

function judged(rule: Rule, finding: Finding): JudgedFinding {
  const { name, value, window, evidence } = finding;
  return { name, value, threshold: boundOf(rule.fire), window: { ...window }, evidence: { ...evidence } };
}

/** The finding shows the fault: the incident says what it says. The first known start stays. */
function shows(incident: Incident, rule: Rule, finding: Finding, now_ms: number): Incident {
  return {
    ...lasting(incident, finding, now_ms),
    title: finding.title,
    subjects: [...finding.subjects],
    cause: finding.cause,
    started_at_ms: incident.started_at_ms ?? finding.started_at_ms,
    coverage_ratio: finding.coverage_ratio,
    findings: [judged(rule, finding)],
    breach_last_ms: now_ms,
  };
}

/** What goes on being counted whether the fault shows or not: the loss so far. */
function lasting(incident: Incident, finding: Finding, now_ms: number): Incident {
  return {
    ...incident,
    updated_at_ms: now_ms,
    gpu_seconds_lost: finding.gpu_seconds_lost ?? incident.gpu_seconds_lost,
    usd_lost: finding.usd_lost ?? incident.usd_lost,
    usd_per_hour: finding.usd_per_hour ?? incident.usd_per_hour,
  };
}
