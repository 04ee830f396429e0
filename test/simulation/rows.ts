import type { Batch } from '../../src/core/ports.ts';
import { SAMPLES } from '../../src/core/tables.ts';
import { NativeReader } from '../../src/formats/native.ts';
import { encodeParts } from '../../src/transport/batch-parts.ts';

/** Names of the rows of one frame's body: samples by series and time, records by table and digest. */
export function keysOf(table: string, body: Buffer, rows: number): string[] {
  if (table === SAMPLES) {
    // the ids come without a head; the times follow them
    const at = body.indexOf(Buffer.from('\u0002at', 'latin1'), rows * 8);
    const times = at + 3 + 1 + 'DateTime64(3)'.length;
    return Array.from(
      { length: rows },
      (_, row) => `${body.readBigUInt64LE(row * 8)}@${body.readBigInt64LE(times + row * 8)}`,
    );
  }
  const reader = new NativeReader(body);
  reader.string(64);
  reader.string(64);
  const hashes = reader.raw(rows * 8);
  return Array.from({ length: rows }, (_, row) => `${table}/${hashes?.readBigUInt64LE(row * 8)}`);
}

/** Names of the rows of a batch, frame by frame. */
export function framesOf(batch: Batch): string[][] {
  return encodeParts(batch).map(({ table, body, rows }) => keysOf(table, body, rows));
}
