import { createHash, randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Delivery, FrameHeader } from '../../src/core/ports.ts';
import type { LeewayRecord } from '../../src/core/records.ts';
import type { TypedTable } from '../../src/core/tables.ts';
import { encodeColumns } from '../../src/formats/record-rows.ts';
import { encodeSamples } from '../../src/formats/sample-frame.ts';
import { encodeFrame } from '../../src/transport/frame.ts';

/** A sample as a test writes it. */
export type TestSample = { readonly id: bigint; readonly at_ms: number; readonly value: number };

/** A frame as a test writes it: rows of one table, from a source, with its place in a stream. */
export type TestFrame = {
  readonly lineage: bigint;
  readonly source: string;
  readonly sequence: number;
  readonly records?: readonly LeewayRecord[];
  readonly samples?: readonly TestSample[];
  /** Changes the bytes after they were encoded. */
  readonly spoil?: (bytes: Buffer) => Buffer;
};

/** Lineage of place `place` of stream `stream`. */
export function lineage(stream: number, place: number): bigint {
  return (BigInt(stream) << 52n) | BigInt(place);
}

/** Writes frames of `table` as one delivery file in `directory`, as a bus would. */
export async function deliveryOf(
  directory: string,
  table: TypedTable | 'samples',
  frames: readonly TestFrame[],
): Promise<Delivery> {
  const origins: string[] = [];
  const headers: FrameHeader[] = [];
  const pieces: Buffer[] = [];
  for (const { records = [], samples = [], spoil = (bytes: Buffer) => bytes, ...frame } of frames) {
    if (!origins.includes(frame.source)) origins.push(frame.source);
    const rows = records.length + samples.length;
    const origin = table === 'samples' ? origins.indexOf(frame.source) : 0;
    const header = { ...frame, epoch: 1, parts: 1, table, rows, origin };
    headers.push(header);
    pieces.push(
      spoil(
        Buffer.concat(
          encodeFrame(header, table === 'samples' ? sampleBody(samples) : encodeColumns(table, records, digest)),
        ),
      ),
    );
  }
  const file = path.join(directory, `${table}-${randomUUID()}.native`);
  await writeFile(file, Buffer.concat(pieces));
  return { table, path: file, rows: headers.reduce((sum, { rows }) => sum + rows, 0), frames: headers };
}

/** The bytes of a segment with these frames of samples, all of one source. */
export function sampleFile(frames: readonly (readonly TestSample[])[]): Buffer {
  const name = { source: 's', epoch: 1, parts: 1, table: 'samples', origin: 0 } as const;
  return Buffer.concat(
    frames.flatMap((samples, index) =>
      encodeFrame(
        { ...name, sequence: index + 1, lineage: lineage(0, index), rows: samples.length },
        sampleBody(samples),
      ),
    ),
  );
}

function sampleBody(samples: readonly TestSample[]): Buffer {
  return encodeSamples({
    rows: samples.length,
    id: BigUint64Array.from(samples, ({ id }) => id),
    at_ms: BigInt64Array.from(samples, ({ at_ms }) => BigInt(at_ms)),
    mantissa: new BigInt64Array(Float64Array.from(samples, ({ value }) => value).buffer),
    mantissa_type: 'Int64',
    exponent: new Int8Array(samples.length).fill(127),
  });
}

function digest(text: string): Uint8Array {
  return createHash('sha256').update(text).digest();
}
