import type { Notification } from '../core/define.ts';

/** What the sinks for people say of a notification. `state` is what happened; `facts` are label and value. */
export type IncidentText = {
  readonly id: string;
  readonly kind: string;
  readonly severity: 'page' | 'warn';
  readonly state: 'opened' | 'escalated' | 'resolved' | 'acknowledged' | 'other';
  readonly title: string;
  readonly facts: readonly (readonly [string, string])[];
  readonly subjects: readonly string[];
  readonly job: string | null;
  readonly model: string | null;
  readonly rule: string;
  readonly opened_at_ms: number | null;
  readonly resolved_at_ms: number | null;
  readonly url: string | null;
  readonly runbook_url: string | null;
};

/** Reads a notification's data (contract: api.md) for people. Types without an incident read as what their name says. */
export function incidentText({ type, subject, severity, data }: Notification): IncidentText {
  const incident = objectOf(data['incident']);
  const last = type.split('.').at(-1) ?? type;
  const state =
    last === 'opened' || last === 'escalated' || last === 'resolved' || last === 'acknowledged' ? last : 'other';
  const about = { type, subject, data };
  return {
    id: textOf(incident['id']) ?? subject,
    kind: textOf(incident['kind']) ?? last,
    severity: severity ?? (incident['severity'] === 'page' ? 'page' : 'warn'),
    state,
    title: textOf(incident['title']) ?? titleOf(about),
    facts: factsOf(incident, data),
    subjects: subjectsOf(incident['subjects']),
    job: textOf(incident['job']),
    model: textOf(incident['model']) ?? textOf(data['model']),
    rule: textOf(incident['rule']) ?? type,
    opened_at_ms: numberOf(incident['opened_at_ms']),
    resolved_at_ms: numberOf(incident['resolved_at_ms']),
    url: textOf(data['url']),
    runbook_url: textOf(incident['runbook_url']),
  };
}

function titleOf(about: { type: string; subject: string; data: Readonly<Record<string, unknown>> }): string {
  if (about.type === 'leeway.watchdog') return 'Leeway is alive and can reach you';
  const model = textOf(about.data['model']);
  const what = about.type.replace(/^leeway\./, '').replaceAll(/[._]/g, ' ');
  return `${what.charAt(0).toUpperCase()}${what.slice(1)}: ${model ?? about.subject}`;
}

function factsOf(incident: Record<string, unknown>, data: Readonly<Record<string, unknown>>): [string, string][] {
  const facts: [string, string][] = [];
  const cause = textOf(incident['cause']);
  if (cause !== null) facts.push(['cause', cause]);
  const subjects = subjectsOf(incident['subjects']);
  if (subjects.length > 0) facts.push(['subjects', subjects.slice(0, 10).join(', ')]);
  const lost = textOf(incident['usd_lost']);
  const rate = textOf(incident['usd_per_hour']);
  if (lost !== null) facts.push(['lost', rate === null ? `$${lost}` : `$${lost}, $${rate}/h`]);
  const started_ms = numberOf(incident['started_at_ms']);
  if (started_ms !== null) facts.push(['since', new Date(started_ms).toISOString()]);
  const coverage = numberOf(incident['coverage_ratio']);
  if (coverage !== null) facts.push(['data seen', `${Math.round(coverage * 100)} %`]);
  for (const key of ['version', 'reason', 'decision_id'])
    if (incident['id'] === undefined && textOf(data[key]) !== null) facts.push([key, textOf(data[key]) ?? '']);
  return facts;
}

function subjectsOf(value: unknown): string[] {
  if (!Array.isArray(value)) return [];
  return value.map(objectOf).map((subject) => `${textOf(subject['type']) ?? ''} ${textOf(subject['id']) ?? ''}`.trim());
}

function objectOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}

function numberOf(value: unknown): number | null {
  return typeof value === 'number' ? value : null;
}

/** At most `letters` UTF-16 units, an ellipsis where something is left out, never half a surrogate pair. */
export function clipped(text: string, letters: number): string {
  if (text.length <= letters) return text;
  const cut = text.slice(0, letters - 1);
  return `${/[\ud800-\udbff]$/.test(cut) ? cut.slice(0, -1) : cut}…`;
}
