import Type from 'typebox';
import { filtersOf, listAnswer, pagingOf, partsOf } from '../page.ts';
import { type Call, defineRoute, type Route } from '../route.ts';
import type { Action } from '../services.ts';
import { bound, filter, filterOf, filterOfSome, idParams, listOf, listQuery, noteBody } from '../shapes/base.ts';
import {
  INCIDENT,
  INCIDENT_DETAIL,
  INCIDENT_STATES,
  INCIDENT_STATUSES,
  SEVERITIES,
  SILENCE,
  SILENCE_REQUEST,
} from '../shapes/incident.ts';

/** Snoozing without an end is resolving by neglect: an hour unless asked for otherwise, 30 days at most. */
const SNOOZE_MS = 3_600_000;
const SNOOZE_MS_MAX = 2_592_000_000;

const QUERY = listQuery({
  status: filterOfSome(INCIDENT_STATUSES),
  state: filterOf(INCIDENT_STATES),
  kind: filter,
  severity: filterOf(SEVERITIES),
  job: filter,
  model: filter,
  version: filter,
  cause: filter,
  rule: filter,
  from: bound,
  to: bound,
});

const SNOOZE_BODY = Type.Object({
  ...noteBody.properties,
  until_ms: Type.Optional(Type.Number({ minimum: 0 })),
  for_ms: Type.Optional(Type.Number({ minimum: 1, maximum: SNOOZE_MS_MAX })),
});

/** Who does what to which object. */
export function actionOf(
  call: Pick<Call<unknown, { id: string }, { note?: string }>, 'params' | 'body' | 'actor'>,
): Action {
  return { id: call.params.id, actor: call.actor, note: call.body.note ?? null };
}

/** Incidents and what people do about them. */
export const incidentRoutes: readonly Route[] = [
  defineRoute({
    method: 'GET',
    path: '/api/v1/incidents',
    scope: 'read',
    summary: 'Incidents, the latest first',
    query: QUERY,
    answer: listOf(INCIDENT),
    run: async ({ query, path }, { services }) => {
      const { status, ...rest } = filtersOf(query);
      const wanted = status === undefined ? rest : { ...rest, status: partsOf(status) };
      return listAnswer(path, await services.read.incidents(wanted, pagingOf(path, query)));
    },
  }),
  defineRoute({
    method: 'GET',
    path: '/api/v1/incidents/{id}',
    scope: 'read',
    summary: 'One incident with its events, findings, notifications and decisions',
    params: idParams,
    answer: INCIDENT_DETAIL,
    run: ({ params }, { services }) => services.read.incident(params.id),
  }),
  defineRoute({
    method: 'POST',
    path: '/api/v1/incidents/{id}/acknowledge',
    scope: 'operate',
    summary: 'Somebody looks at it',
    params: idParams,
    body: noteBody,
    answer: INCIDENT,
    run: (call, { services }) => services.operate.acknowledge(actionOf(call)),
  }),
  defineRoute({
    method: 'POST',
    path: '/api/v1/incidents/{id}/snooze',
    scope: 'operate',
    summary: 'No notifications until `until_ms` (or for `for_ms`, an hour by default)',
    params: idParams,
    body: SNOOZE_BODY,
    answer: INCIDENT,
    run: (call, { services, clock }) => {
      const until_ms = call.body.until_ms ?? clock.now_ms() + (call.body.for_ms ?? SNOOZE_MS);
      return services.operate.snooze({ ...actionOf(call), until_ms });
    },
  }),
  defineRoute({
    method: 'POST',
    path: '/api/v1/incidents/{id}/resolve',
    scope: 'operate',
    summary: 'It is over',
    params: idParams,
    body: noteBody,
    answer: INCIDENT,
    run: (call, { services }) => services.operate.resolve(actionOf(call)),
  }),
  defineRoute({
    method: 'POST',
    path: '/api/v1/silences',
    scope: 'operate',
    summary: 'No notifications for incidents that match, until `ends_at_ms`',
    body: SILENCE_REQUEST,
    status: 201,
    answer: SILENCE,
    run: (call, { services }) => services.operate.silence(call.body, call.actor),
  }),
];
