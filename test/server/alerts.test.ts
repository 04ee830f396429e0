import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { EXTERNAL_ALERTS } from '../../src/control/collections.ts';
import { openSqliteControl } from '../../src/control/sqlite.ts';
import { LIMITS } from '../../src/core/limits.ts';
import { ExternalAlerts } from '../../src/pipeline/external-alerts.ts';
import { bearer, createFixture, type Fixture } from './fixture.ts';

const URL_PATH = '/api/v2/alerts';
const labels = { alertname: 'NodeDown', instance: 'n1' };

type Open = Fixture & { readonly remembered: () => Promise<string[]> };

/** The server over a real memory of alerts. */
async function openFixture(options: { tokens?: boolean } = {}): Promise<Open> {
  const fixture = await createFixture(options);
  const control = await openSqliteControl({ data_dir: ':memory:', clock: fixture.clock });
  const alerts = new ExternalAlerts(control);
  Object.assign(fixture.memory.services.ingest, {
    alerts: (messages: Parameters<ExternalAlerts['take']>[0]) => alerts.take(messages, fixture.clock.now_ms()),
  });
  const remembered = async (): Promise<string[]> =>
    (await control.transaction((tx) => tx.list(EXTERNAL_ALERTS, {})))
      .map(({ body }) => body.labels['instance'] ?? '')
      .sort();
  return { ...fixture, remembered };
}

function post({ app }: Fixture, body: unknown, headers: Record<string, string> = {}) {
  const payload = typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
  return app.inject({
    method: 'POST',
    url: URL_PATH,
    payload,
    headers: { 'content-type': 'application/json', ...headers },
  });
}

test('alerts are answered 200 once they are remembered; the same request again changes nothing', async () => {
  await using fixture = await openFixture();
  for (let time = 0; time < 2; time++) {
    const answer = await post(fixture, [{ labels }, { labels: { ...labels, instance: 'n2' } }]);
    expect([answer.statusCode, answer.json()]).toEqual([200, {}]);
  }
  expect(await fixture.remembered()).toEqual(['n1', 'n2']);
  expect((await post(fixture, [])).statusCode).toBe(200);
});

test('the scope is ingest', async () => {
  await using fixture = await openFixture({ tokens: true });
  expect((await post(fixture, [{ labels }])).statusCode).toBe(401);
  expect((await post(fixture, [{ labels }], bearer('read'))).statusCode).toBe(403);
  expect((await post(fixture, [{ labels }], bearer('ingest'))).statusCode).toBe(200);
});

test('of a partly wrong list the right alerts are taken and the wrong ones are a 400 that names each', async () => {
  await using fixture = await openFixture();
  const answer = await post(fixture, [{ labels }, { labels: { a: 1 } }, { labels, endsAt: 'soon' }]);
  expect(answer.statusCode).toBe(400);
  expect(answer.headers['content-type']).toBe('application/problem+json');
  expect(answer.json()).toMatchObject({
    code: 'LW-BODY',
    instance: URL_PATH,
    errors: [
      { path: 'body[1].labels.a', got: 'number' },
      { path: 'body[2].endsAt', got: '"soon"', expected: 'a time of RFC 3339' },
    ],
  });
  expect(await fixture.remembered()).toEqual(['n1']);
});

test('a compressed body is unpacked', async () => {
  await using fixture = await openFixture();
  const body = gzipSync(JSON.stringify([{ labels }]));
  expect((await post(fixture, body, { 'content-encoding': 'gzip' })).statusCode).toBe(200);
  expect(await fixture.remembered()).toEqual(['n1']);
});

const deep = `${'['.repeat(10_000)}${']'.repeat(10_000)}`;
const bomb = gzipSync(Buffer.alloc(20_000_000, ' '));
test.each([
  ['nothing', '', {}, 400, 'LW-BODY'],
  ['no JSON', '[{', {}, 400, 'LW-BODY'],
  ['an object', '{"labels":{"a":"b"}}', {}, 400, 'LW-BODY'],
  ['no UTF-8', Buffer.from([0x5b, 0x22, 0xff, 0x22, 0x5d]), {}, 400, 'LW-BODY'],
  ['deep nesting', deep, {}, 400, 'LW-BODY'],
  ['another type', '[]', { 'content-type': 'text/plain' }, 415, 'LW-MEDIA-TYPE'],
  ['an unknown encoding', '[]', { 'content-encoding': 'br' }, 415, 'LW-MEDIA-TYPE'],
  ['a damaged encoding', '[]', { 'content-encoding': 'gzip' }, 400, 'LW-BODY'],
  ['a large body', `[${' '.repeat(LIMITS.external_alerts_body_bytes_max)}]`, {}, 413, 'LW-BODY-SIZE'],
  ['a bomb', bomb, { 'content-encoding': 'gzip' }, 413, 'LW-BODY-SIZE'],
] as const)('%s is refused and nothing is remembered', async (_what, body, headers, status, code) => {
  await using fixture = await openFixture();
  const answer = await post(fixture, body, headers);
  expect([answer.statusCode, answer.json().code]).toEqual([status, code]);
  expect(await fixture.remembered()).toEqual([]);
});

test('a wrong alert never echoes more than its place and the type of what was there', async () => {
  await using fixture = await openFixture();
  const answer = await post(fixture, [{ labels: { [`n${'a'.repeat(5000)}`]: { secret: 'hunter2' } } }]);
  expect(answer.body).not.toContain('hunter2');
  expect(answer.body.length).toBeLessThan(1000);
});

test('of many wrong alerts a hundred are listed and all are counted', async () => {
  await using fixture = await openFixture();
  const answer = await post(fixture, Array(500).fill(1));
  expect(answer.json().errors).toHaveLength(100);
  expect(answer.json().detail).toContain('alerts that cannot be read: 500, none was taken');
});

test('half a megabyte of quotes that escape each other is no JSON, and is found out in one pass', async () => {
  await using fixture = await createFixture();
  const answer = await fixture.app.inject({
    method: 'POST',
    url: '/api/v2/alerts',
    headers: { 'content-type': 'application/json' },
    payload: '\\"'.repeat(262_144),
  });
  expect([answer.statusCode, answer.json().code]).toEqual([400, 'LW-BODY']);
});

test('more new alerts than can be remembered are a 429 that says when to come back; known ones go on', async () => {
  await using fixture = await openFixture();
  const batch = (from: number) =>
    Array.from({ length: 1000 }, (_, index) => ({ labels: { ...labels, instance: `n${from + index}` } }));
  for (const from of [0, 1000]) expect((await post(fixture, batch(from))).statusCode).toBe(200);
  const answer = await post(fixture, batch(1500)); // 500 known, 500 new
  expect([answer.statusCode, answer.json().code]).toEqual([429, 'LW-OVERLOADED']);
  expect(answer.json().detail).toMatch(/^500 new alerts were refused/);
  expect(answer.headers['retry-after']).toBe('2');
  expect((await post(fixture, batch(0))).statusCode).toBe(200);
  expect(await fixture.remembered()).toHaveLength(LIMITS.external_alerts_max);
});
