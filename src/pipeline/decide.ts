import type { Clock } from '../core/clock.ts';
import { INCIDENT_EVENTS, INCIDENTS, RULE_MUTES, SILENCES } from '../control/collections.ts';
import type { Finding } from '../core/finding.ts';
import type { Incident } from '../core/incident.ts';
import type { Control, ControlTransaction, Document } from '../core/ports.ts';
import { type IncidentChange, type Observation, resolved, step } from '../incident/machine.ts';
import { driftData, incidentData } from '../incident/payload.ts';
import type { Rule } from '../incident/rules.ts';
import {
  type Entry,
  heldBecause,
  type Holds,
  settleChanges,
  type Settled,
  settleOwed,
  type Telling,
} from '../incident/suppression.ts';
import { createOperations, type Operations } from './operate.ts';
import { type Announcement, enqueue, type Recipient, recipientsOf } from './outbox.ts';

/** Incidents under watch at once: 10,000 of 4 KB are 40 MB, far beyond what people can act on. */
const WATCHED_MAX = 10_000;

/** What the rules and the configuration say at present; replaced as a whole by `reload`. */
export type DeskSettings = { readonly rules: readonly Rule[]; readonly recipients: readonly Recipient[] };

export type DeskOptions = DeskSettings & {
  readonly control: Control;
  readonly clock: Clock;
  /** Base of every address that is sent (contract: config.md `public_url`), without a slash at its end. */
  readonly public_url: () => string;
  /** Called after the commit, for the event stream and the courier. */
  readonly onEvent: (event: DeskEvent) => void;
};

/** `incident`: it changed; `change` is the kind of its last history entry. `outbox`: there is something to deliver. */
export type DeskEvent =
  | { readonly kind: 'incident'; readonly id: string; readonly change: string }
  | { readonly kind: 'outbox'; readonly id: string };

/** An engine that ran: for its finding name and scope, keys that it does not list are clear (`data`) or unknown. */
export type Evaluated = { readonly finding: string; readonly scope: Finding['scope']; readonly data: boolean };

/** What judging did to one incident; `changes` is empty when it only stayed what it was. */
export type Judgement = {
  readonly incident: Incident;
  readonly changes: readonly IncidentChange[];
  readonly finding: Finding | null;
};

export type JudgeOptions = {
  readonly evaluated?: readonly Evaluated[];
  /** Runs in the same transaction after the incidents are written: retraining decides and enqueues here. */
  readonly also?: (tx: ControlTransaction, judgements: readonly Judgement[]) => Promise<void>;
};

/** What is announced through the desk. To every sink that asks for the type, to `target` alone, or both (`sinks: true`). */
export type DeskAnnouncement = Omit<
  Announcement,
  'event' | 'incident_id' | 'decision_id' | 'expires_at_ms' | 'severity'
> &
  Partial<Announcement> & { readonly target?: string; readonly sinks?: boolean };

/** Turns findings into incidents, history and outbox rows; each call is one transaction. */
export type Desk = Operations & {
  readonly judge: (
    findings: readonly Finding[],
    now_ms: number,
    options?: JudgeOptions,
  ) => Promise<readonly Judgement[]>;
  /** Queues an announcement in the caller's own transaction; returns the notification ids. */
  readonly enqueue: (tx: ControlTransaction, announcement: DeskAnnouncement) => Promise<string[]>;
  readonly reload: (settings: DeskSettings) => void;
};

/** The desk's inner tools, shared with the operations of people. */
export type DeskCore = {
  readonly options: Omit<DeskOptions, keyof DeskSettings>;
  readonly settings: () => DeskSettings;
  /** Writes the incident, its history and its outbox rows. */
  readonly record: (
    tx: ControlTransaction,
    stored: Document<Incident> | null,
    settled: Settled,
    at: At,
  ) => Promise<Incident>;
  readonly holds: (tx: ControlTransaction, now_ms: number) => Promise<Holds>;
  readonly enqueue: Desk['enqueue'];
};
export type At = { readonly now_ms: number; readonly actor: string | null };

