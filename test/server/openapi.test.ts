import { expect, test } from 'vitest';
import { createFixture } from './fixture.ts';

type Operation = {
  security: { token: string[] }[];
  parameters: { name: string; in: string; required: boolean }[];
  requestBody?: { content: Record<string, { schema: { additionalProperties?: boolean } }> };
  responses: Record<string, { content: Record<string, unknown> }>;
};

async function description() {
  await using fixture = await createFixture();
  const document = (await fixture.app.inject({ url: '/openapi.json' })).json();
  return { document, paths: document.paths as Record<string, Record<string, Operation>>, routes: fixture.routes };
}

test('the description is OpenAPI 3.1 and holds every route with its scope', async () => {
  const { document, paths, routes } = await description();
  expect(document.openapi).toBe('3.1.0');
  for (const route of routes.filter((other) => other.documented)) {
    const operation = paths[route.path]?.[route.method.toLowerCase()];
    expect([route.path, operation?.security]).toEqual([
      route.path,
      route.scope === null ? [] : [{ token: [route.scope] }],
    ]);
  }
  const described = Object.values(paths).flatMap((path) => Object.keys(path)).length;
  expect(described).toBe(routes.filter((route) => route.documented).length);
});

test('every parameter of a path is described, and required', async () => {
  const { paths } = await description();
  for (const [path, operations] of Object.entries(paths))
    for (const operation of Object.values(operations)) {
      const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      const described = operation.parameters.filter((parameter) => parameter.in === 'path');
      expect(described.map((parameter) => parameter.name)).toEqual(named);
      expect(described.every((parameter) => parameter.required)).toBe(true);
    }
});

test('operation ids are unique', async () => {
  const { paths } = await description();
  const ids = Object.values(paths).flatMap((path) =>
    Object.values(path).map((operation) => Reflect.get(operation, 'operationId')),
  );
  expect(new Set(ids).size).toBe(ids.length);
});

test('control bodies are closed, problems are described for all, ingest takes NDJSON', async () => {
  const { paths } = await description();
  const acknowledge = paths['/api/v1/incidents/{id}/acknowledge']?.['post'];
  expect(acknowledge?.requestBody?.content['application/json']?.schema.additionalProperties).toBe(false);
  expect(paths['/v1/events']?.['post']?.requestBody?.content).toHaveProperty(['application/x-ndjson']);
  for (const path of Object.values(paths))
    for (const operation of Object.values(path))
      expect(operation.responses['default']?.content).toHaveProperty(['application/problem+json']);
});

test('the route of Alertmanager is described as the list of alerts that it takes', async () => {
  const { paths } = await description();
  const operation = paths['/api/v2/alerts']?.['post'];
  expect(operation?.security).toEqual([{ token: ['ingest'] }]);
  expect(operation?.requestBody?.content['application/json']?.schema).toMatchObject({
    type: 'array',
    items: { required: ['labels'], properties: { labels: {}, endsAt: { type: 'string' } } },
  });
});

test('the routes of samples are described as streams with their scope', async () => {
  const { paths } = await description();
  for (const path of ['/v1/metrics', '/api/v1/write'])
    expect(paths[path]?.['post']?.security).toEqual([{ token: ['ingest'] }]);
});
