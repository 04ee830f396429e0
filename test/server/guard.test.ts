import { describe, expect, test } from 'vitest';
import { bearer, createFixture } from './fixture.ts';

const BEARER_OF_ALL = ['ingest', 'read', 'operate', 'approve', 'admin'];

describe('routes', () => {
  test('all declare a scope, except health, readiness and the files of the console', async () => {
    await using fixture = await createFixture({ installation: new URL('../..', import.meta.url).pathname });
    const open = fixture.routes.filter((route) => route.scope === null && route.documented).map((route) => route.path);
    expect(open.sort()).toEqual(['/healthz', '/readyz']);
    for (const route of fixture.routes.filter((other) => !other.documented)) {
      expect(route.method).toBe('GET');
      expect(route.path).not.toMatch(/^\/(api|v1|-)\//);
    }
  });

  test('follow the table of scopes in the contract', async () => {
    await using fixture = await createFixture();
    const scopes = Object.fromEntries(fixture.routes.map((route) => [`${route.method} ${route.path}`, route.scope]));
    expect(scopes).toMatchObject({
      'POST /v1/events': 'ingest',
      'GET /metrics': 'read',
      'GET /openapi.json': 'read',
      'GET /api/v1/audit': 'read',
      'GET /api/v1/stream': 'read',
      'POST /api/v1/silences': 'operate',
      'POST /api/v1/sinks/{id}/test': 'operate',
      'POST /api/v1/decisions/{id}/approve': 'approve',
      'POST /api/v1/decisions/{id}/reject': 'approve',
      'POST /api/v1/decisions/{id}/cancel': 'approve',
      'POST /-/reload': 'admin',
    });
    for (const [route, scope] of Object.entries(scopes))
      if (route.startsWith('GET /api/')) expect([route, scope]).toEqual([route, 'read']);
  });
});

describe('with tokens', () => {
  test('every route is open to its own scope and to admin, and to no other', async () => {
    await using fixture = await createFixture({ tokens: true });
    const guarded = fixture.routes.filter((route) => route.scope !== null && route.answer !== 'text/event-stream');
    for (const route of guarded) {
      const url = route.path.replaceAll(/\{\w+\}/g, 'none');
      for (const scope of BEARER_OF_ALL) {
        const answer = await fixture.app.inject({ method: route.method, url, headers: bearer(scope) });
        const allowed = scope === route.scope || scope === 'admin';
        // 403 comes before anything else is looked at: the object does not exist and the body is missing.
        expect([route.path, scope, answer.statusCode === 403]).toEqual([route.path, scope, !allowed]);
        expect(answer.statusCode).not.toBe(401);
      }
    }
  });

  test('a missing, a wrong and an expired token get one and the same 401', async () => {
    await using fixture = await createFixture({ tokens: true });
    const headers = [
      {},
      { authorization: 'Bearer lw_read_wrong' },
      { authorization: 'Bearer lw_nobody_s3cret-read' },
      { authorization: 'Bearer lw_over_s3cret-over' },
      { authorization: 'Basic cmVhZDpyZWFk' },
      { authorization: 'Bearer lw_read_' },
      { authorization: `Bearer lw_${'_'.repeat(5000)}` },
      { authorization: 'Bearer lw_read_s3cret-read extra' },
    ];
    const answers = await Promise.all(
      headers.map((header) => fixture.app.inject({ url: '/api/v1/jobs', headers: header })),
    );
    for (const answer of answers) {
      expect(answer.statusCode).toBe(401);
      expect(answer.payload).toBe(answers[0]?.payload);
      expect(answer.headers['www-authenticate']).toBe('Bearer realm="leeway"');
    }
  });

  test('the scheme is read in any case', async () => {
    await using fixture = await createFixture({ tokens: true });
    const headers = { authorization: 'bearer lw_read_s3cret-read' };
    expect((await fixture.app.inject({ url: '/api/v1/jobs', headers })).statusCode).toBe(200);
  });

  test('paths that do not exist under the API tell nothing to strangers', async () => {
    await using fixture = await createFixture({ tokens: true });
    const codeOf = async (url: string, headers = {}) => (await fixture.app.inject({ url, headers })).statusCode;
    expect(await codeOf('/api/v1/nothing')).toBe(401);
    expect(await codeOf('/api/v1/nothing', bearer('ingest'))).toBe(404);
    expect(await codeOf('/v1/events')).toBe(401);
    expect(await codeOf('/nothing')).toBe(404);
  });

  test('health and readiness need none', async () => {
    await using fixture = await createFixture({ tokens: true });
    expect((await fixture.app.inject({ url: '/healthz' })).statusCode).toBe(200);
    expect((await fixture.app.inject({ url: '/readyz' })).statusCode).toBe(200);
  });

  test('names of other hosts are served, since a token has to be shown', async () => {
    await using fixture = await createFixture({ tokens: true });
    const headers = { ...bearer('read'), host: 'leeway.example:8787' };
    expect((await fixture.app.inject({ url: '/api/v1/jobs', headers })).statusCode).toBe(200);
  });

  test('no secret reaches the log', async () => {
    await using fixture = await createFixture({ tokens: true });
    await fixture.app.inject({ url: '/api/v1/jobs', headers: bearer('read') });
    await fixture.app.inject({ url: '/api/v1/jobs?token=lw_read_s3cret-read', headers: bearer('read') });
    expect(fixture.logged.length).toBeGreaterThan(0);
    expect(fixture.logged.join('')).not.toContain('s3cret');
  });
});

describe('without tokens', () => {
  test.each(['localhost', 'localhost:8787', '127.0.0.1:8787', '127.9.9.9', '[::1]:8787', 'box.localhost'])(
    'the name %s of this machine is served',
    async (host) => {
      await using fixture = await createFixture();
      expect((await fixture.app.inject({ url: '/api/v1/jobs', headers: { host } })).statusCode).toBe(200);
    },
  );

  test.each(['evil.example', '127.0.0.1.evil.example', 'localhost.evil.example:8787', '10.0.0.5', '[::2]', '0.0.0.0'])(
    'a page that rebinds %s to this machine is refused',
    async (host) => {
      await using fixture = await createFixture();
      const answer = await fixture.app.inject({ url: '/api/v1/jobs', headers: { host } });
      expect([answer.statusCode, answer.json().code]).toEqual([403, 'LW-ORIGIN']);
    },
  );

  test.each(['a b', 'user@localhost', 'localhost/x'])('the host "%s" is malformed', async (host) => {
    await using fixture = await createFixture();
    const answer = await fixture.app.inject({ url: '/api/v1/jobs', headers: { host } });
    expect([answer.statusCode, answer.json().code]).toEqual([400, 'LW-HTTP']);
  });

  test('the host of public_url is served as well', async () => {
    await using fixture = await createFixture({ public_url: 'https://leeway.example' });
    const headers = { host: 'leeway.example' };
    expect((await fixture.app.inject({ url: '/api/v1/jobs', headers })).statusCode).toBe(200);
  });

  test.each([
    { origin: 'https://evil.example' },
    { origin: 'null' },
    { origin: 'http://localhost:9999' },
    { 'sec-fetch-site': 'cross-site' },
  ])('a page of another origin (%j) may not change anything, and may not ingest', async (headers) => {
    await using fixture = await createFixture();
    for (const url of ['/api/v1/incidents/inc_1/acknowledge', '/v1/events']) {
      const answer = await fixture.app.inject({ method: 'POST', url, headers: { host: 'localhost:8787', ...headers } });
      expect([answer.statusCode, answer.json().code]).toEqual([403, 'LW-ORIGIN']);
    }
    expect(fixture.memory.calls).toEqual([]);
  });

  test('the console itself may', async () => {
    await using fixture = await createFixture();
    const headers = { host: 'localhost:8787', origin: 'http://localhost:8787', 'sec-fetch-site': 'same-origin' };
    const url = '/api/v1/incidents/inc_1/acknowledge';
    expect((await fixture.app.inject({ method: 'POST', url, headers })).statusCode).toBe(200);
  });
});