/** Makes the desk. Nothing runs until it is called; sinks are told by the courier (pipeline/deliver.ts). */
export function createDesk(options: DeskOptions): Desk {
  let settings: DeskSettings = { rules: options.rules, recipients: options.recipients };
  const core: DeskCore = {
    options,
    settings: () => settings,
    record: (tx, stored, settled, at) => record(core, tx, stored, settled, at),
    holds: readHolds,
    enqueue: (tx, announcement) => announce(core, tx, announcement),
  };
  return {
    ...createOperations(core),
    judge: (findings, now_ms, choice = {}) => judge(core, findings, now_ms, choice),
    enqueue: core.enqueue,
    reload: (next) => {
      settings = next;
    },
  };
}

async function judge(
  core: DeskCore,
  findings: readonly Finding[],
  now_ms: number,
  choice: JudgeOptions,
): Promise<readonly Judgement[]> {
  const judgements = await core.options.control.transaction(async (tx) => {
    const holds = await core.holds(tx, now_ms);
    const watched = await tx.list(INCIDENTS, {
      where: [{ field: 'watched', is: '=', value: 1 }],
      order: { field: 'updated_at_ms', descending: false },
      limit: WATCHED_MAX,
    });
    const { open, succeeded } = placesOf(watched);
    const done: Judgement[] = [];
    for (const stored of succeeded) await settleSucceeded(core, tx, stored, { holds, now_ms });
    for (const item of workOf(core.settings().rules, findings, choice.evaluated ?? [], { open, now_ms })) {
      const judgement = await judgeOne(core, tx, item, { holds, now_ms });
      if (judgement !== null) done.push(judgement);
    }
    await choice.also?.(tx, done);
    return done;
  });
  for (const { incident, changes } of judgements)
    for (const { kind } of changes) core.options.onEvent({ kind: 'incident', id: incident.id, change: kind });
  if (judgements.some(({ changes }) => changes.length > 0)) core.options.onEvent({ kind: 'outbox', id: '' });
  return judgements;
}

type Work = {
  readonly rule: Rule | null;
  readonly stored: Document<Incident> | null;
  /** undefined = nothing new is known of it; only time passes. */
  readonly observation: Observation | undefined;
};

function place(rule: string, key: string): string {
  return `${rule}\n${key}`;
}

/** The incident that each place has now, and resolved ones that still owe a word while the next one of their place is open. */
function placesOf(watched: readonly Document<Incident>[]) {
  const open = new Map<string, Document<Incident>>();
  const succeeded: Document<Incident>[] = [];
  for (const document of watched) {
    const name = place(document.body.rule, document.body.key);
    const other = open.get(name);
    if (other === undefined) open.set(name, document);
    else if (document.body.state === 'resolved' && other.body.state !== 'resolved') succeeded.push(document);
    else {
      succeeded.push(other);
      open.set(name, document);
    }
  }
  return { open, succeeded };
}

/** What it owes is told when nothing holds it back any more; then nobody looks at it again. */
async function settleSucceeded(
  core: DeskCore,
  tx: ControlTransaction,
  stored: Document<Incident>,
  moment: Moment,
): Promise<void> {
  const passed = retire(passTime(stored.body, moment));
  if (passed.incident.owed === stored.body.owed && passed.incident.watched === stored.body.watched) return;
  await core.record(tx, stored, passed, { now_ms: moment.now_ms, actor: null });
}

