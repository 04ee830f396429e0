import { existsSync } from 'node:fs';
import { stat, writeFile } from 'node:fs/promises';
import { createServer, connect, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import path from 'node:path';
import { expect, test } from 'vitest';
import { collector } from '../../collectors/workload.ts';
import { systemClock } from '../../src/core/clock.ts';
import type { OpenCollector } from '../../src/core/define.ts';
import { LIMITS } from '../../src/core/limits.ts';
import type { LeewayRecord } from '../../src/core/records.ts';
import { describeCollector, openAt, type Place } from '../contract/collector.ts';
import { stepRecord } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const signal = new AbortController().signal;

type Room = Place & { readonly socket: string };

/** A directory whose socket `feed` writes a step record to. */
async function room(): Promise<Room> {
  const directory = await scratchDirectory();
  const socket = path.join(directory.path, 'workload.sock');
  let step = 0;
  return {
    socket,
    settings: { socket },
    clock: systemClock,
    feed: () => send(socket, `${JSON.stringify(stepRecord(step++))}\n`),
    isHeld: async () => existsSync(socket),
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  };
}

async function joined(socket: string): Promise<Socket> {
  const client = connect(socket);
  await once(client, 'connect');
  return client;
}

/** Sends `text` over a connection of its own and waits until the other side has closed it: all of it was read. */
async function send(socket: string, text: string | Buffer): Promise<void> {
  const client = await joined(socket);
  client.resume();
  client.end(text);
  await once(client, 'close');
}

async function take(opened: OpenCollector): Promise<readonly LeewayRecord[]> {
  const outcome = await opened.collect(signal);
  return outcome.kind === 'ok' ? outcome.value : [];
}

const line = (step: number): string => JSON.stringify(stepRecord(step));

describeCollector({
  collector,
  present: room,
  absent: async () => ({ ...(await room()), settings: { socket: 'off' } }),
});

test('records come out in order, once, and the last line needs no line end', async () => {
  await using place = await room();
  await using opened = await openAt(collector, place);
  await send(place.socket, `${line(1)}\n\n  \r\n${line(2)}\r\n${line(3)}`);
  expect(await take(opened)).toEqual([stepRecord(1), stepRecord(2), stepRecord(3)]);
  expect(await take(opened)).toEqual([]);
  expect(opened.rejected?.()).toEqual({});
});

test('hostile lines are counted under their reason and cost only themselves', async () => {
  await using place = await room();
  await using opened = await openAt(collector, place);
  const deep = `{"type":"step","x":${'['.repeat(100)}${']'.repeat(100)}}`;
  const hostile = [
    'not json',
    '[1,2]',
    '{"type":"step","__proto__":{"polluted":true}}',
    '{"type":"nothing"}',
    '{"type":"toString"}',
    '{"type":"step","job":"j"}',
    deep,
    '{"type":"gpu","node":"n","gpu":0,"at_ms":1767225600000,"utilization":NaN}',
    `{"type":"host","node":"n","at_ms":${systemClock.now_ms() + 2 * 86_400_000}}`,
  ];
  await send(place.socket, `${hostile.join('\n')}\n${line(1)}\n`);
  await send(place.socket, Buffer.concat([Buffer.from('{"type":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}\n')]));
  expect(await take(opened)).toEqual([stepRecord(1)]);
  expect(opened.rejected?.()).toEqual({
    'LW-RECORD-JSON': 4, // no JSON, a list, NaN, bytes that are not UTF-8
    'LW-RECORD-KEY': 1,
    'LW-RECORD-TYPE': 2,
    'LW-RECORD-FIELD': 1,
    'LW-RECORD-DEPTH': 1,
    'LW-RECORD-CLOCK': 1,
  });
  expect(Reflect.get({}, 'polluted')).toBeUndefined();
});

test('a line of 10 MB is refused once and the records around it arrive', async () => {
  await using place = await room();
  await using opened = await openAt(collector, place);
  await send(place.socket, `${line(1)}\n${'x'.repeat(10_000_000)}\n${line(2)}\n`);
  expect(await take(opened)).toEqual([stepRecord(1), stepRecord(2)]);
  expect(opened.rejected?.()).toEqual({ 'LW-RECORD-SIZE': 1 });
});

test('a record of exactly the limit is taken, one byte more is not', async () => {
  await using place = await room();
  await using opened = await openAt(collector, place);
  const bare = JSON.stringify({ ...stepRecord(1), note: '' });
  const padded = (bytes: number): string => JSON.stringify({ ...stepRecord(1), note: 'x'.repeat(bytes - bare.length) });
  await send(place.socket, `${padded(LIMITS.record_bytes_max)}\n${padded(LIMITS.record_bytes_max + 1)}\n`);
  expect(await take(opened)).toHaveLength(1);
  expect(opened.rejected?.()).toEqual({ 'LW-RECORD-SIZE': 1 });
});

test('a record split over writes, in the middle of a character, is one record', async () => {
  await using place = await room();
  await using opened = await openAt(collector, place);
  const record = { ...stepRecord(1), note: 'Größe 漢字 🚀' };
  const bytes = Buffer.from(`${JSON.stringify(record)}\n`);
  const client = await joined(place.socket);
  client.setNoDelay(true).resume();
  for (const byte of bytes) await new Promise<void>((resolve) => client.write(Buffer.of(byte), () => resolve()));
  client.end();
  await once(client, 'close');
  expect(await take(opened)).toEqual([record]);
});

test('a sender that breaks off in the middle of a record leaves nothing behind', async () => {
  await using place = await room();
  await using opened = await openAt(collector, place);
  const client = await joined(place.socket);
  await new Promise<void>((resolve) => client.write(line(1).slice(0, 40), () => resolve()));
  client.destroy();
  await send(place.socket, `${line(2)}\n`);
  expect(await take(opened)).toEqual([stepRecord(2)]);
});

test('200 connections at once lose nothing', async () => {
  await using place = await room();
  await using opened = await openAt(collector, place);
  const all = Array.from({ length: 200 }, (_, rank) => rank);
  await Promise.all(
    all.map((rank) =>
      send(place.socket, `${JSON.stringify(stepRecord(1, rank))}\n${JSON.stringify(stepRecord(2, rank))}\n`),
    ),
  );
  const records = await take(opened);
  expect(records).toHaveLength(400);
  expect(new Set(records.map((record) => Reflect.get(record, 'rank'))).size).toBe(200);
});

test('beyond the bytes that may be held, records are refused and counted until they are collected', async () => {
  await using place = await room();
  await using opened = await openAt(collector, place);
  // 40 records of 1,000,000 bytes; 32 MiB = 33,554,432 hold 33 of them
  const big = JSON.stringify({ ...stepRecord(1), note: '' });
  const text = `${JSON.stringify({ ...stepRecord(1), note: 'x'.repeat(1_000_000 - big.length) })}\n`;
  await send(place.socket, text.repeat(40));
  const held = (await take(opened)).length;
  // a line counts while it is read and again as a record once it is parsed, so the edge may lie one lower
  expect(held).toBeGreaterThanOrEqual(32);
  expect(held).toBeLessThanOrEqual(33);
  expect(opened.rejected?.()).toEqual({ 'LW-OVERLOADED': 40 - held });
  await send(place.socket, text);
  expect(await take(opened)).toHaveLength(1);
});

test('a socket that a killed process left is taken over, one that answers and a file are not touched', async () => {
  await using place = await room();
  const other = createServer().listen(place.socket);
  await once(other, 'listening');
  await expect(openAt(collector, place)).rejects.toMatchObject({
    code: 'LW-CONFIG',
    message: expect.stringMatching(/in use/),
  });
  await new Promise((resolve) => other.close(resolve));
  await writeFile(place.socket, 'precious');
  await expect(openAt(collector, place)).rejects.toMatchObject({
    code: 'LW-CONFIG',
    message: expect.stringMatching(/no socket/),
  });
  expect((await stat(place.socket)).size).toBe(8);
});

test('a path that no socket can have is refused by name and length', async () => {
  await using place = await room();
  const settings = { socket: path.join(path.dirname(place.socket), 'x'.repeat(108)) };
  await expect(openAt(collector, { ...place, settings })).rejects.toMatchObject({ code: 'LW-CONFIG' });
});

test('the socket may be written by owner and group only', async () => {
  await using place = await room();
  await using opened = await openAt(collector, place);
  expect((await stat(place.socket)).mode & 0o777).toBe(0o660);
  expect(await take(opened)).toEqual([]);
});

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo; // a TCP address, since it listens on a port
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

async function door(place: Room): Promise<{ url: string; opened: OpenCollector }> {
  const port = await freePort();
  const opened = await openAt(collector, { ...place, settings: { ...place.settings, http_port: port } });
  return { url: `http://127.0.0.1:${port}/v1/events`, opened };
}

test('the loopback door answers 202 with what was accepted and what was not', async () => {
  await using place = await room();
  const { url, opened } = await door(place);
  await using held = opened;
  const answer = await fetch(url, { method: 'POST', body: `${line(1)}\n\nnot json\n{"type":"nothing"}\n${line(2)}` });
  expect(answer.status).toBe(202);
  expect(await answer.json()).toEqual({
    accepted: 2,
    rejected: [
      { line: 3, code: 'LW-RECORD-JSON', reason: expect.any(String) },
      { line: 4, code: 'LW-RECORD-TYPE', reason: expect.any(String) },
    ],
  });
  expect(await take(held)).toEqual([stepRecord(1), stepRecord(2)]);
});

test('the loopback door refuses pages in a browser, other paths and methods, packed bodies and nonsense', async () => {
  await using place = await room();
  const { url, opened } = await door(place);
  await using held = opened;
  const status = async (init: RequestInit, to = url): Promise<number> => (await fetch(to, init)).status;
  expect(await status({ method: 'POST', body: line(1), headers: { origin: 'https://evil.example' } })).toBe(403);
  expect(await status({ method: 'POST', body: line(1) }, `${url}/x`)).toBe(404);
  expect(await status({})).toBe(405);
  expect(await status({ method: 'POST', body: line(1), headers: { 'content-encoding': 'gzip' } })).toBe(415);
  expect(await status({ method: 'POST', body: 'nonsense' })).toBe(400);
  expect(await take(held)).toEqual([]);
});
