import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { decodeLink, type LinkMessage } from '../../src/formats/link-batch.ts';
import { type GatewayLink, type LinkEvent, openGatewayLink } from '../../src/transport/forward-link.ts';
import { stepRecord } from '../contract/records.ts';

const never = new AbortController().signal;
const ONE: LinkMessage = { frames: [{ source: 'a', epoch: 7, sequence: 1, records: [stepRecord(1)] }], gaps: [] };
const TAKEN = JSON.stringify({ accepted: 1, rejected: [] });

type Asked = { readonly type: string; readonly authorization: string; readonly body: Buffer };
type Place = { readonly link: GatewayLink; readonly asked: Asked[]; readonly events: LinkEvent[] } & AsyncDisposable;

/** A link to a server that answers as `answer` says. */
async function place(
  answer: (response: ServerResponse, asked: Asked) => void,
  options: { clock?: Clock; timeout_ms?: number; readToken?: () => Promise<string | null> } = {},
): Promise<Place> {
  const asked: Asked[] = [];
  const events: LinkEvent[] = [];
  const server = createServer((request: IncomingMessage, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { 'content-type': type = '', authorization = '' } = request.headers;
      const one = { type, authorization, body: Buffer.concat(chunks) };
      asked.push(one);
      answer(response, one);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // a TCP address, since it listens on a port
  const link = await openGatewayLink({
    url: `http://127.0.0.1:${port}`,
    readToken: async () => null,
    clock: systemClock,
    onEvent: (event) => void events.push(event),
    ...options,
  });
  return {
    link,
    asked,
    events,
    [Symbol.asyncDispose]: async () => {
      link[Symbol.dispose]();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function saying(status: number, body = '', headers: Record<string, string> = {}) {
  return (response: ServerResponse): void => void response.writeHead(status, headers).end(body);
}

test('each status means that the message is taken, comes again, or never will be taken', async () => {
  for (const [status, body, wanted] of [
    [200, TAKEN, { kind: 'ok', value: { declared: true } }],
    [413, '', { kind: 'reject', code: 'LW-BODY-SIZE' }],
    [422, '', { kind: 'reject', code: 'LW-DELIVERY' }],
    [401, '', { kind: 'retry', code: 'LW-UNAUTHENTICATED' }],
    [403, '', { kind: 'retry', code: 'LW-UNAUTHENTICATED' }],
    [404, '', { kind: 'retry', code: 'LW-UNREACHABLE' }], // a wrong address must not cost records
    [429, '', { kind: 'retry', code: 'LW-OVERLOADED' }],
    [500, '', { kind: 'retry', code: 'LW-UNREACHABLE' }],
    [301, '', { kind: 'retry', code: 'LW-UNREACHABLE' }],
    [200, '<html>', { kind: 'retry', code: 'LW-UNREACHABLE' }], // some other server
  ] as const) {
    await using there = await place(saying(status, body));
    expect(await there.link.send(ONE, never), `${status}`).toMatchObject(wanted);
  }
});

test('a message goes as one request whose body says it', async () => {
  await using there = await place(saying(200, TAKEN), { readToken: async () => 'lw_x_y' });
  await there.link.send(ONE, never);
  expect(there.asked).toMatchObject([{ type: 'application/vnd.leeway.batch.v1', authorization: 'Bearer lw_x_y' }]);
  expect(decodeLink(there.asked[0]?.body ?? Buffer.alloc(0))).toEqual({ kind: 'ok', value: ONE });
});

test('gateways that do not know batches get NDJSON, and batches again after ten minutes', async () => {
  for (const older of [
    saying(415),
    saying(400, JSON.stringify({ code: 'LW-BODY', errors: [{ path: 'line 1', got: 'not UTF-8' }] })),
    saying(400, '<html>'),
    saying(200, JSON.stringify({ accepted: 0, rejected: [{}, {}], rejected_count: 2 })), // it counted lines
  ]) {
    let now_ms = 1;
    const clock: Clock = { ...systemClock, elapsed_ms: () => now_ms };
    await using there = await place(
      (response, { type }) => (type === 'application/x-ndjson' ? saying(200, TAKEN) : older)(response),
      { clock },
    );
    const gap = { source: 'a', epoch: 7, run: '', reason: 'x', records: 1, ranges: [] };
    expect(await there.link.send({ ...ONE, gaps: [gap] }, never)).toEqual({ kind: 'ok', value: { declared: false } });
    expect(await there.link.send(ONE, never)).toMatchObject({ kind: 'ok' });
    const types = (): string[] => there.asked.map(({ type }) => type.replace('application/', ''));
    expect(types()).toEqual(['vnd.leeway.batch.v1', 'x-ndjson', 'x-ndjson']);
    expect(there.asked[1]?.body.toString()).toBe(`${JSON.stringify(stepRecord(1))}\n`);
    expect(there.events.map(({ kind }) => kind)).toEqual(['gateway_older']);
    now_ms += 600_001;
    await there.link.send(ONE, never);
    expect(types().at(-2)).toBe('vnd.leeway.batch.v1');
  }
});

test('a gateway that judged a batch is not an older one: the message is refused, and the next goes as batches', async () => {
  const problem = JSON.stringify({ code: 'LW-BODY', errors: [{ path: 'batch', got: 'the batch is damaged' }] });
  await using there = await place(saying(400, problem));
  expect(await there.link.send(ONE, never)).toMatchObject({ kind: 'reject', code: 'LW-DELIVERY' });
  await there.link.send(ONE, never);
  expect(there.asked.map(({ type }) => type)).toEqual(Array(2).fill('application/vnd.leeway.batch.v1'));
  expect(there.events).toEqual([]);
});

test('a gateway that could not write down what was lost is told again', async () => {
  await using there = await place(saying(200, JSON.stringify({ accepted: 1, rejected: [], undeclared_count: 1 })));
  expect(await there.link.send(ONE, never)).toEqual({ kind: 'ok', value: { declared: false } });
});

test('records that a gateway did not take are told, and the message is taken', async () => {
  const rejected = [{ line: 1, code: 'LW-RECORD-FIELD', reason: 'step: missing rank' }];
  await using there = await place(saying(200, JSON.stringify({ accepted: 0, rejected })));
  expect(await there.link.send(ONE, never)).toMatchObject({ kind: 'ok' });
  expect(there.events).toEqual([
    { kind: 'gateway_rejected', records: 1, reason: 'LW-RECORD-FIELD step: missing rank' },
  ]);
});

test('a gateway that asks for rest is left alone that long, a minute at most', async () => {
  let now_ms = 0;
  const clock: Clock = { ...systemClock, elapsed_ms: () => now_ms };
  await using there = await place(saying(503, '', { 'retry-after': '3600' }), { clock });
  expect(await there.link.send(ONE, never)).toMatchObject({ kind: 'retry', after_ms: 60_000 });
  now_ms = 20_000;
  expect(await there.link.send(ONE, never)).toMatchObject({ code: 'LW-OVERLOADED', after_ms: 40_000 });
  expect(there.asked.length).toBe(1);
  now_ms = 60_000;
  await there.link.send(ONE, never);
  expect(there.asked.length).toBe(2);
});

test('a token that is not known is read again before the next message', async () => {
  const tokens = ['old', 'new'];
  await using there = await place(
    (response, { authorization }) => (authorization === 'Bearer new' ? saying(200, TAKEN) : saying(401))(response),
    { readToken: async () => tokens.shift() ?? null },
  );
  expect(await there.link.send(ONE, never)).toMatchObject({ code: 'LW-UNAUTHENTICATED' });
  expect(await there.link.send(ONE, never)).toMatchObject({ kind: 'ok' });
});

test('silence, an address without a server and the end of draining are failures of the moment', async () => {
  await using silent = await place(() => undefined, { timeout_ms: 20 });
  expect(await silent.link.send(ONE, never)).toMatchObject({ kind: 'retry', code: 'LW-TIMEOUT' });
  expect(await silent.link.send(ONE, AbortSignal.abort())).toMatchObject({ kind: 'retry', code: 'LW-TIMEOUT' });
  const gone = await openGatewayLink({
    url: 'http://127.0.0.1:1',
    readToken: async () => null,
    clock: systemClock,
    onEvent: () => undefined,
  });
  expect(await gone.send(ONE, never)).toMatchObject({
    kind: 'retry',
    code: 'LW-UNREACHABLE',
    reason: expect.stringContaining('ECONNREFUSED'),
  });
  gone[Symbol.dispose]();
});
