import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { joinRing, type Ring } from '../../demo/all-reduce.ts';

let directory = '';
let rings: Ring[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ring-'));
});

afterEach(async () => {
  for (const ring of rings) ring.close();
  rings = [];
  await rm(directory, { recursive: true });
});

async function open(world: number): Promise<Ring[]> {
  rings = await Promise.all(Array.from({ length: world }, (_, rank) => joinRing({ directory, rank, world })));
  return rings;
}

test.each([1, 2, 3, 4, 7])('every one of %i ranks ends with the elementwise sum', async (world) => {
  const length = 50_893; // one step's message: no multiple of the world size
  const vectors = Array.from({ length: world }, (_, rank) =>
    Float32Array.from({ length }, (_, at) => (at % 1_000) * (rank + 1)),
  );
  const members = await open(world);
  await Promise.all(members.map((ring, rank) => ring.reduce(vectors[rank] ?? new Float32Array())));
  // Σ (at mod 1000)·(rank+1) = (at mod 1000)·world(world+1)/2, whole numbers below 2^24: exact in float32
  const factor = (world * (world + 1)) / 2;
  const expected = Float32Array.from({ length }, (_, at) => (at % 1_000) * factor);
  for (const vector of vectors) expect(Buffer.from(vector.buffer).equals(Buffer.from(expected.buffer))).toBe(true);
});

test('many rounds in a row stay apart, also for vectors shorter than the ring', async () => {
  const members = await open(3);
  for (let round = 1; round <= 50; round++) {
    const vectors = members.map((_, rank) => Float32Array.of(round * 10 ** rank));
    await Promise.all(members.map((ring, rank) => ring.reduce(vectors[rank] ?? new Float32Array())));
    expect(vectors.map((vector) => vector[0])).toEqual([111 * round, 111 * round, 111 * round]);
  }
});

test('all ranks hold the same bits, so that weights never drift apart', async () => {
  const members = await open(4);
  const vectors = members.map((_, rank) => Float32Array.from({ length: 999 }, (_, at) => Math.sin(at * 7 + rank)));
  await Promise.all(members.map((ring, rank) => ring.reduce(vectors[rank] ?? new Float32Array())));
  const first = vectors[0];
  for (const vector of vectors) expect(vector).toEqual(first);
});

test('a rank that is gone ends the wait of the others with LW-UNREACHABLE', async () => {
  const members = await open(3);
  const waiting = members.slice(1).map((ring) => ring.reduce(new Float32Array(300)));
  members[0]?.close();
  const results = await Promise.allSettled(
    waiting.map((wait, index) => wait.finally(() => members[index + 1]?.close())),
  );
  for (const result of results)
    expect(result).toMatchObject({ status: 'rejected', reason: { code: 'LW-UNREACHABLE' } });
});
