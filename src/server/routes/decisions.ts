import { DECISION_STATES, RUN_STATES } from '../../core/retraining.ts';
import { filtersOf, listAnswer, pagingOf, partsOf } from '../page.ts';
import { defineRoute, type Route } from '../route.ts';
import { bound, filter, filterOf, filterOfSome, idParams, listOf, listQuery, noteBody } from '../shapes/base.ts';
import { DECISION, DECISION_DETAIL, RETRAIN_RUN, RUN_STATUS } from '../shapes/decision.ts';
import { actionOf } from './incidents.ts';

const QUERY = listQuery({
  state: filterOfSome(DECISION_STATES),
  model: filter,
  version: filter,
  policy: filter,
  incident_id: filter,
  from: bound,
  to: bound,
});

/** Retraining: decisions with their gates, and the runs that they started. */
export const decisionRoutes: readonly Route[] = [
  defineRoute({
    method: 'GET',
    path: '/api/v1/decisions',
    scope: 'read',
    summary: 'Retraining decisions, the latest first',
    query: QUERY,
    answer: listOf(DECISION),
    run: async ({ query, path }, { services }) => {
      const { state, ...rest } = filtersOf(query);
      const wanted = state === undefined ? rest : { ...rest, state: partsOf(state) };
      return listAnswer(path, await services.read.decisions(wanted, pagingOf(path, query)));
    },
  }),
  defineRoute({
    method: 'GET',
    path: '/api/v1/decisions/{id}',
    scope: 'read',
    summary: 'One decision with its gates, events, run and confirmation',
    params: idParams,
    answer: DECISION_DETAIL,
    run: ({ params }, { services }) => services.read.decision(params.id),
  }),
  ...(['approve', 'reject', 'cancel'] as const).map((verb) =>
    defineRoute({
      method: 'POST',
      path: `/api/v1/decisions/{id}/${verb}`,
      scope: 'approve',
      summary: `Somebody chose to ${verb} it; a closed decision is 409`,
      params: idParams,
      body: noteBody,
      answer: DECISION,
      run: (call, { services }) => services.operate[verb](actionOf(call)),
    }),
  ),
  defineRoute({
    method: 'GET',
    path: '/api/v1/retrain-runs',
    scope: 'read',
    summary: 'Retraining runs, the latest first',
    query: listQuery({ state: filterOf(RUN_STATES), model: filter, decision_id: filter, from: bound, to: bound }),
    answer: listOf(RETRAIN_RUN),
    run: async ({ query, path }, { services }) =>
      listAnswer(path, await services.read.runs(filtersOf(query), pagingOf(path, query))),
  }),
  defineRoute({
    method: 'POST',
    path: '/api/v1/retrain-runs/{id}/status',
    scope: 'operate',
    summary: 'The pipeline tells how its run goes; signed like our webhooks, or bearer',
    params: idParams,
    body: RUN_STATUS,
    signed: true,
    answer: RETRAIN_RUN,
    run: (call, { services }) => services.operate.runStatus(call.params.id, call.body, call.actor),
  }),
];
