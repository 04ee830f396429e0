import { deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { LeewayError } from '../../src/core/errors.ts';
import { createFixture, type Fixture, stepLine } from './fixture.ts';
import { NOW_MS } from './memory.ts';

const NDJSON = { 'content-type': 'application/x-ndjson' };

function post(fixture: Fixture, payload: string | Buffer, headers: Record<string, string> = {}) {
  return fixture.app.inject({ method: 'POST', url: '/v1/events', payload, headers: { ...NDJSON, ...headers } });
}

describe('POST /v1/events', () => {
  test('answers how many records were accepted once the service says that they are durable', async () => {
    await using fixture = await createFixture();
    const answer = await post(fixture, `${stepLine(1)}\n${stepLine(2)}\r\n\n${stepLine(3)}`);
    expect(answer.statusCode).toBe(200);
    expect(answer.json()).toEqual({ accepted: 3, rejected: [] });
    expect(fixture.memory.batches[0]?.records.map((record) => Reflect.get(record, 'step'))).toEqual([1, 2, 3]);
  });

  test('rejects a wrong line alone, by its number, with code and reason', async () => {
    await using fixture = await createFixture();
    const answer = await post(
      fixture,
      `${stepLine(1)}\n{"type":"nonsense"}\nnot json\n${stepLine(2)}\n{"type":"step"}\n`,
    );
    expect(answer.statusCode).toBe(200);
    const body = answer.json();
    expect(body.accepted).toBe(2);
    expect(body.rejected.map((item: { line: number; code: string }) => [item.line, item.code])).toEqual([
      [2, 'LW-RECORD-TYPE'],
      [3, 'LW-RECORD-JSON'],
      [5, 'LW-RECORD-FIELD'],
    ]);
    expect(fixture.memory.batches[0]?.rejected).toEqual({
      'LW-RECORD-TYPE': 1,
      'LW-RECORD-JSON': 1,
      'LW-RECORD-FIELD': 1,
    });
  });

  test('rejects a record whose clock is more than a day ahead, alone, and keeps the line; takes one of years ago', async () => {
    await using fixture = await createFixture();
    const at = (at_ms: number): string => JSON.stringify({ type: 'host', node: 'n', at_ms });
    const ahead = at(NOW_MS + 86_400_001);
    const answer = await post(fixture, [at(NOW_MS), ahead, at(NOW_MS + 86_400_000), at(946_684_800_000)].join('\n'));
    expect(answer.statusCode).toBe(200);
    expect(answer.json()).toEqual({
      accepted: 3,
      rejected: [{ line: 2, code: 'LW-RECORD-CLOCK', reason: expect.stringContaining('2026-01-01T00:00:00.000Z') }],
    });
    expect(fixture.memory.batches[0]).toMatchObject({
      rejected: { 'LW-RECORD-CLOCK': 1 },
      set_aside: [{ code: 'LW-RECORD-CLOCK', raw: ahead }],
    });
  });

  test('refuses batches of a version that it does not know with 415 and the one that it does', async () => {
    await using fixture = await createFixture();
    const answer = await post(fixture, Buffer.from([2, 0]), { 'content-type': 'application/vnd.leeway.batch.v2' });
    expect([answer.statusCode, fixture.memory.batches.length]).toEqual([415, 0]);
    expect(answer.json()).toMatchObject({
      code: 'LW-MEDIA-TYPE',
      errors: [{ path: 'content-type', expected: 'application/vnd.leeway.batch.v1' }],
    });
    // the version within the message is judged too
    const inside = await post(fixture, Buffer.from([2, 0]), { 'content-type': 'application/vnd.leeway.batch.v1' });
    expect(inside.statusCode).toBe(415);
    expect(inside.json().detail).toMatch(/version 2 of the batch; understood: 1/);
  });

  test('rejects a line of 10 MB alone and takes its neighbours', async () => {
    await using fixture = await createFixture();
    const answer = await post(fixture, `${stepLine(1)}\n"${'x'.repeat(10_000_000)}"\n${stepLine(2)}`);
    expect(answer.json()).toMatchObject({ accepted: 2, rejected: [{ line: 2, code: 'LW-RECORD-SIZE' }] });
  });

  test('rejects a line that is not UTF-8 alone', async () => {
    await using fixture = await createFixture();
    const answer = await post(fixture, Buffer.concat([Buffer.from([0xff, 0xfe, 10]), Buffer.from(stepLine(1))]));
    expect(answer.json()).toMatchObject({ accepted: 1, rejected: [{ line: 1, code: 'LW-RECORD-JSON' }] });
  });

  test('lists the first 100 rejected lines and counts all of them', async () => {
    await using fixture = await createFixture();
    const answer = await post(fixture, `${'{"type":"nonsense"}\n'.repeat(150)}${stepLine(1)}`);
    const body = answer.json();
    expect([body.accepted, body.rejected.length, body.rejected_count]).toEqual([1, 100, 150]);
  });

  test.each([
    ['an empty body', ''],
    ['blank lines', '\n\n \n'],
    ['no line of JSON', 'hello\nworld'],
  ])('answers 400 to %s, because nothing could be read', async (_what, body) => {
    await using fixture = await createFixture();
    const answer = await post(fixture, body);
    expect(answer.statusCode).toBe(400);
    expect(answer.headers['content-type']).toBe('application/problem+json');
    expect(answer.json()).toMatchObject({ code: 'LW-BODY', status: 400, instance: '/v1/events' });
    expect(fixture.memory.batches).toEqual([]);
  });

  test('answers 200 when every line is JSON but none is a valid record', async () => {
    await using fixture = await createFixture();
    const answer = await post(fixture, '{"type":"nonsense"}');
    expect(answer.statusCode).toBe(200);
    expect(answer.json()).toMatchObject({ accepted: 0, rejected: [{ line: 1 }] });
  });

  test.each([
    ['gzip', gzipSync],
    ['x-gzip', gzipSync],
    ['deflate', deflateSync],
    ['zstd', zstdCompressSync],
  ] as const)('unpacks %s', async (encoding, pack) => {
    await using fixture = await createFixture();
    const answer = await post(fixture, pack(Buffer.from(`${stepLine(1)}\n${stepLine(2)}\n`)), {
      'content-encoding': encoding,
    });
    expect(answer.json()).toEqual({ accepted: 2, rejected: [] });
  });

  test.each([
    ['gzip', gzipSync],
    ['zstd', zstdCompressSync],
  ] as const)('reads a %s body of several members to its end, whatever their size', async (encoding, pack) => {
    await using fixture = await createFixture();
    const lines = (from: number, count: number): Buffer =>
      Buffer.from(Array.from({ length: count }, (_, step) => `${stepLine(from + step)}\n`).join(''));
    const skippable = encoding === 'zstd' ? [Buffer.from('502a4d180300000001020a', 'hex')] : [];
    const one = Buffer.concat([...skippable, pack(lines(0, 1)), ...skippable, pack(lines(1, 1)), ...skippable]);
    const answer = await post(fixture, one, { 'content-encoding': encoding });
    expect(answer.json()).toEqual({ accepted: 2, rejected: [] });
    const noise = Array.from({ length: 5 }, (_, part) => pack(lines(2 + part * 3_000, 3_000)));
    const large = await post(fixture, Buffer.concat(noise), { 'content-encoding': encoding });
    expect(large.json()).toEqual({ accepted: 15_000, rejected: [] });
  });

  test('refuses a zstd body that is cut in its second frame, is garbage after the first, or has a thousand more', async () => {
    await using fixture = await createFixture();
    const frame = zstdCompressSync(Buffer.from(`${stepLine(1)}\n`));
    const bodies = [
      Buffer.concat([frame, frame.subarray(0, -3)]),
      Buffer.concat([frame, Buffer.from('garbage')]),
      Buffer.concat(Array.from({ length: 1_001 }, () => frame)),
      Buffer.alloc(0),
    ];
    for (const body of bodies) {
      const answer = await post(fixture, body, { 'content-encoding': 'zstd' });
      expect([answer.statusCode, answer.json().code]).toEqual([400, 'LW-BODY']);
    }
    expect(fixture.memory.batches).toEqual([]);
  });

  test('refuses a zstd bomb of many frames, each of which is none by itself', async () => {
    await using fixture = await createFixture();
    const frame = zstdCompressSync(Buffer.alloc(40_000)); // smaller than what is unpacked at a time: a call each
    const answer = await post(fixture, Buffer.concat(Array.from({ length: 300 }, () => frame)), {
      'content-encoding': 'zstd',
    });
    expect([answer.statusCode, answer.json().code]).toEqual([413, 'LW-BODY-SIZE']);
    expect(answer.json().detail).toContain('100:1'); // of all frames together, before what they hold is looked at
  });

  test('refuses an encoding that it does not know with 415', async () => {
    await using fixture = await createFixture();
    const answer = await post(fixture, stepLine(1), { 'content-encoding': 'br' });
    expect(answer.statusCode).toBe(415);
    expect(answer.json().code).toBe('LW-MEDIA-TYPE');
  });

  test.each([
    ['cut', gzipSync(Buffer.from(`${stepLine(1)}\n`.repeat(100))).subarray(0, 60)],
    ['not gzip at all', Buffer.from(stepLine(1))],
  ])('answers 400 to a gzip body that is %s and stores nothing of it', async (_what, body) => {
    await using fixture = await createFixture();
    const answer = await post(fixture, body, { 'content-encoding': 'gzip' });
    expect(answer.statusCode).toBe(400);
    expect(answer.json().code).toBe('LW-BODY');
    expect(fixture.memory.batches).toEqual([]);
  });

  test('refuses a body of more than 16 MiB as sent with 413', async () => {
    await using fixture = await createFixture();
    const answer = await post(fixture, Buffer.alloc(16 * 1_048_576 + 1, 10));
    expect(answer.statusCode).toBe(413);
    expect(answer.json().code).toBe('LW-BODY-SIZE');
  });

  test('refuses a body that unpacks to more than 32 MiB with 413', async () => {
    await using fixture = await createFixture();
    const lines = Buffer.from(Array.from({ length: 240_000 }, (_, step) => `${stepLine(step * 7919)}\n`).join(''));
    expect(lines.length).toBeGreaterThan(32 * 1_048_576);
    const packed = zstdCompressSync(lines);
    expect(packed.length).toBeGreaterThan(lines.length / 100); // not a bomb: the size alone refuses it
    const answer = await post(fixture, packed, { 'content-encoding': 'zstd' });
    expect(answer.statusCode).toBe(413);
  });

  test.each([
    ['gzip', gzipSync],
    ['zstd', zstdCompressSync],
  ] as const)('refuses a %s bomb of 20 MiB of zeros by its ratio with 413', async (encoding, pack) => {
    await using fixture = await createFixture();
    const answer = await post(fixture, pack(Buffer.alloc(20 * 1_048_576)), { 'content-encoding': encoding });
    expect(answer.statusCode).toBe(413);
    expect(answer.json().detail).toContain('100:1');
  });

  test('passes the name of a batch on, and acknowledges its repeat without storing it', async () => {
    await using fixture = await createFixture();
    const name = { 'x-leeway-source': 'node-1', 'x-leeway-epoch': '9007199254740991', 'x-leeway-sequence': '7' };
    const first = await post(fixture, stepLine(1), name);
    const second = await post(fixture, stepLine(1), name);
    expect([first.json(), second.json()]).toEqual([
      { accepted: 1, rejected: [] },
      { accepted: 1, rejected: [] },
    ]);
    expect(fixture.memory.batches.length).toBe(1);
    expect(fixture.memory.batches[0]?.identity).toEqual({
      source: 'node-1',
      epoch: 9_007_199_254_740_991,
      sequence: 7,
    });
  });

  test.each([
    [{ 'x-leeway-epoch': '1', 'x-leeway-sequence': '1' }, ['X-Leeway-Source']],
    [{ 'x-leeway-source': 'a', 'x-leeway-epoch': '1' }, ['X-Leeway-Sequence']],
    [
      { 'x-leeway-source': 'a', 'x-leeway-epoch': '-1', 'x-leeway-sequence': '0' },
      ['X-Leeway-Epoch', 'X-Leeway-Sequence'],
    ],
    [{ 'x-leeway-source': 'a', 'x-leeway-epoch': '9007199254740992', 'x-leeway-sequence': '1' }, ['X-Leeway-Epoch']],
    [{ 'x-leeway-source': 'a'.repeat(129) }, ['X-Leeway-Source']],
  ])('refuses the half name %j with 400 and every error', async (headers, paths) => {
    await using fixture = await createFixture();
    const answer = await post(fixture, stepLine(1), headers);
    expect(answer.statusCode).toBe(400);
    expect(answer.json().errors.map((error: { path: string }) => error.path)).toEqual(paths);
  });

  test.each([
    ['LW-SPOOL-FULL', 503],
    ['LW-STORE-GONE', 503],
    ['LW-OVERLOADED', 429],
  ] as const)('answers %s as %i with Retry-After', async (code, status) => {
    await using fixture = await createFixture();
    fixture.memory.failure = new LeewayError(code, 'full');
    const answer = await post(fixture, stepLine(1));
    expect(answer.statusCode).toBe(status);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
  });

  test('counts what it received and what it rejected by code', async () => {
    await using fixture = await createFixture();
    await post(fixture, `${stepLine(1)}\n{"type":"nonsense"}\n${stepLine(2)}`);
    const { payload } = await fixture.app.inject({ url: '/metrics' });
    expect(payload).toContain('leeway_records_received_total{source_kind="sender"} 3');
    expect(payload).toContain('leeway_records_rejected_total{code="LW-RECORD-TYPE"} 1');
  });
});
