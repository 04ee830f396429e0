import { filtersOf, listAnswer, pagingOf } from '../page.ts';
import { defineRoute, type Route } from '../route.ts';
import { idParams, listOf, listQuery, noteBody } from '../shapes/base.ts';
import { NOTIFICATION } from '../shapes/incident.ts';
import { RULE, SINK, SINK_TEST } from '../shapes/operation.ts';
import { DELIVERY, DELIVERY_QUERY, SOURCE, SOURCES_QUERY } from '../shapes/telemetry.ts';
import { actionOf } from './incidents.ts';

/** What comes in and what goes out: sources, the account, rules, sinks, notifications. */
export const deliveryRoutes: readonly Route[] = [
  defineRoute({
    method: 'GET',
    path: '/api/v1/sources',
    scope: 'read',
    summary: 'Collectors and senders: last seen, quality, rejected by reason',
    query: SOURCES_QUERY,
    answer: listOf(SOURCE),
    run: async ({ query, path }, { services }) =>
      listAnswer(path, await services.read.sources(filtersOf(query), pagingOf(path, query))),
  }),
  defineRoute({
    method: 'GET',
    path: '/api/v1/delivery',
    scope: 'read',
    summary: 'The account by source and epoch: emitted = stored + in flight + declared loss, in records',
    query: DELIVERY_QUERY,
    answer: listOf(DELIVERY),
    run: async ({ query, path }, { services }) =>
      listAnswer(path, await services.read.delivery(filtersOf(query), pagingOf(path, query))),
  }),
  defineRoute({
    method: 'GET',
    path: '/api/v1/rules',
    scope: 'read',
    summary: 'Rules that open incidents',
    query: listQuery({}),
    answer: listOf(RULE),
    run: async ({ query, path }, { services }) => listAnswer(path, await services.read.rules(pagingOf(path, query))),
  }),
  defineRoute({
    method: 'POST',
    path: '/api/v1/rules/{id}/mute',
    scope: 'operate',
    summary: 'The rule goes on judging and tells nobody',
    params: idParams,
    body: noteBody,
    answer: RULE,
    run: (call, { services }) => services.operate.mute(actionOf(call)),
  }),
  defineRoute({
    method: 'POST',
    path: '/api/v1/rules/{id}/unmute',
    scope: 'operate',
    summary: 'The rule tells again',
    params: idParams,
    body: noteBody,
    answer: RULE,
    run: (call, { services }) => services.operate.unmute(actionOf(call)),
  }),
  defineRoute({
    method: 'GET',
    path: '/api/v1/sinks',
    scope: 'read',
    summary: 'Destinations: state and last attempts',
    query: listQuery({}),
    answer: listOf(SINK),
    run: async ({ query, path }, { services }) => listAnswer(path, await services.read.sinks(pagingOf(path, query))),
  }),
  defineRoute({
    method: 'POST',
    path: '/api/v1/sinks/{id}/test',
    scope: 'operate',
    summary: 'One notification over the real path, with the real signature',
    params: idParams,
    body: noteBody,
    answer: SINK_TEST,
    run: async (call, { services }) => {
      const tested = await services.operate.testSink(actionOf(call));
      // Nothing more: whether a forbidden address listens must not show in any field.
      return tested.outcome === 'blocked' ? { outcome: 'blocked' } : tested;
    },
  }),
  defineRoute({
    method: 'POST',
    path: '/api/v1/notifications/{id}/replay',
    scope: 'operate',
    summary: 'Deliver it once more, under the same id',
    params: idParams,
    body: noteBody,
    answer: NOTIFICATION,
    run: (call, { services }) => services.operate.replay(actionOf(call)),
  }),
];
