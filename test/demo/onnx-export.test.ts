import { expect, test } from 'vitest';
import { loadDigits, PIXELS } from '../../demo/digits.ts';
import { argmax, initialParameters, predict } from '../../demo/network.ts';
import { toOnnx } from '../../demo/onnx-export.ts';
import { inputOf, openSession, pixelsOf, probabilitiesOf } from '../../demo/onnx-session.ts';

test('ONNX Runtime computes the same probabilities and classes from the exported file', async () => {
  const digits = loadDigits('t10k');
  const rows = 200;
  const pixels = digits.pixels.subarray(0, rows * PIXELS);
  const parameters = initialParameters(4);
  const session = await openSession(toOnnx(parameters, '1'));
  try {
    const theirs = probabilitiesOf(await session.run(inputOf(pixels)));
    const ours = predict(parameters, pixels, rows);
    expect(theirs).toHaveLength(rows * 10);
    // float32 sums in another order: 784 products of about 0.05, each rounded to 6e-8 of its size
    for (const [at, score] of theirs.entries()) expect(Math.abs(score - (ours[at] ?? Number.NaN))).toBeLessThan(1e-6);
    for (let row = 0; row < rows; row++) expect(argmax(theirs, row * 10)).toBe(argmax(ours, row * 10));
  } finally {
    await session.release();
  }
});

test('the session has the declared ports', async () => {
  const session = await openSession(toOnnx(initialParameters(4), '17'));
  expect(session.inputNames).toEqual(['x']);
  expect(session.outputNames).toEqual(['probabilities', 'hidden']);
  await session.release();
});

test('pixels survive the way into a tensor and back', () => {
  const pixels = Uint8Array.from({ length: PIXELS }, (_, at) => at % 256);
  expect(pixelsOf(inputOf(pixels))).toEqual(pixels);
});
