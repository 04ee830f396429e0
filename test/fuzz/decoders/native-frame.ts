import { crc32 } from 'node:zlib';
import { LeewayError } from '../../../src/core/errors.ts';
import type { FrameHeader } from '../../../src/core/ports.ts';
import type { TableName } from '../../../src/core/tables.ts';
import { encodeColumns } from '../../../src/formats/record-rows.ts';
import { encodeSamples } from '../../../src/formats/sample-frame.ts';
import { bodyOf, encodeFrame, frameAt, lineageOf, scanFrames } from '../../../src/transport/frame.ts';
import { readMessage } from '../../../src/transport/kafka-frames.ts';
import { steps } from '../../contract/records.ts';
import { type FuzzTarget, outcomeWord } from '../fuzz.ts';

const digest = (): Uint8Array => new Uint8Array(32);

function frame(sequence: number, table: TableName, body: Buffer, rows: number): Buffer {
  const header: FrameHeader = {
    lineage: lineageOf(5, sequence),
    source: 'node/ü',
    epoch: 7,
    sequence,
    parts: 1,
    table,
    rows,
    origin: 3,
  };
  return Buffer.concat(encodeFrame(header, body));
}

function samples(sequence: number): Buffer {
  const body = encodeSamples({
    rows: 3,
    id: BigUint64Array.of(1n, 2n, 3n),
    at_ms: BigInt64Array.of(1n, 2n, 3n),
    mantissa: Int16Array.of(1, 2, 3),
    mantissa_type: 'Int16',
    exponent: new Int8Array(3),
  });
  return frame(sequence, 'samples', body, 3);
}

const HEAD = /Tuple\(`(LW[12]) [0-9a-f]{8} [0-9a-f]{8} ([^`]*)` UInt64\)/;

/** Writes the length and the checksum that the damaged first frame ought to have, as somebody would who means harm. */
function repair(bytes: Uint8Array): Uint8Array {
  const text = Buffer.from(bytes).toString('latin1');
  const match = HEAD.exec(text);
  if (match === null) return bytes;
  const [whole, version = '', fields = ''] = match;
  const payload = Buffer.from(bytes).subarray(match.index + whole.length);
  const crc = crc32(payload, crc32(Buffer.from(`${bytes[0] ?? 0} ${fields}`, 'latin1')));
  const hex = (value: number): string => value.toString(16).padStart(8, '0');
  const head = `Tuple(\`${version} ${hex(payload.length)} ${hex(crc)} ${fields}\` UInt64)`;
  return Buffer.concat([Buffer.from(text.slice(0, match.index) + head, 'latin1'), payload]);
}

/** A file of a newer version is refused by name. */
function scanned(bytes: Buffer, table: TableName): ReturnType<typeof scanFrames> | null {
  try {
    return scanFrames(bytes, table);
  } catch (error) {
    if (error instanceof LeewayError && String(error.code) === 'LW-FRAME-VERSION') return null;
    throw error;
  }
}

/** Frames of a segment after a crash, and of a Kafka message: whole ones are found, the rest is told as damaged. */
export const target = (): FuzzTarget => {
  const step = (sequence: number): Buffer => frame(sequence, 'step', encodeColumns('step', steps(0, 2), digest), 2);
  return {
    seeds: [Buffer.concat([step(1), step(2), step(3)]), step(9), Buffer.concat([samples(1), samples(2)]), samples(7)],
    words: [
      '\u0002id',
      '\u0003lin',
      'Tuple(`LW1 ',
      'Tuple(`LW2 ',
      '` UInt64)',
      '%',
      '%E0%A4%A',
      ' ffffffff ',
      '00000000',
    ],
    repair,
    run: (bytes) => {
      const words: (string | number)[] = [];
      const held = Buffer.from(bytes);
      for (const table of ['step', 'samples'] as const) {
        const scan = scanned(held, table);
        if (scan === null) {
          words.push('newer');
          continue;
        }
        let at = 0;
        for (const found of scan.frames) {
          if (found.start < at || found.end > held.length || found.end <= found.start)
            throw new Error('frames overlap');
          if (bodyOf(held, found).length > found.end - found.start) throw new Error('a body beyond its frame');
          if (frameAt(held, found.start, table)?.end !== found.end)
            throw new Error('a frame that reads differently again');
          at = found.end;
        }
        const read = readMessage(
          { value: held, headers: new Map([['table', Buffer.from(table)]]), at_ms: 0 } as unknown as Parameters<
            typeof readMessage
          >[0], // the parts that it reads
          { partition: 0, offset: 0n },
          1n,
        );
        words.push(scan.frames.length, scan.tail_bytes === 0 ? 'whole' : 'torn', String(scan.damaged_middle));
        words.push(typeof read === 'string' ? read : 'read');
      }
      return outcomeWord(...words);
    },
  };
};
