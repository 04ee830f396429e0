import type { Incident } from '../core/incident.ts';
import type { IncidentChange } from './machine.ts';

/** One condition of a silence; `value` may end in `*` for any rest. */
export type Matcher = {
  readonly field: 'rule' | 'kind' | 'severity' | 'job' | 'model' | 'source' | 'subject' | 'incident';
  readonly value: string;
};

/** What can hold a notification back at a moment. */
export type Holds = {
  readonly silences: readonly {
    readonly id: string;
    readonly matchers: readonly Matcher[];
    readonly starts_at_ms: number;
    readonly ends_at_ms: number;
  }[];
  readonly muted_rules: ReadonlySet<string>;
};

/** Whether `pattern` equals `value`, or begins it where the pattern ends in `*`. */
export function matchesPattern(pattern: string, value: string): boolean {
  const star = pattern.indexOf('*');
  return star < 0 ? pattern === value : value.startsWith(pattern.slice(0, star));
}

/** Why nothing is told of this incident now, in words, or null. The first reason that holds is given. */
export function heldBecause(incident: Incident, holds: Holds, now_ms: number): string | null {
  if (holds.muted_rules.has(incident.rule)) return `rule ${incident.rule} is muted`;
  const silence = holds.silences.find(
    ({ matchers, starts_at_ms, ends_at_ms }) =>
      starts_at_ms <= now_ms && now_ms < ends_at_ms && matchers.every((matcher) => matches(incident, matcher)),
  );
  if (silence !== undefined) return `silence ${silence.id} until ${new Date(silence.ends_at_ms).toISOString()}`;
  if (incident.status === 'snoozed' && (incident.snoozed_until_ms ?? 0) > now_ms)
    return `snoozed until ${new Date(incident.snoozed_until_ms ?? 0).toISOString()}`;
  return null;
}

function matches(incident: Incident, { field, value }: Matcher): boolean {
  if (field === 'subject')
    return incident.subjects.some(
      ({ type, id }) => matchesPattern(value, id) || matchesPattern(value, `${type}:${id}`),
    );
  const own = field === 'incident' ? incident.id : incident[field];
  return own !== null && matchesPattern(value, own);
}

export type Telling = 'opened' | 'escalated' | 'resolved';
/** An entry for the history, without its number. */
export type Entry = { readonly kind: string; readonly note: string };
export type Settled = {
  readonly incident: Incident;
  readonly entries: readonly Entry[];
  /** What goes into the outbox now, in order. */
  readonly tell: readonly Telling[];
};

/** Tells what a hold kept back, once nothing holds it any more: the present state only, not each step on the way. */
export function settleOwed(incident: Incident): Settled {
  const quiet = { incident: { ...incident, owed: null }, entries: [], tell: [] };
  if (incident.owed === null || (incident.owed === 'opened') === (incident.state === 'resolved')) return quiet;
  const entries = [{ kind: 'told', note: 'nothing holds it back any more' }];
  return {
    incident: { ...incident, owed: null, announced: incident.owed === 'opened' },
    entries,
    tell: [incident.owed],
  };
}

/**
 * From what happened to what is told. Held changes are owed instead, and the history says why nothing was sent. A
 * resolution is told only to those who heard of the opening, and a relapse only if they heard of the resolution.
 */
export function settleChanges(incident: Incident, changes: readonly IncidentChange[], held: string | null): Settled {
  const entries: Entry[] = [];
  const tell: Telling[] = [];
  let next = incident;
  for (const { kind, note, tells } of changes) {
    entries.push({ kind, note });
    if (tells === null) continue;
    if (tells === 'resolved' && !next.announced) next = { ...next, owed: null };
    else if (tells === 'opened' && next.owed === 'resolved') next = { ...next, owed: null };
    else if (held !== null) {
      next = { ...next, owed: tells === 'resolved' ? 'resolved' : 'opened' };
      entries.push({ kind: 'held', note: `${tells} was not sent: ${held}` });
    } else {
      next = { ...next, owed: null, announced: tells !== 'resolved' };
      tell.push(tells);
    }
  }
  return { incident: next, entries, tell };
}
