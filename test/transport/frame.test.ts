import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { FrameHeader } from '../../src/core/ports.ts';
import { encodeColumns } from '../../src/formats/record-rows.ts';
import { encodeFrame, frameAt, lineageOf, scanFrames, segmentOf, versionFault } from '../../src/transport/frame.ts';
import { steps } from '../contract/records.ts';
import { forgedFrame } from './forged-frame.ts';

const digest = (text: string): Uint8Array => hash('sha1', text, 'buffer');

function header(sequence: number, rows: number, source = 'node-1'): FrameHeader {
  return { lineage: lineageOf(5, sequence), source, epoch: 77, sequence, parts: 2, table: 'step', rows, origin: 0 };
}

function frame(sequence: number, rows: number, source?: string): Buffer {
  const body = encodeColumns('step', steps(0, rows), digest);
  return Buffer.concat(encodeFrame(header(sequence, rows, source), body));
}

test('a frame reads back with the header it was written with', () => {
  const limits = fc.record({
    lineage: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    source: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 128 }),
    epoch: fc.maxSafeNat(),
    sequence: fc.maxSafeNat(),
    parts: fc.integer({ min: 1, max: 25 }),
  });
  fc.assert(
    fc.property(limits, fc.integer({ min: 1, max: 300 }), (fields, rows) => {
      const written: FrameHeader = { ...fields, table: 'step', rows, origin: 0 };
      const bytes = Buffer.concat(encodeFrame(written, encodeColumns('step', steps(0, rows), digest)));
      expect(frameAt(bytes, 0, 'step')).toMatchObject({ header: written, start: 0, end: bytes.length });
    }),
    { numRuns: 50 },
  );
});

test('a frame of a newer version is neither damage nor a torn tail: it is refused with what is understood', () => {
  const newer = Buffer.from(frame(2, 3).toString('latin1').replace('LW1 ', 'LW3 '), 'latin1');
  const expected = expect.objectContaining({
    code: 'LW-FRAME-VERSION',
    message: 'a frame of version LW3; understood here: LW1, LW2',
  });
  expect(() => scanFrames(newer, 'step')).toThrow(expected);
  expect(() => scanFrames(Buffer.concat([newer, newer]), 'step')).toThrow(expected);
  // a file has one writer: beside a whole frame another version is damage, and no tail that may be cut off
  for (const bytes of [Buffer.concat([frame(1, 3), newer]), Buffer.concat([newer, frame(1, 3)])])
    expect(scanFrames(bytes, 'step')).toMatchObject({ frames: [{ header: { sequence: 1 } }], damaged_middle: true });
  // damage says no version: the whole frames around it are found as ever
  const torn = frame(2, 3).subarray(0, 40);
  expect(scanFrames(Buffer.concat([frame(1, 3), torn, frame(3, 3)]), 'step').frames).toHaveLength(2);
  expect(versionFault(frame(1, 3), 0)).toBeNull();
  expect(versionFault(Buffer.from('LW3 and other words that are no frame at all'), 0)).toBeNull();
});

test('lineage keeps the number of its segment above twenty bits of frame index', () => {
  // 5 · 2^20 + 3 = 5,242,883
  expect(lineageOf(5, 3)).toBe(5_242_883n);
  expect(segmentOf(5_242_883n)).toBe(5);
});

test('cut at any byte of its last frame a segment keeps every frame before, and the rest is a torn tail', () => {
  const whole = [frame(1, 3), frame(2, 1)];
  const last = frame(3, 2);
  const kept = whole.reduce((size, bytes) => size + bytes.length, 0);
  for (let cut = 0; cut < last.length; cut++) {
    const scan = scanFrames(Buffer.concat([...whole, last.subarray(0, cut)]), 'step');
    expect(scan.frames.map((found) => found.header.sequence)).toEqual([1, 2]);
    expect(scan).toMatchObject({ tail_bytes: cut, damaged_middle: false });
    expect(scan.frames.at(-1)?.end).toBe(kept);
  }
});

