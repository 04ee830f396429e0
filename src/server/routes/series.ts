import { filtersOf, listAnswer, pagingOf } from '../page.ts';
import { defineRoute, type Route } from '../route.ts';
import { idParams, listOf } from '../shapes/base.ts';
import { EXEMPLAR, HISTOGRAM, SAMPLE, SAMPLES_QUERY, SERIES, SERIES_QUERY } from '../shapes/series.ts';

/** What remote write and OTLP stored, read back as it was sent. */
export const seriesRoutes: readonly Route[] = [
  defineRoute({
    method: 'GET',
    path: '/api/v1/series',
    scope: 'read',
    summary: 'Series of open ingest, by metric and id',
    query: SERIES_QUERY,
    answer: listOf(SERIES),
    run: async ({ query, path }, { services }) =>
      listAnswer(path, await services.read.series(filtersOf(query), pagingOf(path, query))),
  }),
  defineRoute({
    method: 'GET',
    path: '/api/v1/series/{id}/samples',
    scope: 'read',
    summary: 'Samples of one series, by time',
    query: SAMPLES_QUERY,
    params: idParams,
    answer: listOf(SAMPLE),
    run: async ({ query, params, path }, { services }) =>
      listAnswer(path, await services.read.samples(params.id, filtersOf(query), pagingOf(path, query))),
  }),
  defineRoute({
    method: 'GET',
    path: '/api/v1/series/{id}/histograms',
    scope: 'read',
    summary: 'Native histograms of one series, by time',
    query: SAMPLES_QUERY,
    params: idParams,
    answer: listOf(HISTOGRAM),
    run: async ({ query, params, path }, { services }) =>
      listAnswer(path, await services.read.histograms(params.id, filtersOf(query), pagingOf(path, query))),
  }),
  defineRoute({
    method: 'GET',
    path: '/api/v1/series/{id}/exemplars',
    scope: 'read',
    summary: 'Exemplars of one series, by time',
    query: SAMPLES_QUERY,
    params: idParams,
    answer: listOf(EXEMPLAR),
    run: async ({ query, params, path }, { services }) =>
      listAnswer(path, await services.read.exemplars(params.id, filtersOf(query), pagingOf(path, query))),
  }),
];
