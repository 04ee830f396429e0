import { integerBelow, normal, type Random, seededRandom } from '../../../src/core/random.ts';

/** What a GPU does next, one value a second. */
type Signal = (random: Random) => () => number;

/** A metric of the corpus as its exporter describes it. */
export type Metric = {
  readonly name: string;
  readonly unit: string;
  readonly help: string;
  readonly signal: Signal;
};

/** One series: a metric of one GPU. `number` is its row in every table of the corpus. */
export type Series = {
  readonly number: number;
  readonly metric: Metric;
  readonly labels: Readonly<Record<string, string>>;
};

/** Rows tick by tick, within a tick in the order of the series. Valid until the next chunk is made. */
export type Chunk = {
  readonly ticks: number;
  readonly rows: number;
  readonly series: Uint32Array;
  readonly at_ms: BigInt64Array;
  readonly value: Float64Array;
};

export type CorpusOptions = {
  readonly gpus: number;
  readonly hours: number;
  readonly seed: number;
  readonly start_ms: number;
  /** 0: every sample at its tick; n: 0 to n ms after it, each sample by itself. */
  readonly jitter_ms: number;
};

const GPUS_A_NODE = 8;
/** Half a million rows of 20 bytes. */
const CHUNK_TICKS = 600;

const rounded = (value: number, step: number): number => Math.round(value / step) * step;
const clamped = (value: number, most: number): number => Math.max(0, Math.min(most, value));
const steady =
  (value: number): Signal =>
  () =>
  () =>
    value;
/** A level that wanders slowly, and noise about it. */
const wandering =
  (level: number, drift: number, noise: number): Signal =>
  (random) => {
    let at = level * (0.95 + random.next() * 0.1);
    return () => {
      at += (level - at) * 0.001 + normal(random) * drift;
      return at + normal(random) * noise;
    };
  };
const mapped =
  (signal: Signal, change: (value: number) => number): Signal =>
  (random) => {
    const next = signal(random);
    return () => change(next());
  };
const whole = (signal: Signal): Signal => mapped(signal, (value) => Math.max(0, Math.round(value)));
const ratio = (level: number): Signal =>
  mapped(wandering(level, 0.001, 0.02), (value) => Math.round(clamped(value, 1) * 1e6) / 1e6);
const watts: Signal = wandering(560, 1, 15);
/** A count that rises by `signal` a tick. */
const total =
  (signal: Signal): Signal =>
  (random) => {
    const next = signal(random);
    let sum = integerBelow(random, 1e9);
    return () => (sum += Math.max(0, Math.round(next())));
  };
/** Another value with probability `chance` a tick. */
const rarely =
  (chance: number, change: (before: number, random: Random) => number): Signal =>
  (random) => {
    let value = 0;
    return () => {
      if (random.next() < chance) value = change(value, random);
      return value;
    };
  };
const FB_MIB = 81_559;
const fbUsed: Signal = rarely(0.02, (_, random) => 70_000 + integerBelow(random, 4_000));
const XIDS = [0, 0, 0, 31, 43, 79];
const THROTTLES = [0, 0, 4, 4, 32, 36];
const pick = (from: readonly number[], random: Random): number => from[integerBelow(random, from.length)] ?? 0;
const loss: Signal = (random) => {
  let tick = 0;
  return () => Math.fround(1.8 + 6 * Math.exp(-tick++ / 4_000) + normal(random) * 0.03);
};

const described = (name: string, unit: string, help: string, signal: Signal): Metric => ({ name, unit, help, signal });

/**
 * 22 metrics of a GPU as DCGM and a training loop give them, noisy on purpose. The names are nobody's: those that Leeway
 * knows would make records beside the samples. Free framebuffer is the used one's complement, from a generator in step.
 */
