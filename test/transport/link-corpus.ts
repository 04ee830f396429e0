import type { LinkFrame } from '../../src/formats/link-batch.ts';
import { normal, type Random, seededRandom } from '../../src/core/random.ts';

/** What 8 GPUs of one node report in a second: 22 values each, 176 samples. */
export const GPUS = 8;
export const VALUES = 22;
const START_MS = 1_763_596_800_000;
const MIB = 1_048_576;

type Gpu = { temperature: number; memory_temperature: number; memory_mib: number; energy_mj: number; loss: number };

/**
 * Ticks of a training node with the noise of real sensors: every 600 s a pause of 25 s, power to 1 mW, ratios to 1e-6, counters
 * of bytes. The same distributions as in the measurement that set the budget of the codec.
 */
export class NodeCorpus {
  readonly #random: Random;
  readonly #gpus: Gpu[];
  #tick = 0;

  constructor(seed: number) {
    this.#random = seededRandom(seed);
    this.#gpus = Array.from({ length: GPUS }, () => ({
      temperature: 60,
      memory_temperature: 70,
      memory_mib: 60_000,
      energy_mj: Math.floor(this.#random.next() * 1e12),
      loss: 3,
    }));
  }

  /** The records of the next second. */
  tick(): Record<string, unknown>[] {
    const at_ms = START_MS + this.#tick * 1000;
    const load = this.#tick % 600 < 25 ? 0.15 : 0.97;
    this.#tick++;
    return this.#gpus.map((state, gpu) => ({
      type: 'gpu',
      node: 'gpu-node-017',
      gpu,
      at_ms,
      ...this.#read(state, load),
    }));
  }

  /** `ticks` seconds as one frame each. */
  frames(ticks: number): LinkFrame[] {
    return Array.from({ length: ticks }, () => ({
      source: 'nvidia@gpu-node-017',
      epoch: 5_123_456_789_012_345,
      sequence: this.#tick + 1,
      records: this.tick(),
    }));
  }

  #read(state: Gpu, load: number): Record<string, number> {
    const random = this.#random;
    const noise = (size: number): number => normal(random) * size;
    const power_mw = Math.round((90 + load * 560 + noise(12)) * 1000);
    state.temperature += (35 + load * 33 - state.temperature) * 0.02 + noise(0.15);
    state.memory_temperature += (40 + load * 38 - state.memory_temperature) * 0.015 + noise(0.15);
    if (random.next() < 0.002) state.memory_mib = 60_000 + Math.round(random.next() * 8000);
    state.energy_mj += power_mw;
    state.loss *= 0.99998;
    const nvlink = load * 2.1e11 + noise(1.5e10);
    const ratio = (value: number): number => Number(value.toFixed(6));
    return {
      utilization: Math.round(load * 100 + noise(2)) / 100,
      memory_utilization: Math.round(load * 60 + noise(3)) / 100,
      power_w: power_mw / 1000,
      temperature_c: Math.round(state.temperature),
      memory_temperature_c: Math.round(state.memory_temperature),
      sm_clock_mhz: 1980 - 15 * Math.round(3 + noise(1.5)),
      sm_clock_max_mhz: 2619,
      memory_used_bytes: state.memory_mib * MIB,
      memory_free_bytes: (81_559 - state.memory_mib) * MIB,
      pcie_tx_bytes: Math.round(load * 3e9 + noise(4e8)),
      pcie_rx_bytes: Math.round(load * 2e9 + noise(3e8)),
      nvlink_tx_bytes: Math.round(nvlink),
      nvlink_rx_bytes: Math.round(nvlink * (0.98 + random.next() * 0.04)),
      sm_active: ratio(load * 0.9 + noise(0.02)),
      tensor_active: ratio(load * 0.45 + noise(0.01)),
      dram_active: ratio(load * 0.6 + noise(0.02)),
      fp16_active: ratio(load * 0.5 + noise(0.02)),
      energy_j: state.energy_mj / 1000,
      ecc_uncorrected: 0,
      nvlink_errors: 0,
      xid: random.next() < 0.01 ? 4 : 0,
      loss: ratio(state.loss + noise(0.03)),
    };
  }
}