test('a frame with any byte changed is not taken for a frame', () => {
  const bytes = frame(1, 2, 'node/ü 1');
  for (let index = 0; index < bytes.length; index++) {
    const damaged = Buffer.from(bytes);
    damaged[index] = (damaged[index] ?? 0) ^ 0x04;
    const found = frameAt(damaged, 0, 'step');
    expect(found, `byte ${index} of ${bytes.length}`).toBeNull();
  }
});

test('after damage in the middle the frames behind it are found again', () => {
  const frames = [frame(1, 2), frame(2, 2), frame(3, 2)];
  const first = frames[0]?.length ?? 0;
  const second = frames[1]?.length ?? 0;
  for (const place of [0, 3, 40, 200, second - 1]) {
    const bytes = Buffer.concat(frames);
    bytes[first + place] = (bytes[first + place] ?? 0) ^ 0xff;
    const scan = scanFrames(bytes, 'step');
    expect(scan.frames.map((found) => found.header.sequence)).toEqual([1, 3]);
    expect(scan).toMatchObject({ tail_bytes: 0, damaged_middle: true });
  }
});

test('bytes that are no frames at all are scanned to nothing', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (noise) => {
      const scan = scanFrames(Buffer.from(noise), 'step');
      expect(scan).toEqual({ frames: [], tail_bytes: noise.length, damaged_middle: false });
    }),
  );
  const marks = Buffer.from('\u0003lin'.repeat(100), 'latin1');
  expect(scanFrames(marks, 'step').frames).toEqual([]);
});

test('a source that is no percent-encoding makes no frame, even under a right checksum, and a scan goes on behind it', () => {
  const whole = frame(1, 2, 'node/1');
  const head = /LW1 ([0-9a-f]{8}) [0-9a-f]{8} (node%2F1 [^`]*)` UInt64\)/;
  const [found = '', length = '', fields = ''] = head.exec(whole.toString('latin1')) ?? [];
  const spoiled = fields.replace('%2F', '%E0');
  const payload = whole.subarray(whole.indexOf(found) + found.length);
  const crc = crc32(payload, crc32(`${whole[0]} ${spoiled}`))
    .toString(16)
    .padStart(8, '0');
  const bytes = Buffer.from(
    whole.toString('latin1').replace(found, `LW1 ${length} ${crc} ${spoiled}\` UInt64)`),
    'latin1',
  );
  expect(frameAt(bytes, 0, 'step')).toBeNull();
  const scan = scanFrames(Buffer.concat([bytes, frame(2, 1)]), 'step');
  expect(scan.frames.map(({ header: { sequence } }) => sequence)).toEqual([2]);
});

test('a frame that says more rows than its bytes have room for is none, even under a right checksum', () => {
  const payload = Buffer.alloc(64, 1); // the first column takes 8 bytes a row: 8 rows at most
  for (const table of ['step', 'samples'] as const) {
    expect(frameAt(forgedFrame(table, { rows: 8 }, payload), 0, table)).toMatchObject({ header: { rows: 8 } });
    for (const rows of [9, 300_000_000, 0xff_ff_ff_f0])
      expect(frameAt(forgedFrame(table, { rows }, payload), 0, table), `${rows} rows of ${table}`).toBeNull();
  }
});

test('a frame whose epoch or sequence no number holds exactly is none: written again it would be another one', () => {
  const payload = Buffer.alloc(64, 1);
  const [largest, above] = ['1fffffffffffff', '20000000000000']; // 2^53 - 1 and 2^53
  expect(
    frameAt(forgedFrame('step', { rows: 1, epoch: largest, sequence: largest }, payload), 0, 'step'),
  ).toMatchObject({
    header: { epoch: Number.MAX_SAFE_INTEGER, sequence: Number.MAX_SAFE_INTEGER },
  });
  expect(frameAt(forgedFrame('step', { rows: 1, epoch: above }, payload), 0, 'step')).toBeNull();
  expect(frameAt(forgedFrame('step', { rows: 1, sequence: above }, payload), 0, 'step')).toBeNull();
});
