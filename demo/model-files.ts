import { open, readFile, rename, rm } from 'node:fs/promises';
import { assert } from '../src/core/assert.ts';
import { LeewayError, systemCode } from '../src/core/errors.ts';
import { PIXELS } from './digits.ts';
import { PARAMETERS } from './network.ts';

/** An image with its true class. */
export type LabelledRow = { readonly pixels: Uint8Array; readonly label: number };

/** Labelled images as one block: `PIXELS` bytes and one class byte a row. */
export type LabelledRows = { readonly bytes: Uint8Array; readonly count: number };

const ROW_BYTES = PIXELS + 1;

/**
 * Writes under a temporary name, syncs and renames: a reader sees the old file or the whole new one, and after a power cut
 * too. Throws LW-INPUT-FILE when the place cannot be written.
 */
export async function writeDurable(path: string, content: Uint8Array): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    await using file = await open(temporary, 'w');
    await file.writeFile(content);
    await file.datasync();
    await rename(temporary, path);
  } catch (cause) {
    await rm(temporary, { force: true });
    throw new LeewayError('LW-INPUT-FILE', `${path}: cannot be written (${systemCode(cause) ?? 'unknown reason'})`, {
      cause,
    });
  }
}

/** Writes a parameter vector as float32, little-endian. */
export function writeWeights(path: string, parameters: Float32Array): Promise<void> {
  return writeDurable(path, new Uint8Array(parameters.buffer, parameters.byteOffset, parameters.byteLength));
}

/** Reads what `writeWeights` wrote. Throws LW-INPUT-FILE when it cannot be read or is of another network. */
export async function readWeights(path: string): Promise<Float32Array> {
  const bytes = await readBytes(path);
  if (bytes.length !== 4 * PARAMETERS)
    throw new LeewayError('LW-INPUT-FILE', `${path}: ${bytes.length} bytes, expected ${4 * PARAMETERS}`);
  return new Float32Array(Uint8Array.from(bytes).buffer);
}

/** Writes labelled rows, oldest first. */
export function writeRows(path: string, rows: readonly LabelledRow[]): Promise<void> {
  const bytes = new Uint8Array(rows.length * ROW_BYTES);
  for (const [row, { pixels, label }] of rows.entries()) {
    assert(pixels.length === PIXELS, 'a row must have 784 pixels');
    bytes.set(pixels, row * ROW_BYTES);
    bytes[row * ROW_BYTES + PIXELS] = label;
  }
  return writeDurable(path, bytes);
}

/** Reads what `writeRows` wrote. Throws LW-INPUT-FILE when it cannot be read or is not a whole number of rows. */
export async function readRows(path: string): Promise<LabelledRows> {
  const bytes = await readBytes(path);
  if (bytes.length === 0 || bytes.length % ROW_BYTES !== 0)
    throw new LeewayError('LW-INPUT-FILE', `${path}: ${bytes.length} bytes, expected a multiple of ${ROW_BYTES}`);
  return { bytes, count: bytes.length / ROW_BYTES };
}

/** One row of a block; throws RangeError outside it. */
export function rowOf(rows: LabelledRows, row: number): LabelledRow {
  const start = row * ROW_BYTES;
  const label = rows.bytes[start + PIXELS];
  if (label === undefined) throw new RangeError(`row ${row} of ${rows.count}`);
  return { pixels: rows.bytes.subarray(start, start + PIXELS), label };
}

async function readBytes(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new LeewayError('LW-INPUT-FILE', `${path}: cannot be read (${systemCode(cause) ?? 'unknown reason'})`, {
      cause,
    });
  }
}
