import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { StoredRecord } from '../../src/core/tables.ts';
import type { SampleRows } from '../../src/core/samples.ts';
import { encodeParts } from '../../src/transport/batch-parts.ts';
import { bodyOf, encodeFrame, frameAt } from '../../src/transport/frame.ts';
import type { KafkaIn } from '../../src/transport/kafka-driver.ts';
import { frameMessages, lineageAt, readMessage } from '../../src/transport/kafka-frames.ts';
import { frameBytes, splitPart } from '../../src/transport/kafka-split.ts';
import type { Part } from '../../src/transport/segment.ts';
import { heartbeat, stepRecord, steps } from '../contract/records.ts';

const name = { source: 'node-1', epoch: 7, sequence: 1 };

function only(records: readonly StoredRecord[]): Part {
  const [part] = encodeParts({ ...name, records });
  if (part === undefined) throw new Error('one part');
  return part;
}

function messageOf(value: Buffer | null, table: string | null): KafkaIn {
  const headers = new Map(table === null ? [] : [['table', Buffer.from(table)]]);
  return { offset: 5n, key: Buffer.from('node-1'), value, headers, at_ms: 0 };
}

function samples(rows: number): SampleRows {
  const numbers = Array.from({ length: rows }, (_, row) => row);
  return {
    rows,
    id: BigUint64Array.from(numbers, (row) => BigInt(row) * 7n),
    at_ms: BigInt64Array.from(numbers, (row) => 1_767_225_600_000n + BigInt(row)),
    mantissa: Int16Array.from(numbers),
    mantissa_type: 'Int16',
    exponent: Int8Array.from(numbers, (row) => row % 5),
  };
}

function cutSamples(rows: SampleRows, from: number, to: number): SampleRows {
  const cut = (view: ArrayBufferView, width: number): Uint8Array =>
    new Uint8Array(view.buffer, view.byteOffset + from * width, (to - from) * width);
  return {
    rows: to - from,
    id: cut(rows.id, 8),
    at_ms: cut(rows.at_ms, 8),
    mantissa: cut(rows.mantissa, 2),
    mantissa_type: rows.mantissa_type,
    exponent: cut(rows.exponent, 1),
  };
}

test('a part cut between rows has the bytes that its ranges of records have when they are encoded alone', () => {
  const record = fc.record({
    rank: fc.integer({ min: 0, max: 9 }),
    step: fc.integer({ min: 0, max: 1e6 }),
    note: fc.string({ maxLength: 200, unit: 'grapheme' }),
    loss: fc.option(fc.double({ noNaN: true }), { nil: undefined }),
  });
  fc.assert(
    fc.property(
      fc.array(record, { minLength: 2, maxLength: 40 }),
      fc.integer({ min: 600, max: 6_000 }),
      (some, bytes_max) => {
        const records = some.map(({ loss, ...rest }) => ({
          ...stepRecord(rest.step, rest.rank),
          note: rest.note,
          ...(loss === undefined ? {} : { loss }),
        }));
        const cut = splitPart(only(records), bytes_max);
        let from = 0;
        for (const part of cut) {
          expect(part.body.equals(only(records.slice(from, from + part.rows)).body)).toBe(true);
          expect(part.rows === 1 || frameBytes(part) <= bytes_max).toBe(true);
          from += part.rows;
        }
        expect(from).toBe(records.length);
      },
    ),
    { numRuns: 60 },
  );
});

test('samples are cut between rows like records, with the ids in front and the origins left out', () => {
  const whole = samples(1_000);
  const [part] = encodeParts({ ...name, records: [], samples: whole });
  if (part === undefined) throw new Error('one part');
  const cut = splitPart(part, 8_000);
  expect(cut.length).toBeGreaterThan(1);
  let from = 0;
  for (const piece of cut) {
    const [alone] = encodeParts({ ...name, records: [], samples: cutSamples(whole, from, from + piece.rows) });
    expect(alone?.body.equals(piece.body)).toBe(true);
    from += piece.rows;
  }
  expect(from).toBe(1_000);
});

