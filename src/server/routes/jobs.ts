import { filtersOf, listAnswer, pagingOf, partsOf } from '../page.ts';
import { defineRoute, type Route } from '../route.ts';
import { idParams, listOf } from '../shapes/base.ts';
import { JOB, JOB_DETAIL, JOBS_QUERY, STEP, STEPS_QUERY } from '../shapes/telemetry.ts';

/** Training jobs and their steps. */
export const jobRoutes: readonly Route[] = [
  defineRoute({
    method: 'GET',
    path: '/api/v1/jobs',
    scope: 'read',
    summary: 'Training jobs, the latest first',
    query: JOBS_QUERY,
    answer: listOf(JOB),
    run: async ({ query, path }, { services }) =>
      listAnswer(path, await services.read.jobs(filtersOf(query), pagingOf(path, query))),
  }),
  defineRoute({
    method: 'GET',
    path: '/api/v1/jobs/{id}',
    scope: 'read',
    summary: 'One training job with its ranks',
    params: idParams,
    answer: JOB_DETAIL,
    run: ({ params }, { services }) => services.read.job(params.id),
  }),
  defineRoute({
    method: 'GET',
    path: '/api/v1/jobs/{id}/steps',
    scope: 'read',
    summary: 'Step records of a job, `to_step` exclusive',
    query: STEPS_QUERY,
    params: idParams,
    answer: listOf(STEP),
    run: async ({ query, params, path }, { services }) => {
      const { ranks, ...filter } = filtersOf(query);
      const wanted = { ...filter, ranks: partsOf(ranks).map(Number) };
      return listAnswer(path, await services.read.steps(params.id, wanted, pagingOf(path, query)));
    },
  }),
];
