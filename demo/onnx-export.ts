import { CLASSES, PIXELS } from './digits.ts';
import { HIDDEN, partsOf } from './network.ts';

// Protocol Buffers wire format and onnx.proto3 field numbers (ONNX 1.17), written by hand: the graph is four nodes.
const FLOAT = 1;
const ATTRIBUTE_INT = 2;

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  bytes.push(rest);
  return bytes;
}

function integer(field: number, value: number): Buffer {
  return Buffer.from([...varint(field << 3), ...varint(value)]);
}

function bytes(field: number, content: string | Uint8Array): Buffer {
  const body = typeof content === 'string' ? Buffer.from(content) : content;
  return Buffer.concat([Buffer.from([...varint((field << 3) | 2), ...varint(body.length)]), body]);
}

function message(field: number, ...parts: readonly Buffer[]): Buffer {
  return bytes(field, Buffer.concat(parts));
}

/** GraphProto.initializer: name, dimensions, float32 little-endian raw data. */
function tensor(name: string, dimensions: readonly number[], values: Float32Array): Buffer {
  const raw = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const sizes = dimensions.map((size) => integer(1, size));
  return message(5, ...sizes, integer(2, FLOAT), bytes(8, name), bytes(9, raw));
}

/** GraphProto.node: operator, inputs, one output, attributes. */
function node(operator: string, inputs: readonly string[], output: string, ...attributes: readonly Buffer[]): Buffer {
  return message(1, ...inputs.map((input) => bytes(1, input)), bytes(2, output), bytes(4, operator), ...attributes);
}

function integerAttribute(name: string, value: number): Buffer {
  return message(5, bytes(1, name), integer(3, value), integer(20, ATTRIBUTE_INT));
}

/** GraphProto.input (11) or output (12): float tensor [N, width] with N free. */
function port(field: 11 | 12, name: string, width: number): Buffer {
  const shape = message(2, message(1, bytes(2, 'N')), message(1, integer(1, width)));
  return message(field, bytes(1, name), message(2, message(1, integer(1, FLOAT), shape)));
}

/**
 * The network as an ONNX file: input `x` [N, 784] of 0..1, outputs `probabilities` [N, 10] and `hidden` [N, 64]; Gemm,
 * Relu, Gemm, Softmax at opset 13, IR version 8; `version` becomes the metadata entry of that name. About 204 KB.
 */
export function toOnnx(parameters: Float32Array, version: string): Buffer {
  const { w1, b1, w2, b2 } = partsOf(parameters);
  const graph = [
    node('Gemm', ['x', 'w1', 'b1'], 'sums'),
    node('Relu', ['sums'], 'hidden'),
    node('Gemm', ['hidden', 'w2', 'b2'], 'logits'),
    node('Softmax', ['logits'], 'probabilities', integerAttribute('axis', 1)),
    bytes(2, 'digits'),
    tensor('w1', [PIXELS, HIDDEN], w1),
    tensor('b1', [HIDDEN], b1),
    tensor('w2', [HIDDEN, CLASSES], w2),
    tensor('b2', [CLASSES], b2),
    port(11, 'x', PIXELS),
    port(12, 'probabilities', CLASSES),
    port(12, 'hidden', HIDDEN),
  ];
  const opset = message(8, bytes(1, ''), integer(2, 13));
  const metadata = message(14, bytes(1, 'version'), bytes(2, version));
  return Buffer.concat([integer(1, 8), bytes(2, 'leeway-demo'), message(7, ...graph), opset, metadata]);
}
