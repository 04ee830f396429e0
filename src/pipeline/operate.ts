import { INCIDENTS, RULE_MUTES, SILENCES, type Silence } from '../control/collections.ts';
import { LeewayError } from '../core/errors.ts';
import type { Incident } from '../core/incident.ts';
import type { ControlTransaction, Document } from '../core/ports.ts';
import { hash64 } from '../incident/identity.ts';
import { resolved } from '../incident/machine.ts';
import { incidentData } from '../incident/payload.ts';
import { heldBecause, type Matcher, settleChanges, type Settled } from '../incident/suppression.ts';
import { appendAudit } from './audit.ts';
import type { DeskCore } from './decide.ts';

/** Silences and snoozes longer than this are rules that should be muted or deleted: 400 days. */
const SILENCE_MS_MAX = 400 * 86_400_000;

/** Who acts (token id or `local`) and why. */
export type Actor = { readonly actor: string; readonly note: string };

export type NewSilence = {
  readonly matchers: readonly Matcher[];
  readonly starts_at_ms: number;
  readonly ends_at_ms: number;
  readonly comment: string;
};

/** What people do at the desk. Each is one audited transaction; unknown ids throw LW-NOT-FOUND. */
export type Operations = {
  /** Somebody works on it: nothing is repeated, an escalation lifts it. Throws LW-CONFLICT when it is resolved. */
  readonly acknowledge: (id: string, by: Actor) => Promise<Incident>;
  /** Quiet until then, and a reminder if it is still there. Throws LW-CONFLICT when resolved, LW-BODY when in the past or beyond 400 days. */
  readonly snooze: (id: string, until_ms: number, by: Actor) => Promise<Incident>;
  /** Ends it by hand; it stays so until the fault was seen to be gone or the reopen window is over. */
  readonly resolve: (id: string, by: Actor) => Promise<Incident>;
  /** Holds back what matches all matchers. Returns the silence with its id. Throws LW-BODY for an empty or endless one. */
  readonly silence: (silence: NewSilence, by: Actor) => Promise<Silence & { readonly id: string }>;
  /** Ends a silence now. */
  readonly unsilence: (id: string, by: Actor) => Promise<void>;
  /** The rule goes on judging and tells nobody. */
  readonly mute: (rule: string, by: Actor) => Promise<void>;
  readonly unmute: (rule: string, by: Actor) => Promise<void>;
};

/** Makes the operations over the desk's inner tools. */
export function createOperations(core: DeskCore): Operations {
  return {
    acknowledge: (id, by) => change(core, id, { ...by, action: 'acknowledge' }, acknowledged(by)),
    snooze: (id, until_ms, by) =>
      change(core, id, { ...by, action: 'snooze', until_ms }, (incident, now_ms) =>
        snoozed(incident, until_ms, { by, now_ms }),
      ),
    resolve: (id, by) => change(core, id, { ...by, action: 'resolve' }, resolvedBy(by)),
    silence: (silence, by) => addSilence(core, silence, by),
    unsilence: (id, by) => endSilence(core, id, by),
    mute: (rule, by) => setMute(core, rule, { ...by, muted: true }),
    unmute: (rule, by) => setMute(core, rule, { ...by, muted: false }),
  };
}

type Deed = Actor & { readonly action: string; readonly until_ms?: number };
type Edit = (incident: Incident, now_ms: number) => { readonly incident: Incident; readonly settle: Settle };
type Settle = (incident: Incident, held: string | null) => Settled;

async function change(core: DeskCore, id: string, deed: Deed, edit: Edit): Promise<Incident> {
  const now_ms = core.options.clock.now_ms();
  const incident = await core.options.control.transaction(async (tx) => {
    const stored = await found(tx, id);
    const { incident: edited, settle } = edit(stored.body, now_ms);
    if (edited === stored.body) return stored.body;
    const held = heldBecause(edited, await core.holds(tx, now_ms), now_ms);
    const written = await core.record(tx, stored, settle(edited, held), { now_ms, actor: deed.actor });
    if (deed.action === 'acknowledge' && held === null) await tellAcknowledged(core, tx, written, now_ms);
    const { actor, action, ...detail } = deed;
    await appendAudit(tx, { at_ms: now_ms, actor, action: `incident.${action}`, subject: `incident/${id}`, detail });
    return written;
  });
  core.options.onEvent({ kind: 'incident', id, change: deed.action });
  core.options.onEvent({ kind: 'outbox', id: '' });
  return incident;
}

async function found(tx: ControlTransaction, id: string): Promise<Document<Incident>> {
  const stored = await tx.get(INCIDENTS, id);
  if (stored === null || stored.body.state === 'pending')
    throw new LeewayError('LW-NOT-FOUND', `no incident ${id}; list them with GET /api/v1/incidents`);
  return stored;
}

function unresolved(incident: Incident): void {
  if (incident.state === 'resolved')
    throw new LeewayError('LW-CONFLICT', `incident ${incident.id} is resolved; there is nothing left to do about it`);
}

function noted(kind: string, by: Actor): Settle {
  return (incident) => ({ incident, entries: [{ kind, note: by.note }], tell: [] });
}

function acknowledged(by: Actor): Edit {
  return (incident, now_ms) => {
    unresolved(incident);
    if (incident.status === 'acknowledged') return { incident, settle: noted('acknowledged', by) };
    const next: Incident = {
      ...incident,
      status: 'acknowledged',
      acknowledged_by: by.actor,
      snoozed_until_ms: null,
      owed: incident.announced ? null : incident.owed,
      updated_at_ms: now_ms,
    };
    return { incident: next, settle: noted('acknowledged', by) };
  };
}