/** Every (rule, finding) first, then the watched incidents that no finding speaks of. */
function workOf(
  rules: readonly Rule[],
  findings: readonly Finding[],
  evaluated: readonly Evaluated[],
  known: { readonly open: ReadonlyMap<string, Document<Incident>>; readonly now_ms: number },
): Work[] {
  const work = new Map<string, Work>();
  for (const rule of rules)
    for (const finding of findings)
      if (finding.name === rule.finding) {
        const name = place(rule.id, finding.key);
        work.set(name, { rule, stored: known.open.get(name) ?? null, observation: finding });
      }
  for (const [name, stored] of known.open) {
    if (work.has(name)) continue;
    const rule = rules.find(({ id }) => id === stored.body.rule) ?? null;
    const ran = evaluated.find((item) => item.finding === stored.body.finding && sameScope(item.scope, stored.body));
    const ends_ms = numberIn(stored.body.findings[0]?.evidence ?? {}, 'ends_at_ms');
    if (ends_ms !== null && ends_ms <= known.now_ms) {
      work.set(name, { rule, stored, observation: 'clear' });
      continue;
    }
    const stale = rule !== null && known.now_ms - stored.body.judged_at_ms >= rule.no_data_ms;
    const observation = ran === undefined ? (stale ? null : undefined) : ran.data ? 'clear' : null;
    work.set(name, { rule, stored, observation });
  }
  return [...work.values()];
}

function sameScope(scope: Finding['scope'], incident: Incident): boolean {
  if ('job' in scope) return incident.job === scope.job;
  if ('model' in scope) return incident.model === scope.model;
  return incident.source === scope.source;
}

type Moment = { readonly holds: Holds; readonly now_ms: number };

async function judgeOne(core: DeskCore, tx: ControlTransaction, work: Work, moment: Moment): Promise<Judgement | null> {
  const { rule, stored, observation } = work;
  const at = { now_ms: moment.now_ms, actor: null };
  const before = stored === null ? null : passTime(stored.body, moment);
  const finding = observation === undefined || observation === null || observation === 'clear' ? null : observation;
  if (rule === null && before !== null && before.incident.state !== 'resolved')
    return endWithoutRule(core, tx, { stored, before, moment });
  if (rule === null || observation === undefined) {
    if (stored === null || before === null || before.incident === stored.body) return null;
    return { incident: await core.record(tx, stored, before, at), changes: [], finding: null };
  }
  const stepped = step(before?.incident ?? null, rule, observation, moment.now_ms);
  if (stepped.incident === null) {
    if (stored !== null) await tx.remove(INCIDENTS, stored.id);
    return null;
  }
  const incident = withRunbook(stepped.incident, baseOf(core));
  const settled = settleChanges(incident, stepped.events, heldBecause(incident, moment.holds, moment.now_ms));
  const another = stored !== null && incident.id !== stored.id;
  if (another && before !== null) await core.record(tx, stored, retire(before), at);
  const written = await core.record(tx, another ? null : stored, another ? settled : together(before, settled), at);
  return { incident: written, changes: stepped.events, finding };
}

/** Its rule file is gone: nobody will ever judge it again, so it ends and says why. */
async function endWithoutRule(
  core: DeskCore,
  tx: ControlTransaction,
  of: { readonly stored: Document<Incident> | null; readonly before: Settled; readonly moment: Moment },
): Promise<Judgement> {
  const { now_ms, holds } = of.moment;
  const ended = resolved(of.before.incident, now_ms, 'its rule was removed');
  const settled = settleChanges(ended.incident, ended.events, heldBecause(ended.incident, holds, now_ms));
  const incident = await core.record(tx, of.stored, retire(together(of.before, settled)), { now_ms, actor: null });
  return { incident, changes: ended.events, finding: null };
}

/** What passing time alone does: snoozes end, and what was held back is told when nothing holds it any more. */
function passTime(incident: Incident, { holds, now_ms }: Moment): Settled {
  const entries: Entry[] = [];
  let next = incident;
  if (next.status === 'snoozed' && (next.snoozed_until_ms ?? 0) <= now_ms) {
    next = { ...next, status: 'open', snoozed_until_ms: null, updated_at_ms: now_ms };
    entries.push({ kind: 'snooze_ended', note: 'the snooze is over' });
  }
  if (next.owed === null || heldBecause(next, holds, now_ms) !== null) return { incident: next, entries, tell: [] };
  const owed = settleOwed(next);
  return { ...owed, entries: [...entries, ...owed.entries] };
}

