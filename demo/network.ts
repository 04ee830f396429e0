import { normal, seededRandom } from '../src/core/random.ts';
import { CLASSES, PIXELS } from './digits.ts';

// `as number` below: the index is inside its array by the loop's bounds, and these loops are all the time a step takes.

/** Hidden units of the demo's network. */
export const HIDDEN = 64;

/**
 * Offsets of the parts of the flat parameter vector: W1[784][hidden], b1[hidden], W2[hidden][10], b2[10].
 * One vector so that gradients travel as one message.
 */
const B1 = PIXELS * HIDDEN;
const W2 = B1 + HIDDEN;
const B2 = W2 + HIDDEN * CLASSES;

/** Parameters of the 784→64→10 network: 50,890 (204 KB as float32). */
export const PARAMETERS = B2 + CLASSES;

/** Buffers of one batch; made once, reused every step. `count` examples at most, a multiple of 4. */
export type Batch = {
  readonly count_max: number;
  /** Inputs 0..1, `PIXELS` an example. */
  readonly inputs: Float32Array;
  readonly labels: Uint8Array;
  readonly hidden: Float32Array;
  /** Probabilities after `forward`. */
  readonly outputs: Float32Array;
  readonly hidden_gradients: Float64Array;
  readonly sums: Float64Array;
};

/** Views of the parameter vector by part, for export. */
export function partsOf(parameters: Float32Array): {
  readonly w1: Float32Array;
  readonly b1: Float32Array;
  readonly w2: Float32Array;
  readonly b2: Float32Array;
} {
  return {
    w1: parameters.subarray(0, B1),
    b1: parameters.subarray(B1, W2),
    w2: parameters.subarray(W2, B2),
    b2: parameters.subarray(B2, PARAMETERS),
  };
}

/** Weights by He's rule for the ReLU layer (variance 2/784) and 1/64 for the output layer; zero biases. Equal by seed. */
export function initialParameters(seed: number): Float32Array {
  const parameters = new Float32Array(PARAMETERS);
  const random = seededRandom(seed);
  const { w1, w2 } = partsOf(parameters);
  for (let index = 0; index < w1.length; index++) w1[index] = normal(random) * Math.sqrt(2 / PIXELS);
  for (let index = 0; index < w2.length; index++) w2[index] = normal(random) * Math.sqrt(1 / HIDDEN);
  return parameters;
}

/** Empty buffers for up to `count` examples, rounded up to a multiple of 4. */
export function newBatch(count: number): Batch {
  const count_max = Math.ceil(count / 4) * 4;
  return {
    count_max,
    inputs: new Float32Array(count_max * PIXELS),
    labels: new Uint8Array(count_max),
    hidden: new Float32Array(count_max * HIDDEN),
    outputs: new Float32Array(count_max * CLASSES),
    hidden_gradients: new Float64Array(count_max * HIDDEN),
    sums: new Float64Array(4 * HIDDEN),
  };
}

/** Puts one image (bytes 0..255) and its class at place `at` of the batch. */
export function fillRow(batch: Batch, at: number, pixels: Uint8Array, label: number): void {
  batch.labels[at] = label;
  const start = at * PIXELS;
  for (let index = 0; index < PIXELS; index++) batch.inputs[start + index] = (pixels[index] as number) / 255;
}

/**
 * Probabilities of the first `count` examples (a multiple of 4) into `batch.outputs`, hidden layer into `batch.hidden`.
 * Dense on purpose: skipping black pixels would tie compute time to the data, and an inverted image would look like a
 * slow rank.
 */
export function forward(parameters: Float32Array, batch: Batch, count: number): void {
  hiddenLayer(parameters, batch, count);
  for (let example = 0; example < count; example++) outputLayer(parameters, batch, example);
}

/** Four examples share each weight load: 47 µs an example instead of 250. */
function hiddenLayer(parameters: Float32Array, batch: Batch, count: number): void {
  const { inputs, hidden, sums } = batch;
  for (let first = 0; first < count; first += 4) {
    for (let unit = 0; unit < 4 * HIDDEN; unit++) sums[unit] = parameters[B1 + (unit % HIDDEN)] as number;
    const start = first * PIXELS;
    for (let pixel = 0; pixel < PIXELS; pixel++) {
      const x0 = inputs[start + pixel] as number;
      const x1 = inputs[start + PIXELS + pixel] as number;
      const x2 = inputs[start + 2 * PIXELS + pixel] as number;
      const x3 = inputs[start + 3 * PIXELS + pixel] as number;
      const row = pixel * HIDDEN;
      for (let unit = 0; unit < HIDDEN; unit++) {
        const weight = parameters[row + unit] as number;
        sums[unit] = (sums[unit] as number) + x0 * weight;
        sums[HIDDEN + unit] = (sums[HIDDEN + unit] as number) + x1 * weight;
        sums[2 * HIDDEN + unit] = (sums[2 * HIDDEN + unit] as number) + x2 * weight;
        sums[3 * HIDDEN + unit] = (sums[3 * HIDDEN + unit] as number) + x3 * weight;
      }
    }
    const out = first * HIDDEN;
    for (let unit = 0; unit < 4 * HIDDEN; unit++) hidden[out + unit] = Math.max(0, sums[unit] as number);
  }
}