test('every table of the corpus of columns can be cut: types are known by their width', () => {
  const records: StoredRecord[] = [
    { type: 'series', id: '1', metric: 'm', labels: {}, kind: 'gauge' },
    { type: 'series', id: '2', metric: 'n', labels: { a: 'b' } },
  ];
  expect(splitPart(only(records), 1).map((part) => part.rows)).toEqual([1, 1]);
  expect(splitPart(only([heartbeat(1), heartbeat(2), heartbeat(3)]), 1).map((part) => part.rows)).toEqual([1, 1, 1]);
});

test('a batch of two tables is two messages that name their tables and count each other', () => {
  const messages = frameMessages({ ...name, records: [...steps(0, 3), heartbeat(1)] });
  expect(messages.map(({ table, rows }) => [table, rows])).toEqual([
    ['step', 3],
    ['heartbeat', 1],
  ]);
  const frames = messages.map(({ value, table }) => frameAt(value, 0, table)?.header);
  expect(frames.map((header) => [header?.parts, header?.lineage])).toEqual([
    [2, 0n],
    [2, 0n],
  ]);
});

test('a part that is cut counts as many parts as there are frames, so no fraction of a batch looks complete', () => {
  const records = steps(0, 40).map((record) => ({ ...record, note: 'x'.repeat(20_000) })); // 800 kB
  const messages = frameMessages({ ...name, records: [...records, heartbeat(1)] });
  const parts = messages.map(({ value, table }) => frameAt(value, 0, table)?.header.parts);
  expect(messages.length).toBe(3); // two halves of 400 kB and the heartbeat
  expect(parts).toEqual([3, 3, 3]);
});

test('one row larger than a topic takes is refused as too large, not sent', () => {
  const records = [{ ...stepRecord(1), note: 'x'.repeat(2_200_000) }];
  expect(() => frameMessages({ ...name, records })).toThrow(expect.objectContaining({ code: 'LW-BODY-SIZE' }));
});

test('a frame read from partition 3, offset 5 bears that place in its lineage and is otherwise what was sent', () => {
  const [message] = frameMessages({ ...name, records: steps(0, 3) });
  const place = { partition: 3, offset: 5n };
  const lineage = lineageAt(place, 2); // stream 2 + 3 = 5, place 5 + 1: 5 · 2^52 + 6
  expect(lineage).toBe(5n * 2n ** 52n + 6n);
  expect(lineageAt({ partition: 0, offset: 0n }, 0)).toBe(1n); // 0 means none
  const held = readMessage(messageOf(message?.value ?? null, 'step'), place, lineage);
  if (typeof held === 'string') throw new Error(held);
  expect(held.header).toMatchObject({ ...name, lineage, rows: 3, table: 'step' });
  const again = Buffer.concat(encodeFrame(held.header, held.body));
  const found = frameAt(again, 0, 'step');
  expect(found?.header).toEqual(held.header);
  expect(found !== null && bodyOf(again, found).equals(only(steps(0, 3)).body)).toBe(true);
});

test('what is no frame is said to be none, by its reason', () => {
  const [message] = frameMessages({ ...name, records: steps(0, 3) });
  const value = message?.value ?? Buffer.alloc(0);
  const place = { partition: 0, offset: 5n };
  const damaged = Buffer.from(value);
  damaged.writeUInt8(damaged.readUInt8(value.length - 1) ^ 1, value.length - 1);
  const reasons = [
    messageOf(value, null),
    messageOf(value, 'nonsense'),
    messageOf(null, 'step'),
    messageOf(damaged, 'step'),
    messageOf(Buffer.concat([value, Buffer.from('x')]), 'step'),
    messageOf(Buffer.from(value.toString('latin1').replace('node-1', 'no%e-1'), 'latin1'), 'step'),
    messageOf(Buffer.from(value.toString('latin1').replace('LW1 ', 'LW9 '), 'latin1'), 'step'),
  ].map((each) => readMessage(each, place, 5n));
  expect(reasons).toEqual([
    'header "table" is missing, expected the name of a stored table',
    'header "table" is nonsense, expected the name of a stored table',
    'the message has no value, expected a frame',
    `${value.length} bytes are no undamaged frame of step`,
    '1 bytes follow the frame',
    `${value.length} bytes are no undamaged frame of step`,
    'a frame of version LW9; understood here: LW1, LW2',
  ]);
});