function snoozed(
  incident: Incident,
  until_ms: number,
  at: { readonly by: Actor; readonly now_ms: number },
): ReturnType<Edit> {
  unresolved(incident);
  if (!(until_ms > at.now_ms && until_ms - at.now_ms <= SILENCE_MS_MAX)) {
    const expected = `above ${at.now_ms} (now), at most 400 days later`;
    const errors = [{ path: 'until_ms', expected, got: String(until_ms) }];
    throw new LeewayError('LW-BODY', `until_ms ${until_ms}: expected a time ${expected}`, { errors });
  }
  const next: Incident = {
    ...incident,
    status: 'snoozed',
    snoozed_until_ms: until_ms,
    acknowledged_by: null,
    owed: 'opened',
    updated_at_ms: at.now_ms,
  };
  const note = `until ${new Date(until_ms).toISOString()}${at.by.note === '' ? '' : `: ${at.by.note}`}`;
  return { incident: next, settle: noted('snoozed', { ...at.by, note }) };
}

function resolvedBy(by: Actor): Edit {
  return (incident, now_ms) => {
    const done = resolved(incident, now_ms, by.note === '' ? `by ${by.actor}` : by.note);
    if (incident.state === 'resolved') return { incident, settle: (same) => settleChanges(same, [], null) };
    return {
      incident: { ...done.incident, latched: true },
      settle: (next, held) => settleChanges(next, done.events, held),
    };
  };
}

/** Destinations that mirror acknowledgements (PagerDuty) hear of them; it is no webhook type of ours. */
async function tellAcknowledged(
  core: DeskCore,
  tx: ControlTransaction,
  incident: Incident,
  now_ms: number,
): Promise<void> {
  if (!incident.announced) return;
  await core.enqueue(tx, {
    type: 'leeway.incident.acknowledged',
    subject: `incident/${incident.id}`,
    event: `${incident.events}.acknowledged`,
    severity: incident.severity,
    at_ms: now_ms,
    incident_id: incident.id,
    data: incidentData(incident, core.options.public_url().replace(/\/+$/, '')),
  });
}

async function addSilence(core: DeskCore, silence: NewSilence, by: Actor): Promise<Silence & { readonly id: string }> {
  const now_ms = core.options.clock.now_ms();
  checkSilence(silence, now_ms);
  const stored = await core.options.control.transaction(async (tx) => {
    const detail = { ...silence };
    const entry = await appendAudit(tx, {
      at_ms: now_ms,
      actor: by.actor,
      action: 'silence.create',
      subject: 'silences',
      detail,
    });
    const id = `sil_${hash64(JSON.stringify([entry, silence]))}`;
    const body = { ...silence, matchers: [...silence.matchers], created_by: by.actor, created_at_ms: now_ms };
    await tx.insert(SILENCES, id, body);
    return { ...body, id };
  });
  core.options.onEvent({ kind: 'incident', id: '', change: 'silence' });
  return stored;
}

function checkSilence(silence: NewSilence, now_ms: number): void {
  const errors = [];
  if (silence.matchers.length === 0)
    errors.push({ path: 'matchers', expected: 'at least one; a silence of everything hides outages', got: '[]' });
  if (!(silence.ends_at_ms > Math.max(now_ms, silence.starts_at_ms)))
    errors.push({ path: 'ends_at_ms', expected: 'after now and after starts_at_ms', got: String(silence.ends_at_ms) });
  if (silence.ends_at_ms - silence.starts_at_ms > SILENCE_MS_MAX)
    errors.push({
      path: 'ends_at_ms',
      expected: 'at most 400 days after starts_at_ms',
      got: String(silence.ends_at_ms),
    });
  const first = errors[0];
  if (first === undefined) return;
  throw new LeewayError('LW-BODY', `silence: ${first.path} must be ${first.expected}, got ${first.got}`, { errors });
}

async function endSilence(core: DeskCore, id: string, by: Actor): Promise<void> {
  const now_ms = core.options.clock.now_ms();
  await core.options.control.transaction(async (tx) => {
    const stored = await tx.get(SILENCES, id);
    if (stored === null) throw new LeewayError('LW-NOT-FOUND', `no silence ${id}; list them with GET /api/v1/silences`);
    await tx.update(SILENCES, id, stored.revision, {
      ...stored.body,
      ends_at_ms: Math.min(stored.body.ends_at_ms, now_ms),
    });
    const detail = { note: by.note };
    await appendAudit(tx, { at_ms: now_ms, actor: by.actor, action: 'silence.end', subject: `silence/${id}`, detail });
  });
}

async function setMute(core: DeskCore, rule: string, by: Actor & { readonly muted: boolean }): Promise<void> {
  if (!core.settings().rules.some(({ id }) => id === rule))
    throw new LeewayError('LW-NOT-FOUND', `no rule ${rule}; list them with GET /api/v1/rules`);
  const now_ms = core.options.clock.now_ms();
  await core.options.control.transaction(async (tx) => {
    const stored = await tx.get(RULE_MUTES, rule);
    if (by.muted && stored === null)
      await tx.insert(RULE_MUTES, rule, { actor: by.actor, at_ms: now_ms, note: by.note });
    if (!by.muted) await tx.remove(RULE_MUTES, rule);
    const action = by.muted ? 'rule.mute' : 'rule.unmute';
    await appendAudit(tx, {
      at_ms: now_ms,
      actor: by.actor,
      action,
      subject: `rule/${rule}`,
      detail: { note: by.note },
    });
  });
}
