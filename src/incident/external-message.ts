import Type from 'typebox';
import { compiled } from '../core/compiled.ts';
import type { ErrorDetail } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';

const texts = (length_max: number) =>
  Type.Record(Type.String(), Type.String({ maxLength: length_max }), { maxProperties: 64 });
const date = Type.String({ maxLength: 64 });

/** An alert of Alertmanager's API v2 (`POST /api/v2/alerts`); unknown fields are allowed there, so they are here. */
export const ExternalAlertSchema = Type.Object({
  labels: texts(4096),
  annotations: Type.Optional(texts(LIMITS.external_alert_bytes_max)),
  startsAt: Type.Optional(date),
  endsAt: Type.Optional(date),
  generatorURL: Type.Optional(Type.String({ maxLength: 4096 })),
});
const alert = compiled(ExternalAlertSchema);

/** One message about an alert: what fires, since when and until when; null = the sender did not say. */
export type AlertMessage = {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly generator_url: string | null;
  readonly starts_ms: number | null;
  readonly ends_ms: number | null;
};

/** What a body comes to: the alerts that are valid, and what is wrong with each of the others. */
export type ParsedAlerts = { readonly messages: readonly AlertMessage[]; readonly errors: readonly ErrorDetail[] };

/**
 * Reads the body of `POST /api/v2/alerts` as Alertmanager does (api/v2/api.go, postAlertsHandler): each alert by itself,
 * labels with an empty value do not count, at least one label, an end not before the start, Go's zero time = not said.
 */
export function parseAlerts(body: unknown): ParsedAlerts {
  const count_max = LIMITS.external_alerts_request_max;
  if (!Array.isArray(body)) return refused('body', 'a list of alerts', typeOf(body));
  if (body.length > count_max) return refused('body', `at most ${count_max} alerts`, `${body.length}`);
  const messages: AlertMessage[] = [];
  const errors: ErrorDetail[] = [];
  for (const [index, item] of body.entries()) {
    const read = parseAlert(item, `body[${index}]`);
    if ('path' in read) errors.push(read);
    else messages.push(read);
  }
  return { messages, errors };
}

function refused(path: string, expected: string, got: string): ParsedAlerts {
  return { messages: [], errors: [{ path, expected, got }] };
}

function parseAlert(item: unknown, path: string): AlertMessage | ErrorDetail {
  const given = withoutNulls(item);
  if (!alert.check(given)) return misfit(given, path);
  const bytes = JSON.stringify(given).length;
  if (bytes > LIMITS.external_alert_bytes_max)
    return { path, expected: `at most ${LIMITS.external_alert_bytes_max} characters of JSON`, got: `${bytes}` };
  const labels = Object.fromEntries(Object.entries(given.labels).filter(([, value]) => value !== ''));
  if (Object.hasOwn(labels, '')) return { path: `${path}.labels`, expected: 'names of labels', got: 'an empty name' };
  if (Object.keys(labels).length === 0)
    return { path: `${path}.labels`, expected: 'at least one label with a value', got: 'none' };
  const starts_ms = timeOf(given.startsAt);
  const ends_ms = timeOf(given.endsAt);
  if (starts_ms === undefined) return badTime(`${path}.startsAt`, given.startsAt);
  if (ends_ms === undefined) return badTime(`${path}.endsAt`, given.endsAt);
  if (starts_ms !== null && ends_ms !== null && ends_ms < starts_ms)
    return { path: `${path}.endsAt`, expected: 'not before startsAt', got: JSON.stringify(given.endsAt) };
  return {
    labels,
    annotations: given.annotations ?? {},
    generator_url: given.generatorURL ?? null,
    starts_ms,
    ends_ms,
  };
}

/** A member that is null counts as absent, as in Go. */
function withoutNulls(item: unknown): unknown {
  if (typeof item !== 'object' || item === null || Array.isArray(item)) return item;
  return Object.fromEntries(Object.entries(item).filter(([, value]) => value !== null));
}

/** The first thing that does not fit: the value is said by its type alone, it may be long. */
function misfit(item: unknown, path: string): ErrorDetail {
  const problem = alert.problems(item)[0];
  const pointer = (problem?.instancePath ?? '').split('/').slice(1);
  const steps = pointer.map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~').slice(0, 100));
  const at = [path, ...steps].join('.');
  let value = item;
  for (const step of steps) value = typeof value === 'object' && value !== null ? Reflect.get(value, step) : undefined;
  return { path: at, expected: problem?.message ?? 'an alert', got: typeOf(value) };
}

function typeOf(value: unknown): string {
  if (value === undefined) return 'nothing';
  return Array.isArray(value) ? 'a list' : value === null ? 'null' : `${typeof value}`;
}

const RFC_3339 = /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,12})?([Zz]|[+-]\d{2}:\d{2})$/;

/** Unix ms; null = not said; undefined = no RFC 3339 time. */
function timeOf(text: string | undefined): number | null | undefined {
  if (text === undefined || text.startsWith('0001-01-01T00:00:00')) return null;
  const at_ms = RFC_3339.test(text) ? Date.parse(text.replace(' ', 'T')) : Number.NaN;
  return Number.isNaN(at_ms) ? undefined : at_ms;
}

function badTime(path: string, got: string | undefined): ErrorDetail {
  return { path, expected: 'a time of RFC 3339', got: JSON.stringify(got) };
}
