import Type from 'typebox';
import { filtersOf, listAnswer, pagingOf } from '../page.ts';
import { defineRoute, type Route } from '../route.ts';
import { listOf } from '../shapes/base.ts';
import {
  MODEL,
  MODEL_DETAIL,
  MODEL_DRIFT,
  MODEL_QUALITY,
  MODEL_WINDOW_QUERY,
  MODELS_QUERY,
} from '../shapes/telemetry.ts';

const params = Type.Object({ name: Type.String({ minLength: 1, maxLength: 512 }) });

/** Served models: drift and quality. */
export const modelRoutes: readonly Route[] = [
  defineRoute({
    method: 'GET',
    path: '/api/v1/models',
    scope: 'read',
    summary: 'Served models',
    query: MODELS_QUERY,
    answer: listOf(MODEL),
    run: async ({ query, path }, { services }) =>
      listAnswer(path, await services.read.models(filtersOf(query), pagingOf(path, query))),
  }),
  defineRoute({
    method: 'GET',
    path: '/api/v1/models/{name}',
    scope: 'read',
    summary: 'One model with its versions and its serving',
    params,
    answer: MODEL_DETAIL,
    run: (call, { services }) => services.read.model(call.params.name),
  }),
  defineRoute({
    method: 'GET',
    path: '/api/v1/models/{name}/drift',
    scope: 'read',
    summary: 'Drift of a model by window and by feature',
    query: MODEL_WINDOW_QUERY,
    params,
    answer: MODEL_DRIFT,
    run: (call, { services }) => services.read.drift(call.params.name, call.query),
  }),
  defineRoute({
    method: 'GET',
    path: '/api/v1/models/{name}/quality',
    scope: 'read',
    summary: 'Realised quality of a model by window',
    query: MODEL_WINDOW_QUERY,
    params,
    answer: MODEL_QUALITY,
    run: (call, { services }) => services.read.quality(call.params.name, call.query),
  }),
];
