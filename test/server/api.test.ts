import { describe, expect, test } from 'vitest';
import { bearer, createFixture, type Fixture } from './fixture.ts';
import { GOOD_SIGNATURE, NOW_MS } from './memory.ts';

const ITEM_PATHS: Readonly<Record<string, string>> = {
  '/api/v1/jobs/{id}': '/api/v1/jobs/digits',
  '/api/v1/jobs/{id}/steps': '/api/v1/jobs/digits/steps',
  '/api/v1/models/{name}': '/api/v1/models/digits',
  '/api/v1/models/{name}/drift': '/api/v1/models/digits/drift',
  '/api/v1/models/{name}/quality': '/api/v1/models/digits/quality',
  '/api/v1/incidents/{id}': '/api/v1/incidents/inc_1',
  '/api/v1/decisions/{id}': '/api/v1/decisions/dec_1',
  '/api/v1/costs/explain': '/api/v1/costs/explain?asset=a1',
};

function post(fixture: Fixture, url: string, body?: unknown, headers: Record<string, string> = {}) {
  if (body === undefined) return fixture.app.inject({ method: 'POST', url, headers });
  const payload = typeof body === 'string' ? body : JSON.stringify(body);
  return fixture.app.inject({
    method: 'POST',
    url,
    payload,
    headers: { 'content-type': 'application/json', ...headers },
  });
}

describe('reading', () => {
  test('every GET route answers 200 with what its schema says', async () => {
    await using fixture = await createFixture();
    const routes = fixture.routes.filter((route) => route.method === 'GET' && route.answer !== 'text/event-stream');
    expect(routes.length).toBeGreaterThan(20);
    for (const route of routes) {
      const answer = await fixture.app.inject({ url: ITEM_PATHS[route.path] ?? route.path });
      // The fixture's server holds each answer against the schema of its route: a misfit would be a 500.
      expect([route.path, answer.statusCode]).toEqual([route.path, 200]);
    }
  });

  test('an unknown id is a 404 problem that names the path', async () => {
    await using fixture = await createFixture();
    const answer = await fixture.app.inject({ url: '/api/v1/incidents/inc_9' });
    expect(answer.statusCode).toBe(404);
    expect(answer.headers['content-type']).toBe('application/problem+json');
    expect(answer.json()).toEqual({
      type: 'urn:leeway:error:LW-NOT-FOUND',
      title: 'not found',
      status: 404,
      detail: 'nothing has the id "inc_9"',
      code: 'LW-NOT-FOUND',
      instance: '/api/v1/incidents/inc_9',
    });
  });

  test('filters reach the service, comma lists as lists, numbers as numbers', async () => {
    await using fixture = await createFixture();
    const { app, memory } = fixture;
    await app.inject({ url: '/api/v1/incidents?status=open,acknowledged&kind=slow_rank&from=5&to=9&limit=7' });
    await app.inject({ url: '/api/v1/jobs/digits/steps?from_step=2&to_step=9&ranks=0,3' });
    await app.inject({ url: '/api/v1/costs?from=0&to=3600000&group_by=team,model&period=hour' });
    await app.inject({ url: '/api/v1/jobs?team=vision' });
    expect(memory.calls).toEqual([
      {
        name: 'incidents',
        argument: {
          filter: { status: ['open', 'acknowledged'], kind: 'slow_rank', from: 5, to: 9 },
          paging: { limit: 7, after: null },
        },
      },
      { name: 'steps', argument: { from_step: 2, to_step: 9, ranks: [0, 3] } },
      { name: 'costs', argument: { from: 0, to: 3_600_000, group_by: ['team', 'model'], period: 'hour' } },
      { name: 'jobs', argument: { filter: { team: 'vision' }, paging: { limit: 100, after: null } } },
    ]);
  });

  test('a list is read to its end by following next_cursor', async () => {
    await using fixture = await createFixture();
    const steps: number[] = [];
    let cursor: string | null = '';
    for (let page = 0; cursor !== null && page < 10; page++) {
      const suffix: string = cursor === '' ? '' : `&cursor=${cursor}`;
      const body = (await fixture.app.inject({ url: `/api/v1/jobs/digits/steps?limit=2${suffix}` })).json();
      steps.push(...body.items.map((item: { step: number }) => item.step));
      cursor = body.next_cursor;
    }
    expect(steps).toEqual([0, 1, 2, 3, 4]);
  });

  test.each([
    '/api/v1/jobs?limit=0',
    '/api/v1/jobs?limit=501',
    '/api/v1/jobs?limit=two',
    '/api/v1/jobs?limit=1&limit=2',
    '/api/v1/jobs?colour=red',
    '/api/v1/jobs?cursor=nonsense',
    '/api/v1/jobs/digits/steps?ranks=1,,2',
    '/api/v1/costs?period=year',
    '/api/v1/costs/explain',
    '/api/v1/overview?x=1',
  ])('%s is refused with 400 and the name of what is wrong', async (url) => {
    await using fixture = await createFixture();
    const answer = await fixture.app.inject({ url });
    expect(answer.statusCode).toBe(400);
    expect(answer.json().errors[0].path).toMatch(/^query\./);
  });

  test('a cursor of one list is not taken by another', async () => {
    await using fixture = await createFixture();
    const { next_cursor } = (await fixture.app.inject({ url: '/api/v1/jobs/digits/steps?limit=2' })).json();
    const answer = await fixture.app.inject({ url: `/api/v1/jobs?cursor=${next_cursor}` });
    expect(answer.statusCode).toBe(400);
  });

  test('names with slashes and colons arrive whole when they are encoded', async () => {
    await using fixture = await createFixture();
    const answer = await fixture.app.inject({ url: `/api/v1/models/${encodeURIComponent('org/model:7')}` });
    expect(answer.json().detail).toBe('nothing has the id "org/model:7"');
  });

  test('readiness is 503 with what is missing while the service is not ready', async () => {
    await using fixture = await createFixture();
    fixture.memory.ready = false;
    const answer = await fixture.app.inject({ url: '/readyz' });
    expect(answer.statusCode).toBe(503);
    expect(answer.json()).toMatchObject({ ready: false, checks: { store: { ok: false } } });
  });

  test('HEAD answers like GET without the body', async () => {
    await using fixture = await createFixture();
    const answer = await fixture.app.inject({ method: 'HEAD', url: '/api/v1/jobs' });
    expect([answer.statusCode, answer.payload]).toEqual([200, '']);
  });
});

