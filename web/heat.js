// Colours of the heat map of relative compute. Pure.

/** Beyond this much from the others, a colour says no more: a straggler is visible from 3 %. */
export const HEAT_LIMIT = 0.3;

/** @typedef {[number, number, number]} Rgb */

/**
 * The numbers of a CSS colour "rgb(1, 2, 3)" or "rgb(1 2 3)".
 * @param {string} color
 * @returns {Rgb}
 */
export function rgbOf(color) {
  const [red = 0, green = 0, blue = 0] = (color.match(/[\d.]+/g) ?? []).map(Number);
  return [red, green, blue];
}

/**
 * Paints relative values (1 = as the others) as RGBA pixels: from `fast` over `even` to `slow`; unknown is transparent.
 * O(n) in the cells: 1,024 × 2,000 in some 30 ms.
 * @param {Float64Array} relative
 * @param {{ fast: Rgb, even: Rgb, slow: Rgb }} ramp
 * @returns {Uint8ClampedArray<ArrayBuffer>}
 */
export function paint(relative, { fast, even, slow }) {
  const pixels = new Uint8ClampedArray(relative.length * 4);
  for (let cell = 0; cell < relative.length; cell++) {
    const away = (relative[cell] ?? Number.NaN) - 1;
    if (Number.isNaN(away)) continue;
    const share = Math.min(1, Math.abs(away) / HEAT_LIMIT);
    const end = away > 0 ? slow : fast;
    for (let channel = 0; channel < 3; channel++)
      pixels[cell * 4 + channel] = (even[channel] ?? 0) + share * ((end[channel] ?? 0) - (even[channel] ?? 0));
    pixels[cell * 4 + 3] = 255;
  }
  return pixels;
}

/**
 * Fewer columns for a narrow screen: each keeps the slowest value of those that it stands for, so that no straggler
 * falls between two pixels.
 * @param {Float64Array} relative
 * @param {{ columns: number, most: number }} size
 * @returns {{ relative: Float64Array, columns: number, each: number }} `each` old columns a new one
 */
export function fewerColumns(relative, { columns, most }) {
  const each = Math.max(1, Math.ceil(columns / most));
  if (each === 1) return { relative, columns, each };
  const rows = columns === 0 ? 0 : relative.length / columns;
  const width = Math.ceil(columns / each);
  const kept = new Float64Array(rows * width).fill(Number.NaN);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const value = relative[row * columns + column] ?? Number.NaN;
      const cell = row * width + Math.floor(column / each);
      const held = kept[cell] ?? Number.NaN;
      if (Number.isNaN(held) || value > held) kept[cell] = value;
    }
  return { relative: kept, columns: width, each };
}
