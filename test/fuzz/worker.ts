// One decoder, fuzzed on a thread of its own: the thread that watches it can end what never ends by itself.
import { parentPort, workerData } from 'node:worker_threads';
import { fuzz } from './fuzz.ts';
import { loadTarget } from './load.ts';

/** `shared`: [inputs begun, length of the input at hand] as Int32, then its bytes. */
export type FuzzWork = {
  readonly decoder: string;
  readonly seed: number;
  readonly seconds: number;
  readonly shared: SharedArrayBuffer;
};

const { decoder, seed, seconds, shared } = workerData as FuzzWork; // what run.ts gives
const heads = new Int32Array(shared, 0, 2);
const held = new Uint8Array(shared, 8);
const report = fuzz(await loadTarget(decoder), {
  seed,
  seconds,
  onInput: (bytes) => {
    heads[0] = (heads[0] ?? 0) + 1;
    heads[1] = Math.min(bytes.length, held.length);
    held.set(bytes.length > held.length ? bytes.subarray(0, held.length) : bytes);
  },
});
parentPort?.postMessage(report);
