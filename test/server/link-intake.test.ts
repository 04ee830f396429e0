import { zstdCompressSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { LeewayError } from '../../src/core/errors.ts';
import { LIMITS } from '../../src/core/limits.ts';
import { encodeLink, type LinkMessage } from '../../src/formats/link-batch.ts';
import { createFixture, type Fixture, stepLine } from './fixture.ts';
import { NOW_MS } from './memory.ts';

const TYPE = 'application/vnd.leeway.batch.v1';

function post(fixture: Fixture, payload: Buffer, headers: Record<string, string> = {}) {
  return fixture.app.inject({
    method: 'POST',
    url: '/v1/events',
    payload,
    headers: { 'content-type': TYPE, ...headers },
  });
}

function message(...records: (readonly unknown[])[]): LinkMessage {
  return {
    frames: records.map((some, index) => ({
      source: 'workload@n',
      epoch: 7,
      sequence: index + 1,
      records: some as readonly object[], // what JSON.parse made
    })),
    gaps: [],
  };
}

const step = (number: number): unknown => JSON.parse(stepLine(number));

test('takes every batch of a message under its own name, packed or not', async () => {
  for (const encoding of ['identity', 'zstd', 'none']) {
    await using fixture = await createFixture();
    const bytes = encodeLink(message([step(1), step(2)], [step(3)]));
    const payload = encoding === 'zstd' ? zstdCompressSync(bytes) : bytes;
    const answer = await post(fixture, payload, encoding === 'none' ? {} : { 'content-encoding': encoding });
    expect([answer.statusCode, answer.json()]).toEqual([200, { accepted: 3, rejected: [] }]);
    expect(fixture.memory.batches.map(({ identity, records }) => [identity, records])).toEqual([
      [{ source: 'workload@n', epoch: 7, sequence: 1 }, [step(1), step(2)]],
      [{ source: 'workload@n', epoch: 7, sequence: 2 }, [step(3)]],
    ]);
  }
});

test('a wrong record costs itself alone and is kept, its line is its place in the message', async () => {
  await using fixture = await createFixture();
  const ahead = { type: 'host', node: 'n', at_ms: NOW_MS + 86_400_001 };
  const answer = await post(fixture, encodeLink(message([step(1), { type: 'step' }], [ahead], [step(2)])));
  expect(answer.json()).toMatchObject({
    accepted: 2,
    rejected: [
      { line: 2, code: 'LW-RECORD-FIELD' },
      { line: 4, code: 'LW-RECORD-CLOCK' }, // batches of one type stand together
    ],
  });
  expect(fixture.memory.batches.map((batch) => batch.rejected)).toEqual([
    { 'LW-RECORD-FIELD': 1 },
    {},
    { 'LW-RECORD-CLOCK': 1 },
  ]);
  expect(fixture.memory.batches[2]?.set_aside).toMatchObject([{ code: 'LW-RECORD-CLOCK', raw: JSON.stringify(ahead) }]);
});

test('lists the first rejected records and counts all of them', async () => {
  await using fixture = await createFixture();
  const bad = Array.from({ length: LIMITS.rejected_listed_max + 20 }, (_, index) => ({ type: 'nonsense', index }));
  const body = (await post(fixture, encodeLink(message(bad)))).json();
  expect(body.rejected.length).toBe(LIMITS.rejected_listed_max);
  expect(body).toMatchObject({ accepted: 0, rejected_count: LIMITS.rejected_listed_max + 20 });
});

test('a record of more than a mebibyte is rejected alone', async () => {
  await using fixture = await createFixture();
  const large = { ...Object(step(1)), note: 'x'.repeat(LIMITS.record_bytes_max) };
  const answer = await post(fixture, encodeLink(message([large, step(2)])));
  expect(answer.json()).toMatchObject({ accepted: 1, rejected: [{ line: 1, code: 'LW-RECORD-SIZE' }] });
});

test('what a sender gave up goes to the service, also without a batch', async () => {
  await using fixture = await createFixture();
  const gap = { source: 's', epoch: 7, run: '', reason: 'spool_full_oldest', records: 3, ranges: [[1, 2]] as const };
  const answer = await post(fixture, encodeLink({ frames: [], gaps: [gap] }));
  expect([answer.statusCode, answer.json()]).toEqual([200, { accepted: 0, rejected: [] }]);
  expect(fixture.memory.calls).toContainEqual({ name: 'declare', argument: [gap] });
});

test('records are taken whatever becomes of the gaps beside them, and the sender is told to tell those again', async () => {
  await using fixture = await createFixture();
  const gap = { source: 's', epoch: 7, run: '', reason: 'spool_full_oldest', records: 3, ranges: [] };
  const both = encodeLink({ ...message([step(1)]), gaps: [gap, { ...gap, epoch: 8 }] });
  const { ingest } = fixture.memory.services;
  ingest.declare = async () => 1; // one found no room
  expect((await post(fixture, both)).json()).toEqual({ accepted: 1, rejected: [], undeclared_count: 1 });
  ingest.declare = async () => {
    throw new LeewayError('LW-CONTROL-GONE', 'away');
  };
  expect((await post(fixture, both)).json()).toEqual({ accepted: 1, rejected: [], undeclared_count: 2 });
  expect(fixture.memory.batches).toHaveLength(1); // the second was a repeat
  expect((await post(fixture, encodeLink({ frames: [], gaps: [gap] }))).statusCode).toBe(503);
});

test('a message of more than 1,024 gaps is refused', async () => {
  await using fixture = await createFixture();
  const gaps = Array.from({ length: 1_025 }, (_, epoch) => {
    return { source: 's', epoch, run: '', reason: 'spool_full_oldest', records: 3, ranges: [] };
  });
  expect((await post(fixture, encodeLink({ frames: [], gaps: gaps.slice(1) }))).statusCode).toBe(200);
  expect((await post(fixture, encodeLink({ frames: [], gaps }))).json()).toMatchObject({
    status: 400,
    code: 'LW-BODY',
  });
});

test('a service that cannot take it now makes the whole message come again', async () => {
  await using fixture = await createFixture();
  fixture.memory.failure = new LeewayError('LW-SPOOL-FULL', 'full');
  const answer = await post(fixture, encodeLink(message([step(1)], [step(2)])));
  expect(answer.statusCode).toBe(503);
  expect(answer.headers['retry-after']).toMatch(/^\d+$/);
});

test('damaged, foreign and newer bodies are refused with what is understood', async () => {
  await using fixture = await createFixture();
  const bytes = encodeLink(message([step(1)]));
  expect((await post(fixture, bytes.subarray(0, 40))).json()).toMatchObject({
    status: 400,
    code: 'LW-BODY',
    errors: [{ path: 'batch' }], // what tells it from a gateway that reads lines
  });
  expect((await post(fixture, Buffer.alloc(0))).json()).toMatchObject({ status: 400, code: 'LW-BODY' });
  expect((await post(fixture, bytes, { 'content-encoding': 'zstd' })).json()).toMatchObject({ code: 'LW-BODY' });
  const newer = await post(fixture, bytes, { 'content-type': 'application/vnd.leeway.batch.v2' });
  expect(newer.json()).toMatchObject({
    status: 415,
    code: 'LW-MEDIA-TYPE',
    errors: [{ got: 'application/vnd.leeway.batch.v2', expected: TYPE }],
  });
  const inside = Buffer.from(bytes);
  inside[0] = 2;
  expect((await post(fixture, inside)).json()).toMatchObject({
    status: 415,
    detail: expect.stringContaining('understood: 1'),
  });
  expect(fixture.memory.batches).toEqual([]);
});
