import { SIDE } from './digits.ts';

const REGIONS = 4;
const REGION_SIDE = SIDE / REGIONS;
const INK_FROM = 128;

/**
 * Cheap features of one image of bytes 0..255, each 0..1: `intensity` mean brightness, `ink` share of pixels at least
 * half bright, `edge` mean absolute difference to the left and upper neighbour, `region_0` … `region_15` mean brightness
 * of a 4×4 grid, row by row. Region means see rotation and class mix, edge sees blur and noise, intensity inversion.
 */
export function inputFeatures(pixels: Uint8Array): Record<string, number> {
  const regions = new Float64Array(REGIONS * REGIONS);
  let sum = 0;
  let ink = 0;
  let edge = 0;
  for (let y = 0; y < SIDE; y++)
    for (let x = 0; x < SIDE; x++) {
      const value = at(pixels, x, y);
      sum += value;
      if (value >= INK_FROM) ink++;
      if (x > 0) edge += Math.abs(value - at(pixels, x - 1, y));
      if (y > 0) edge += Math.abs(value - at(pixels, x, y - 1));
      const region = Math.floor(y / REGION_SIDE) * REGIONS + Math.floor(x / REGION_SIDE);
      regions[region] = (regions[region] ?? 0) + value;
    }
  const features: Record<string, number> = {
    intensity: sum / (SIDE * SIDE * 255),
    ink: ink / (SIDE * SIDE),
    edge: edge / (2 * SIDE * (SIDE - 1) * 255),
  };
  for (const [region, total] of regions.entries())
    features[`region_${region}`] = total / (REGION_SIDE * REGION_SIDE * 255);
  return features;
}

function at(pixels: Uint8Array, x: number, y: number): number {
  return pixels[y * SIDE + x] ?? 0;
}

/**
 * Features of a probability vector: `confidence` the largest, `margin` largest minus second, `entropy` in nats
 * (0 … ln n). A vector of fewer than two scores has margin = confidence.
 */
export function scoreFeatures(scores: ArrayLike<number>): { confidence: number; entropy: number; margin: number } {
  let first = 0;
  let second = 0;
  let entropy = 0;
  for (const score of Array.from(scores)) {
    if (score > first) {
      second = first;
      first = score;
    } else if (score > second) second = score;
    if (score > 1e-12) entropy -= score * Math.log(score);
  }
  return { confidence: first, entropy, margin: first - second };
}
