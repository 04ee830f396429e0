import { InferenceSession, Tensor } from 'onnxruntime-node';
import { CLASSES, PIXELS } from './digits.ts';

/** A loaded model. The only door to onnxruntime-node. */
export type Session = InferenceSession;
/** Named tensors into or out of a session. */
export type Tensors = Readonly<Record<string, Tensor>>;

/** The provider that the demo's sessions run on. */
export const PROVIDER = 'CPUExecutionProvider';

/**
 * Loads an ONNX file and runs it once, so that the first request does not pay for it. One thread inside an operator:
 * the demo shares two cores with its neighbours. Rejects with onnxruntime's own error when the bytes are no model.
 */
export async function openSession(onnx: Uint8Array): Promise<Session> {
  const session = await InferenceSession.create(onnx, {
    executionProviders: ['cpu'],
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
  });
  await session.run(inputOf(new Uint8Array(PIXELS)));
  return session;
}

/** The input `x` [rows, 784] of 0..1 for images of bytes 0..255. */
export function inputOf(pixels: Uint8Array): { x: Tensor } {
  return {
    x: new Tensor(
      'float32',
      Float32Array.from(pixels, (value) => value / 255),
      [pixels.length / PIXELS, PIXELS],
    ),
  };
}

/** The probabilities of the output, `CLASSES` a row. Throws TypeError when the model has no such output. */
export function probabilitiesOf(outputs: Readonly<Record<string, { readonly data: unknown }>>): Float32Array {
  const data = outputs['probabilities']?.data;
  if (!(data instanceof Float32Array) || data.length % CLASSES !== 0)
    throw new TypeError('the model has no float output "probabilities" [N, 10]');
  return data;
}

/** The bytes 0..255 that `inputOf` was made from. Throws TypeError when the input is not one of its tensors. */
export function pixelsOf(input: Tensors): Uint8Array {
  const data = input['x']?.data;
  if (!(data instanceof Float32Array)) throw new TypeError('the input has no float tensor "x"');
  return Uint8Array.from(data, (value) => Math.round(value * 255));
}