describe('operating', () => {
  test.each([
    ['/api/v1/incidents/inc_1/acknowledge', 'acknowledge', { note: 'mine' }],
    ['/api/v1/incidents/inc_1/resolve', 'resolve', { note: 'mine' }],
    ['/api/v1/decisions/dec_1/approve', 'approve', { note: 'mine' }],
    ['/api/v1/decisions/dec_1/reject', 'reject', { note: 'mine' }],
    ['/api/v1/decisions/dec_1/cancel', 'cancel', { note: 'mine' }],
    ['/api/v1/rules/straggler-slow-rank/mute', 'mute', { note: 'mine' }],
    ['/api/v1/rules/straggler-slow-rank/unmute', 'unmute', { note: 'mine' }],
    ['/api/v1/sinks/ops/test', 'testSink', { note: 'mine' }],
    ['/api/v1/notifications/ntf_1/replay', 'replay', { note: 'mine' }],
  ])('POST %s passes id, actor and note on', async (url, name, body) => {
    await using fixture = await createFixture();
    const answer = await post(fixture, url, body);
    expect(answer.statusCode).toBe(200);
    expect(fixture.memory.calls).toEqual([{ name, argument: { id: url.split('/')[4], actor: 'local', note: 'mine' } }]);
  });

  test('a body is not needed where everything in it is optional', async () => {
    await using fixture = await createFixture();
    const answer = await post(fixture, '/api/v1/incidents/inc_1/acknowledge');
    expect(answer.statusCode).toBe(200);
    expect(fixture.memory.calls[0]?.argument).toEqual({ id: 'inc_1', actor: 'local', note: null });
  });

  test.each([
    [{}, NOW_MS + 3_600_000],
    [{ for_ms: 60_000 }, NOW_MS + 60_000],
    [{ until_ms: NOW_MS + 5 }, NOW_MS + 5],
  ])('snoozing with %j ends at %i', async (body, until_ms) => {
    await using fixture = await createFixture();
    await post(fixture, '/api/v1/incidents/inc_1/snooze', body);
    expect(fixture.memory.calls[0]?.argument).toMatchObject({ until_ms });
  });

  test('a silence is 201 and remembers who made it', async () => {
    await using fixture = await createFixture({ tokens: true });
    const body = { matchers: [{ field: 'job', value: 'digits*' }], ends_at_ms: NOW_MS + 1000 };
    const answer = await post(fixture, '/api/v1/silences', body, bearer('operate'));
    expect(answer.statusCode).toBe(201);
    expect(answer.json()).toMatchObject({ id: 'sil_1', created_by: 'token:operate', matchers: body.matchers });
  });

  test('approving a closed decision is 409', async () => {
    await using fixture = await createFixture();
    const answer = await post(fixture, '/api/v1/decisions/dec_closed/approve', {});
    expect([answer.statusCode, answer.json().code]).toEqual([409, 'LW-CONFLICT']);
  });

  test('a blocked sink test says that and nothing else', async () => {
    await using fixture = await createFixture();
    expect((await post(fixture, '/api/v1/sinks/ops/test')).json()).toEqual({ outcome: 'blocked' });
  });

  test('reload answers the difference', async () => {
    await using fixture = await createFixture();
    const answer = await post(fixture, '/-/reload');
    expect(answer.json()).toEqual({ changed: [{ path: 'log.level', from: 'info', to: 'debug', needs_restart: true }] });
  });

  test.each([
    ['an unknown field', { note: 'x', colour: 'red' }, 400, 'LW-BODY'],
    ['a wrong type', { note: 5 }, 400, 'LW-BODY'],
    ['a list', [], 400, 'LW-BODY'],
    ['no JSON', '{"note":', 400, 'LW-BODY'],
    ['a prototype key', '{"__proto__":{"x":1}}', 400, 'LW-BODY'],
    ['nesting of 100,000', `{"note":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, 400, 'LW-BODY'],
    ['more than 1 MiB', { note: 'x'.repeat(1_048_577) }, 413, 'LW-BODY-SIZE'],
  ])('a control body with %s is refused and nothing happens', async (_what, body, status, code) => {
    await using fixture = await createFixture();
    const answer = await post(fixture, '/api/v1/incidents/inc_1/acknowledge', body);
    expect([answer.statusCode, answer.json().code]).toEqual([status, code]);
    expect(fixture.memory.calls).toEqual([]);
  });

  test('a control body of another media type is 415', async () => {
    await using fixture = await createFixture();
    const answer = await post(fixture, '/api/v1/incidents/inc_1/acknowledge', {}, { 'content-type': 'text/plain' });
    expect([answer.statusCode, answer.json().code]).toEqual([415, 'LW-MEDIA-TYPE']);
  });
});

describe('the status of a retraining run', () => {
  const status = { state: 'succeeded', at_ms: NOW_MS, version: 'v2', metrics: { accuracy: 0.98 } };
  const url = '/api/v1/retrain-runs/run_1/status';
  const signed = (signature: string) => ({
    'webhook-id': 'msg_1',
    'webhook-timestamp': '1767225600',
    'webhook-signature': signature,
  });

  test('is taken with a right signature in place of a token', async () => {
    await using fixture = await createFixture({ tokens: true });
    const answer = await post(fixture, url, status, signed(GOOD_SIGNATURE));
    expect(answer.statusCode).toBe(200);
    expect(fixture.memory.calls).toEqual([
      { name: 'runStatus', argument: { id: 'run_1', status, actor: 'webhook:run_1' } },
    ]);
  });

  test.each([
    ['auth off', false, {}],
    ['a token of scope operate', true, bearer('operate')],
  ])('is 401 with a false signature, even with %s', async (_what, tokens, headers) => {
    await using fixture = await createFixture({ tokens });
    const answer = await post(fixture, url, status, { ...signed('v1,bad'), ...headers });
    expect([answer.statusCode, answer.json().code]).toEqual([401, 'LW-SIGNATURE']);
    expect(fixture.memory.calls).toEqual([]);
  });

  test('of an unknown run is 401 to a signature, as to a false one', async () => {
    await using fixture = await createFixture();
    const answer = await post(fixture, '/api/v1/retrain-runs/run_9/status', status, signed(GOOD_SIGNATURE));
    expect(answer.statusCode).toBe(401);
  });

  test('is taken with a token of scope operate and no signature', async () => {
    await using fixture = await createFixture({ tokens: true });
    expect((await post(fixture, url, status, bearer('operate'))).statusCode).toBe(200);
    expect((await post(fixture, url, status, bearer('ingest'))).statusCode).toBe(403);
    expect((await post(fixture, url, status)).statusCode).toBe(401);
  });

  test('must be one of the known states', async () => {
    await using fixture = await createFixture();
    const answer = await post(fixture, url, { ...status, state: 'dispatched' });
    expect(answer.json().errors).toEqual([
      { path: 'body.state', got: '"dispatched"', expected: '"running" or "succeeded" or "failed" or "cancelled"' },
    ]);
  });
});

describe('paths that do not exist', () => {
  test('are a 404 problem', async () => {
    await using fixture = await createFixture();
    for (const url of ['/api/v1/nothing', '/nothing', '/api/v1/jobs/']) {
      const answer = await fixture.app.inject({ url, headers: { accept: 'text/html' } });
      expect([url, answer.statusCode, answer.json().code]).toEqual([url, 404, 'LW-NOT-FOUND']);
    }
  });

  test('by their method are 405 and say which methods there are', async () => {
    await using fixture = await createFixture();
    const cases = [
      ['DELETE', '/api/v1/incidents/inc_1', 'GET, HEAD'],
      ['GET', '/v1/events', 'POST'],
      ['GET', '/v1/metrics', 'POST'],
      ['GET', '/api/v1/write', 'POST'],
      ['GET', '/api/v2/alerts', 'POST'],
      ['PATCH', '/api/v1/decisions/dec_1/approve', 'POST'],
      ['OPTIONS', '/api/v1/jobs', 'GET, HEAD'],
      ['PUT', '/healthz', 'GET, HEAD'],
      ['HEAD', '/api/v1/stream', 'GET'],
    ] as const;
    for (const [method, url, allow] of cases) {
      const answer = await fixture.app.inject({ method, url });
      expect([url, answer.statusCode, answer.headers['allow']]).toEqual([url, 405, allow]);
      if (method !== 'HEAD') expect(answer.json().code).toBe('LW-METHOD');
    }
  });

  test('with a malformed escape are 400', async () => {
    await using fixture = await createFixture();
    const answer = await fixture.app.inject({ url: '/api/v1/jobs/%E0%A4%A' });
    expect([answer.statusCode, answer.headers['content-type']]).toEqual([400, 'application/problem+json']);
  });
});

describe('every answer', () => {
  test('carries the security headers, problems too, and nothing of the framework', async () => {
    await using fixture = await createFixture();
    for (const url of ['/healthz', '/api/v1/jobs', '/nothing', '/api/v1/jobs?limit=0']) {
      const { headers } = await fixture.app.inject({ url });
      expect(headers).toMatchObject({
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
        'referrer-policy': 'no-referrer',
        'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
        'cache-control': 'no-store',
      });
      expect(headers).not.toHaveProperty('x-powered-by');
      expect(headers).not.toHaveProperty('access-control-allow-origin');
    }
  });

  test('to a failure of our own says nothing of its inside, and the log says all', async () => {
    await using fixture = await createFixture();
    fixture.memory.failure = new TypeError('secret detail at /src/store');
    const answer = await fixture.app.inject({ method: 'POST', url: '/v1/events', payload: '{"type":"nonsense"}' });
    expect(answer.statusCode).toBe(500);
    expect(answer.payload).not.toContain('secret detail');
    expect(answer.payload).not.toContain('.ts');
    expect(fixture.logged.join('')).toContain('secret detail at /src/store');
  });
});