function together(before: Settled | null, after: Settled): Settled {
  if (before === null) return after;
  return {
    incident: after.incident,
    entries: [...before.entries, ...after.entries],
    tell: [...before.tell, ...after.tell],
  };
}

function retire(settled: Settled): Settled {
  return { ...settled, incident: { ...settled.incident, watched: settled.incident.owed === null ? 0 : 1 } };
}

function withRunbook(incident: Incident, public_url: string): Incident {
  if (/^https?:/.test(incident.runbook_url)) return incident;
  return { ...incident, runbook_url: `${public_url}/${incident.runbook_url}` };
}

async function record(
  core: DeskCore,
  tx: ControlTransaction,
  stored: Document<Incident> | null,
  settled: Settled,
  at: At,
): Promise<Incident> {
  const incident = { ...settled.incident, events: settled.incident.events + settled.entries.length };
  if (stored === null) await tx.insert(INCIDENTS, incident.id, incident);
  else await tx.update(INCIDENTS, incident.id, stored.revision, incident);
  let sequence = settled.incident.events;
  for (const { kind, note } of settled.entries) {
    const id = `${incident.id}/${String(++sequence).padStart(6, '0')}`;
    const body = { incident_id: incident.id, sequence, at_ms: at.now_ms, kind, note, actor: at.actor };
    await tx.insert(INCIDENT_EVENTS, id, body);
  }
  for (const [index, telling] of settled.tell.entries())
    await tell(core, tx, incident, { telling, event: `${incident.events}.${index}`, now_ms: at.now_ms });
  return incident;
}

async function tell(
  core: DeskCore,
  tx: ControlTransaction,
  incident: Incident,
  what: { readonly telling: Telling; readonly event: string; readonly now_ms: number },
): Promise<void> {
  const base = baseOf(core);
  const shared = { severity: incident.severity, at_ms: what.now_ms, incident_id: incident.id, event: what.event };
  const subject = `incident/${incident.id}`;
  await announce(core, tx, {
    ...shared,
    subject,
    type: `leeway.incident.${what.telling}`,
    data: incidentData(incident, base),
  });
  if (what.telling === 'opened' && incident.kind === 'drift')
    await announce(core, tx, {
      ...shared,
      subject,
      event: `${what.event}.drift`,
      type: 'leeway.drift.detected',
      data: driftData(incident, base),
    });
}

function baseOf(core: DeskCore): string {
  return core.options.public_url().replace(/\/+$/, '');
}

async function announce(core: DeskCore, tx: ControlTransaction, what: DeskAnnouncement): Promise<string[]> {
  const { target, sinks, ...given } = what;
  const severity = given.severity ?? null;
  const wide = sinks ?? target === undefined;
  const chosen = wide ? recipientsOf(core.settings().recipients, given.type, severity) : [];
  const destinations = target === undefined ? chosen : [...chosen, target];
  const announcement: Announcement = {
    ...given,
    severity,
    event: given.event ?? `${given.type}@${given.at_ms}`,
    incident_id: given.incident_id ?? null,
    decision_id: given.decision_id ?? null,
    expires_at_ms: given.expires_at_ms ?? numberIn(given.data, 'expires_at_ms'),
  };
  return enqueue(tx, announcement, destinations);
}

function numberIn(data: Readonly<Record<string, unknown>>, field: string): number | null {
  const value = data[field];
  return typeof value === 'number' ? value : null;
}

async function readHolds(tx: ControlTransaction, now_ms: number): Promise<Holds> {
  const silences = await tx.list(SILENCES, { where: [{ field: 'ends_at_ms', is: '>', value: now_ms }], limit: 10_000 });
  const mutes = await tx.list(RULE_MUTES, { limit: 10_000 });
  return {
    silences: silences.map(({ id, body }) => ({ id, ...body })),
    muted_rules: new Set(mutes.map(({ id }) => id)),
  };
}