/** Softmax of the second layer, shifted by the largest logit so that exp never overflows. */
function outputLayer(parameters: Float32Array, batch: Batch, example: number): void {
  const { hidden, outputs } = batch;
  const out = example * CLASSES;
  const units = example * HIDDEN;
  let largest = -Infinity;
  for (let label = 0; label < CLASSES; label++) {
    let logit = parameters[B2 + label] as number;
    for (let unit = 0; unit < HIDDEN; unit++)
      logit += (hidden[units + unit] as number) * (parameters[W2 + unit * CLASSES + label] as number);
    outputs[out + label] = logit;
    if (logit > largest) largest = logit;
  }
  let total = 0;
  for (let label = 0; label < CLASSES; label++) {
    const weight = Math.exp((outputs[out + label] as number) - largest);
    outputs[out + label] = weight;
    total += weight;
  }
  for (let label = 0; label < CLASSES; label++) outputs[out + label] = (outputs[out + label] as number) / total;
}

/** What `backward` counted over its examples. */
export type Totals = { readonly loss: number; readonly correct: number };

/**
 * Adds the sum (not the mean) of the cross-entropy gradients of the first `count` examples to `gradients`, after
 * `forward`. Returns summed loss in nats and correct answers. Overwrites `batch.outputs` with probabilities − one-hot.
 */
export function backward(parameters: Float32Array, batch: Batch, count: number, gradients: Float32Array): Totals {
  let loss = 0;
  let correct = 0;
  for (let example = 0; example < count; example++) {
    const label = batch.labels[example] as number;
    const probability = batch.outputs[example * CLASSES + label] as number;
    if (argmax(batch.outputs, example * CLASSES) === label) correct++;
    loss -= Math.log(Math.max(probability, 1e-12));
    batch.outputs[example * CLASSES + label] = probability - 1;
    outputGradients(parameters, batch, example, gradients);
  }
  inputGradients(batch, count, gradients);
  return { loss, correct };
}

function outputGradients(parameters: Float32Array, batch: Batch, example: number, gradients: Float32Array): void {
  const { hidden, outputs, hidden_gradients } = batch;
  const out = example * CLASSES;
  const units = example * HIDDEN;
  for (let label = 0; label < CLASSES; label++)
    gradients[B2 + label] = (gradients[B2 + label] as number) + (outputs[out + label] as number);
  for (let unit = 0; unit < HIDDEN; unit++) {
    const activity = hidden[units + unit] as number;
    const row = W2 + unit * CLASSES;
    let back = 0;
    for (let label = 0; label < CLASSES; label++) {
      const error = outputs[out + label] as number;
      back += error * (parameters[row + label] as number);
      gradients[row + label] = (gradients[row + label] as number) + error * activity;
    }
    const gradient = activity > 0 ? back : 0;
    hidden_gradients[units + unit] = gradient;
    gradients[B1 + unit] = (gradients[B1 + unit] as number) + gradient;
  }
}

function inputGradients(batch: Batch, count: number, gradients: Float32Array): void {
  const { inputs, hidden_gradients } = batch;
  for (let first = 0; first < count; first += 4) {
    const start = first * PIXELS;
    const units = first * HIDDEN;
    for (let pixel = 0; pixel < PIXELS; pixel++) {
      const x0 = inputs[start + pixel] as number;
      const x1 = inputs[start + PIXELS + pixel] as number;
      const x2 = inputs[start + 2 * PIXELS + pixel] as number;
      const x3 = inputs[start + 3 * PIXELS + pixel] as number;
      const row = pixel * HIDDEN;
      for (let unit = 0; unit < HIDDEN; unit++) {
        const at = units + unit;
        gradients[row + unit] =
          (gradients[row + unit] as number) +
          x0 * (hidden_gradients[at] as number) +
          x1 * (hidden_gradients[at + HIDDEN] as number) +
          x2 * (hidden_gradients[at + 2 * HIDDEN] as number) +
          x3 * (hidden_gradients[at + 3 * HIDDEN] as number);
      }
    }
  }
}

/** Settings of one update. `examples` divides the summed gradient. */
export type Update = { readonly learning_rate: number; readonly momentum: number; readonly examples: number };

/** One step of SGD with heavy-ball momentum: v ← momentum·v + g/examples; parameters ← parameters − learning_rate·v. */
export function descend(
  parameters: Float32Array,
  velocity: Float32Array,
  gradients: Float32Array,
  update: Update,
): void {
  const scale = 1 / update.examples;
  for (let index = 0; index < parameters.length; index++) {
    const speed = update.momentum * (velocity[index] as number) + (gradients[index] as number) * scale;
    velocity[index] = speed;
    parameters[index] = (parameters[index] as number) - update.learning_rate * speed;
  }
}

/** Class of the largest of the ten values from `start` on; the first of equals. */
export function argmax(values: ArrayLike<number>, start = 0): number {
  let best = 0;
  for (let label = 1; label < CLASSES; label++)
    if ((values[start + label] as number) > (values[start + best] as number)) best = label;
  return best;
}

/** Probabilities (`CLASSES` a row) of `count` images given as bytes 0..255. */
export function predict(parameters: Float32Array, pixels: Uint8Array, count: number): Float32Array {
  const probabilities = new Float32Array(count * CLASSES);
  const batch = newBatch(Math.min(count, 100));
  for (let first = 0; first < count; first += batch.count_max) {
    const rows = Math.min(batch.count_max, count - first);
    for (let row = 0; row < rows; row++) {
      const start = (first + row) * PIXELS;
      fillRow(batch, row, pixels.subarray(start, start + PIXELS), 0);
    }
    forward(parameters, batch, Math.ceil(rows / 4) * 4);
    probabilities.set(batch.outputs.subarray(0, rows * CLASSES), first * CLASSES);
  }
  return probabilities;
}
