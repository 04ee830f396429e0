import type { TObject, TSchema } from 'typebox';
import { propertiesOf } from '../core/schema-check.ts';
import type { Route } from './route.ts';

/** OpenAPI 3.1 of the API, from the very schemas that validate its requests. */
export function openApi(routes: readonly Route[], version: string): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    if (!route.documented) continue;
    const path = paths[route.path] ?? {};
    path[route.method.toLowerCase()] = operation(route);
    paths[route.path] = path;
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Leeway',
      version,
      description: 'Times are Unix milliseconds, money and 64-bit integers decimal strings, ratios 0 to 1.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    jsonSchemaDialect: 'https://json-schema.org/draft/2020-12/schema',
    paths,
    components: { schemas: { Problem: PROBLEM }, securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
  };
}

const PROBLEM = {
  type: 'object',
  description: 'RFC 9457 problem details',
  required: ['type', 'title', 'status', 'detail', 'code', 'instance'],
  properties: {
    type: { type: 'string' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    code: { type: 'string' },
    instance: { type: 'string' },
    errors: {
      type: 'array',
      items: {
        type: 'object',
        required: ['path', 'expected', 'got'],
        properties: { path: { type: 'string' }, expected: { type: 'string' }, got: { type: 'string' } },
      },
    },
  },
};

function operation(route: Route): Record<string, unknown> {
  return {
    operationId: `${route.method.toLowerCase()}${route.path.replaceAll(/[^A-Za-z0-9]+/g, '_')}`,
    summary: route.summary,
    tags: [tagOf(route.path)],
    security: route.scope === null ? [] : [{ token: [route.scope] }],
    parameters: [...parameters(route.params, 'path'), ...parameters(route.query, 'query')],
    ...(route.body === null ? {} : { requestBody: requestBody(route.body, route.document) }),
    responses: {
      [String(route.status)]: { description: 'The answer', content: content(route.answer) },
      default: {
        description: 'A problem',
        content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
      },
    },
  };
}

function tagOf(path: string): string {
  const [, first = '', second = '', third = ''] = path.split('/');
  return first === 'api' && second === 'v1' ? third : first === 'v1' || second === 'v2' ? 'ingest' : 'system';
}

function parameters(schema: TObject | null, place: 'path' | 'query'): Record<string, unknown>[] {
  if (schema === null) return [];
  const required: unknown = Reflect.get(schema, 'required');
  return Object.entries(propertiesOf(schema) ?? {}).map(([name, property]) => ({
    name,
    in: place,
    required: Array.isArray(required) && required.includes(name),
    schema: property,
  }));
}

function requestBody(body: TObject | 'stream', document: TSchema | null): Record<string, unknown> {
  if (document !== null) return { required: true, content: { 'application/json': { schema: document } } };
  if (body === 'stream') return { required: true, content: { 'application/x-ndjson': { schema: { type: 'string' } } } };
  return { required: false, content: { 'application/json': { schema: { ...body, additionalProperties: false } } } };
}

function content(answer: TSchema | string): Record<string, unknown> {
  return typeof answer === 'string'
    ? { [answer]: { schema: { type: 'string' } } }
    : { 'application/json': { schema: answer } };
}
