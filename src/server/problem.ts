import { type ErrorCode, type ErrorDetail, ERRORS, LeewayError } from '../core/errors.ts';

/** RFC 9457 problem details (contract: api.md "Conventions"). */
export type Problem = {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ErrorCode;
  readonly instance: string;
  readonly errors?: readonly ErrorDetail[];
};

export const PROBLEM_TYPE = 'application/problem+json';

/** Seconds that an overloaded client should wait: long enough to drain a batch, short enough not to fill a sender's spool. */
const RETRY_AFTER_S = '2';

/** The problem of a code at `instance` (the path asked for). */
export function problemOf(
  code: ErrorCode,
  detail: string,
  instance: string,
  errors: readonly ErrorDetail[] = [],
): Problem {
  const { status, title } = ERRORS[code];
  const problem = { type: `urn:leeway:error:${code}`, title, status, detail, code, instance };
  return errors.length === 0 ? problem : { ...problem, errors };
}

/** What the outside may know of a failure: a LeewayError's own words; of anything else only that it happened. */
export function problemFrom(error: unknown, instance: string): Problem {
  if (error instanceof LeewayError) return problemOf(error.code, error.message, instance, error.errors);
  return problemOf('LW-INTERNAL', 'Leeway failed to answer; the log of the service says why', instance);
}

/** Headers that belong to a problem: when to come back, how to authenticate. */
export function problemHeaders(problem: Problem): Record<string, string> {
  const headers: Record<string, string> = { 'content-type': PROBLEM_TYPE };
  if (problem.status === 429 || problem.status === 503) headers['retry-after'] = RETRY_AFTER_S;
  if (problem.status === 401) headers['www-authenticate'] = 'Bearer realm="leeway"';
  return headers;
}
