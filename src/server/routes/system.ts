import Type from 'typebox';
import { filtersOf, listAnswer, pagingOf } from '../page.ts';
import { Answer, defineRoute, type Route, type RouteContext } from '../route.ts';
import { bound, filter, listOf, listQuery } from '../shapes/base.ts';
import { AUDIT_ENTRY, OVERVIEW, READINESS, RELOAD } from '../shapes/operation.ts';
import { StreamHub } from '../stream.ts';

/** The service about itself: health, metrics, overview, stream, audit, reload. */
export const systemRoutes: readonly Route[] = [
  defineRoute({
    method: 'GET',
    path: '/healthz',
    scope: null,
    summary: 'The process answers',
    answer: Type.Object({ status: Type.Literal('ok') }),
    run: async () => ({ status: 'ok' as const }),
  }),
  defineRoute({
    method: 'GET',
    path: '/readyz',
    scope: null,
    summary: 'Whether it can do its work: 200, else 503 with what is missing',
    answer: READINESS,
    run: async (_call, { services }) => {
      const readiness = await services.system.readiness();
      if (readiness.ready) return readiness;
      return new Answer(503, { 'content-type': 'application/json', 'retry-after': '2' }, JSON.stringify(readiness));
    },
  }),
  defineRoute({
    method: 'GET',
    path: '/metrics',
    scope: 'read',
    summary: 'Metrics of the service itself, Prometheus or OpenMetrics text by Accept',
    answer: 'text/plain',
    run: async ({ headers }, { metrics }) => {
      const open = String(headers['accept'] ?? '').includes('application/openmetrics-text');
      const { content_type, text } = await metrics.expose(open ? 'openmetrics' : 'prometheus');
      return new Answer(200, { 'content-type': content_type }, text);
    },
  }),
  defineRoute({
    method: 'GET',
    path: '/api/v1/overview',
    scope: 'read',
    summary: 'Health of every area in one answer',
    answer: OVERVIEW,
    run: ({ signal }, { services }) => services.read.overview(signal),
  }),
  defineRoute({
    method: 'GET',
    path: '/api/v1/audit',
    scope: 'read',
    summary: 'What people and tokens changed, hash-chained',
    query: listQuery({ actor: filter, action: filter, subject: filter, from: bound, to: bound }),
    answer: listOf(AUDIT_ENTRY),
    run: async ({ query, path }, { services }) =>
      listAnswer(path, await services.read.audit(filtersOf(query), pagingOf(path, query))),
  }),
  defineRoute({
    method: 'POST',
    path: '/-/reload',
    scope: 'admin',
    summary: 'Load the configuration again; an invalid one changes nothing',
    body: Type.Object({}),
    answer: RELOAD,
    run: async ({ actor }, { services }) => ({ changed: [...(await services.operate.reload(actor))] }),
  }),
];

/** `GET /api/v1/stream`: server-sent events, one subscription for all clients of this server. */
export function streamRoutes(context: Pick<RouteContext, 'services' | 'clock' | 'signal'>): readonly Route[] {
  const hub = new StreamHub(context.services.stream, context.clock, context.signal);
  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/stream',
      scope: 'read',
      summary: 'Server-sent events: incident, finding, decision, delivery; data carries the id',
      answer: 'text/event-stream',
      run: async () => new Answer(200, { 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' }, hub.open()),
    }),
  ];
}
