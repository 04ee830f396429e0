import { readFileSync } from 'node:fs';
import path from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RECORD_TYPES } from '../../src/core/records.ts';
import { decodeLink } from '../../src/formats/link-batch.ts';
import { LINK_NAMES_1 } from '../../src/formats/link-names.ts';
import { decodeRecords } from '../../src/formats/record-columns.ts';
import { encodeParts } from '../../src/transport/batch-parts.ts';
import { packMessage } from '../../src/transport/codec.ts';
import { bodyOf, scanFrames } from '../../src/transport/frame.ts';
import { readMessage } from '../../src/transport/kafka-frames.ts';
import { anyRecord } from '../contract/any-record.ts';
import { GPUS, MESSAGE, NAME, SAMPLE_IDS, STEPS } from './fixtures/content.ts';
import { NodeCorpus, VALUES } from './link-corpus.ts';

function fixture(name: string): Buffer {
  return readFileSync(path.join(import.meta.dirname, 'fixtures', name));
}

describe('what version 1 wrote', () => {
  test('a message of the link is read as it was meant, packed and not', () => {
    const meant = { kind: 'ok', value: MESSAGE };
    expect(decodeLink(fixture('link-1.bin'))).toEqual(meant);
    expect(decodeLink(zstdDecompressSync(fixture('link-1.zst')))).toEqual(meant);
    expect(GPUS.map((gpu) => Reflect.get(gpu, 'strange') as unknown)).toEqual([
      Number.NaN,
      -Infinity,
      Number.MIN_VALUE,
    ]);
  });

  test('a frame of records in a spool segment is read, name, lineage and records', () => {
    const bytes = fixture('frame-lw1.native');
    const { frames, tail_bytes } = scanFrames(bytes, 'step');
    const [frame] = frames;
    expect({ frames: frames.length, tail_bytes }).toEqual({ frames: 1, tail_bytes: 0 });
    expect(frame?.header).toEqual({ ...NAME, parts: 1, table: 'step', rows: 2, lineage: (7n << 20n) | 3n, origin: 0 });
    expect(frame === undefined ? null : decodeRecords('step', bodyOf(bytes, frame), 2)).toEqual(STEPS);
  });

  test('a frame of samples in a spool segment is read, name, lineage, origin and ids', () => {
    const bytes = fixture('frame-lw2.native');
    const [frame] = scanFrames(bytes, 'samples').frames;
    expect(frame?.header).toEqual({
      ...NAME,
      parts: 1,
      table: 'samples',
      rows: 3,
      lineage: (7n << 20n) | 3n,
      origin: 5,
    });
    const body = frame === undefined ? Buffer.alloc(0) : bodyOf(bytes, frame);
    expect([0, 8, 16].map((offset) => body.readBigUInt64LE(offset))).toEqual(SAMPLE_IDS);
    expect(frame?.end).toBe(bytes.length);
  });

  test('a frame in a Kafka message is read, with the lineage of its place', () => {
    const headers = new Map([['table', Buffer.from('step')]]);
    const message = {
      offset: 5n,
      key: Buffer.from(NAME.source),
      value: fixture('kafka-frame-lw1.bin'),
      headers,
      at_ms: 1,
    };
    const held = readMessage(message, { partition: 2, offset: 5n }, 99n);
    if (typeof held === 'string') throw new Error(held);
    expect(held.header).toEqual({ ...NAME, parts: 1, table: 'step', rows: 2, lineage: 99n, origin: 0 });
    expect(decodeRecords('step', held.body, 2)).toEqual(STEPS);
  });

  test('the list of names is as long as it was, and begins and ends as it did', () => {
    // a name that is moved, added or taken away changes what messages of version 1 say: make a version 2 instead
    expect(LINK_NAMES_1.length).toBe(126);
    expect([LINK_NAMES_1[0], LINK_NAMES_1[11], LINK_NAMES_1[34], LINK_NAMES_1[125]]).toEqual([
      'gpu',
      'energy_j',
      'step',
      'fp64_active',
    ]);
    expect(new Set(LINK_NAMES_1).size).toBe(LINK_NAMES_1.length);
  });
});

test('records come back from the columns of their frame, of every type', () => {
  for (const type of RECORD_TYPES)
    fc.assert(
      fc.property(fc.array(anyRecord(type), { minLength: 1, maxLength: 5 }), (records) => {
        const [part] = encodeParts({ ...NAME, records });
        expect(part === undefined ? null : decodeRecords(type, part.body, records.length)).toEqual(records);
      }),
      { numRuns: 10 },
    );
});

test('columns that end early or are of no known type are no records', () => {
  const [part] = encodeParts({ ...NAME, records: STEPS });
  const body = part?.body ?? Buffer.alloc(0);
  for (let length = 1; length < body.length; length += 7)
    expect(decodeRecords('step', body.subarray(0, length), 2)).toBeNull();
  const unknown = Buffer.from('\u0004rank\u0005Map()12345678', 'latin1');
  expect(decodeRecords('step', unknown, 1)).toBeNull();
});

test('176 samples of 8 GPUs take at most 3.2 bytes each at one second, 2.2 at five', () => {
  for (const [ticks, bytes_max] of [
    [1, 3.2],
    [5, 2.2],
  ] as const) {
    const corpus = new NodeCorpus(11);
    let bytes = 0;
    let samples = 0;
    for (let second = 0; second < 120; second += ticks) {
      const frames = corpus.frames(ticks);
      bytes += packMessage({ frames, gaps: [] }).bytes.length;
      samples += ticks * 8 * VALUES;
    }
    expect(bytes / samples, `${ticks} s, seed 11`).toBeLessThanOrEqual(bytes_max);
  }
});

test('a large message is packed with zstd and says so, a small one is left as it is', () => {
  const small = packMessage({ frames: new NodeCorpus(3).frames(1), gaps: [] });
  expect(small.encoding).toBeNull();
  const frames = new NodeCorpus(3).frames(60);
  const large = packMessage({ frames, gaps: [] });
  expect(large.encoding).toBe('zstd');
  expect(decodeLink(zstdDecompressSync(large.bytes))).toEqual({ kind: 'ok', value: { frames, gaps: [] } });
});
