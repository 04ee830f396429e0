import { normal, type Random } from '../src/core/random.ts';
import { PIXELS, SIDE } from './digits.ts';

/**
 * Ways in which live inputs can leave the training distribution. Strengths are chosen so that 200 retraining steps on
 * 1,000 recent rows come back within five points of accuracy: full inversion does not, 25 % does.
 */
export const DRIFT_KINDS = ['blur', 'rotate', 'invert', 'noise', 'class-mix'] as const;
export type DriftKind = (typeof DRIFT_KINDS)[number];

export const BLUR_SIGMA_PIXELS = 2;
export const ROTATE_DEGREES = 25;
export const INVERT_RATIO = 0.25;
export const NOISE_SD = 80;
/** Share of requests that show a class which training left out. */
export const MIX_RATIO = 0.35;
/** Classes that `class-mix` leaves out of training. */
export const LEFT_OUT_CLASSES: readonly number[] = [8, 9];

/** Whether the text names a drift. */
export function isDriftKind(text: string): text is DriftKind {
  return DRIFT_KINDS.some((kind) => kind === text);
}

/**
 * One image under a drift, as new bytes. `class-mix` changes which digits arrive, not their pixels: the image is
 * returned as it is. Only `noise` draws from `random`.
 */
export function drifted(pixels: Uint8Array, kind: DriftKind, random: Random): Uint8Array {
  switch (kind) {
    case 'blur':
      return blurred(pixels, BLUR_SIGMA_PIXELS);
    case 'rotate':
      return rotated(pixels, ROTATE_DEGREES);
    case 'invert':
      return pixels.map((value) => Math.round(value + INVERT_RATIO * (255 - 2 * value)));
    case 'noise':
      return pixels.map((value) => byte(value + NOISE_SD * normal(random)));
    case 'class-mix':
      return pixels;
  }
}

function byte(value: number): number {
  return Math.max(0, Math.min(255, Math.round(value)));
}

/** Gaussian blur, separable, kernel cut at 2.5 sigma and normalised; outside the image is black. */
export function blurred(pixels: Uint8Array, sigma: number): Uint8Array {
  const reach = Math.ceil(2.5 * sigma);
  const weights = Array.from({ length: 2 * reach + 1 }, (_, at) =>
    Math.exp(-((at - reach) ** 2) / (2 * sigma * sigma)),
  );
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const kernel = weights.map((weight) => weight / total);
  const across = convolved(pixels, kernel, { dx: 1, dy: 0 });
  return Uint8Array.from(convolved(across, kernel, { dx: 0, dy: 1 }), byte);
}

function convolved(
  source: ArrayLike<number>,
  kernel: readonly number[],
  along: { dx: number; dy: number },
): Float64Array {
  const reach = (kernel.length - 1) / 2;
  const result = new Float64Array(PIXELS);
  for (let at = 0; at < PIXELS; at++) {
    const x = at % SIDE;
    const y = Math.floor(at / SIDE);
    let sum = 0;
    for (const [index, weight] of kernel.entries())
      sum += weight * pixelAt(source, x + (index - reach) * along.dx, y + (index - reach) * along.dy);
    result[at] = sum;
  }
  return result;
}

/** Rotation about the image's centre by `degrees`, bilinear; outside the image is black. */
export function rotated(pixels: Uint8Array, degrees: number): Uint8Array {
  const cos = Math.cos((degrees * Math.PI) / 180);
  const sin = Math.sin((degrees * Math.PI) / 180);
  const centre = (SIDE - 1) / 2;
  return Uint8Array.from({ length: PIXELS }, (_, at) => {
    const x = (at % SIDE) - centre;
    const y = Math.floor(at / SIDE) - centre;
    return byte(bilinear(pixels, cos * x + sin * y + centre, cos * y - sin * x + centre));
  });
}

function bilinear(pixels: Uint8Array, x: number, y: number): number {
  const left = Math.floor(x);
  const top = Math.floor(y);
  const dx = x - left;
  const dy = y - top;
  const above = pixelAt(pixels, left, top) * (1 - dx) + pixelAt(pixels, left + 1, top) * dx;
  const below = pixelAt(pixels, left, top + 1) * (1 - dx) + pixelAt(pixels, left + 1, top + 1) * dx;
  return above * (1 - dy) + below * dy;
}

function pixelAt(source: ArrayLike<number>, x: number, y: number): number {
  return x >= 0 && x < SIDE && y >= 0 && y < SIDE ? (source[y * SIDE + x] ?? 0) : 0;
}