export const METRICS: readonly Metric[] = [
  described(
    'accelerator_utilization_percent',
    'percent',
    'GPU utilization',
    whole(mapped(wandering(93, 0.3, 3), (value) => clamped(value, 100))),
  ),
  described(
    'accelerator_power_watts',
    'watts',
    'Power draw, to the milliwatt',
    mapped(watts, (value) => Math.round(value * 1e3) / 1e3),
  ),
  described('accelerator_temperature_celsius', 'celsius', 'GPU temperature', whole(wandering(62, 0.05, 0.3))),
  described('accelerator_memory_temperature_celsius', 'celsius', 'Memory temperature', whole(wandering(71, 0.05, 0.3))),
  described(
    'accelerator_sm_clock_megahertz',
    'megahertz',
    'SM clock',
    mapped(wandering(1_800, 2, 25), (value) => rounded(value, 15)),
  ),
  described('accelerator_memory_clock_megahertz', 'megahertz', 'Memory clock', steady(2_619)),
  described('accelerator_power_limit_watts', 'watts', 'Power limit', steady(700)),
  described('accelerator_fb_used_mebibytes', 'mebibytes', 'Framebuffer in use', fbUsed),
  described(
    'accelerator_fb_free_mebibytes',
    'mebibytes',
    'Framebuffer free',
    mapped(fbUsed, (value) => FB_MIB - value),
  ),
  described(
    'accelerator_pcie_transmit_bytes_per_second',
    'bytes per second',
    'PCIe sent',
    whole(wandering(6e9, 2e6, 3e8)),
  ),
  described(
    'accelerator_pcie_receive_bytes_per_second',
    'bytes per second',
    'PCIe received',
    whole(wandering(9e9, 2e6, 4e8)),
  ),
  described(
    'accelerator_nvlink_transmit_bytes_per_second',
    'bytes per second',
    'NVLink sent',
    whole(wandering(1.4e11, 5e7, 6e9)),
  ),
  described(
    'accelerator_nvlink_receive_bytes_per_second',
    'bytes per second',
    'NVLink received',
    whole(wandering(1.4e11, 5e7, 6e9)),
  ),
  described('accelerator_sm_active_ratio', 'ratio', 'SMs with a warp', ratio(0.86)),
  described('accelerator_sm_occupancy_ratio', 'ratio', 'Resident warps', ratio(0.41)),
  described('accelerator_tensor_active_ratio', 'ratio', 'Tensor pipe active', ratio(0.52)),
  described('accelerator_dram_active_ratio', 'ratio', 'DRAM interface active', ratio(0.63)),
  described(
    'accelerator_energy_millijoules_total',
    'millijoules',
    'Energy since the driver was loaded',
    total(mapped(watts, (value) => value * 1e3)),
  ),
  described(
    'accelerator_ecc_corrected_total',
    'count',
    'Corrected memory errors',
    rarely(0.0005, (before) => before + 1),
  ),
  described(
    'accelerator_last_xid',
    'code',
    'Last XID error',
    rarely(0.0001, (_, random) => pick(XIDS, random)),
  ),
  described(
    'accelerator_throttle_reasons',
    'bitmask',
    'Reasons for lower clocks',
    rarely(0.02, (_, random) => pick(THROTTLES, random)),
  ),
  described('training_loss', '', 'Loss of the step, a 32-bit float', loss),
];

/** The series of `gpus` GPUs, metric by metric within a GPU. */
export function corpusSeries(gpus: number): Series[] {
  const series: Series[] = [];
  for (let gpu = 0; gpu < gpus; gpu++) {
    const node = Math.floor(gpu / GPUS_A_NODE);
    const labels = {
      cluster: 'c1',
      gpu: String(gpu % GPUS_A_NODE),
      instance: `node-${node}:9400`,
      job: 'gpu-exporter',
      uuid: `GPU-${uuidOf(gpu)}`,
    };
    for (const metric of METRICS) series.push({ number: series.length, metric, labels });
  }
  return series;
}

/** The corpus in chunks of ten minutes: the same values for the same seed, whatever the jitter. */
export function* corpusChunks(series: readonly Series[], options: CorpusOptions): Generator<Chunk> {
  const { seed, start_ms, jitter_ms } = options;
  const next = series.map(({ number, metric }) => metric.signal(seededRandom(seedOf(seed, number))));
  const jitter = seededRandom(seed ^ 0x5eed);
  const ticks_total = Math.round(options.hours * 3_600);
  for (let first = 0; first < ticks_total; first += CHUNK_TICKS) {
    const ticks = Math.min(CHUNK_TICKS, ticks_total - first);
    const rows = ticks * series.length;
    const chunk = {
      ticks,
      rows,
      series: new Uint32Array(rows),
      at_ms: new BigInt64Array(rows),
      value: new Float64Array(rows),
    };
    for (let row = 0; row < rows; row++) {
      const number = row % series.length;
      const tick_ms = start_ms + (first + Math.floor(row / series.length)) * 1_000;
      chunk.series[row] = number;
      chunk.at_ms[row] = BigInt(tick_ms + (jitter_ms === 0 ? 0 : integerBelow(jitter, jitter_ms + 1)));
      chunk.value[row] = next[number]?.() ?? Number.NaN;
    }
    yield chunk;
  }
}

/** Used and free framebuffer of a GPU come from equal generators; every other series has its own. */
function seedOf(seed: number, number: number): number {
  const isFree = METRICS[number % METRICS.length]?.name === 'accelerator_fb_free_mebibytes';
  return Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(isFree ? number : number + 1, 0x85ebca6b);
}

function uuidOf(gpu: number): string {
  const random = seededRandom(gpu + 1);
  const hex = Array.from({ length: 32 }, () => integerBelow(random, 16).toString(16)).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
