import { normal, type Random, seededRandom } from '../../src/core/random.ts';
import type { LeewayRecord, RecordOf } from '../../src/core/records.ts';

/** What is done to the simulated job. `steps` count from 0; `ratio` 0.2 = 20 % more time. */
export type Fault =
  | {
      readonly kind: 'gpu_slow';
      readonly rank: number;
      readonly ratio: number;
      readonly from: number;
      readonly to?: number;
      readonly echo?: 'thermal' | 'power';
    }
  | {
      readonly kind: 'node_slow';
      readonly node: number;
      readonly ratio: number;
      readonly from: number;
      readonly to?: number;
    }
  | {
      readonly kind: 'loader_stall';
      readonly rank: number;
      readonly ratio: number;
      readonly from: number;
      readonly to?: number;
    }
  | { readonly kind: 'storage_stall'; readonly ratio: number; readonly from: number; readonly to?: number }
  | { readonly kind: 'global_slow'; readonly ratio: number; readonly from: number; readonly to?: number }
  | {
      readonly kind: 'hang';
      readonly rank: number;
      readonly from: number;
      readonly resume_ms?: number;
      readonly mute?: boolean;
    }
  | { readonly kind: 'checkpoint_stall'; readonly from: number }
  | { readonly kind: 'gc_pause'; readonly ratio: number }
  | { readonly kind: 'stage_imbalance'; readonly ratio: number }
  | { readonly kind: 'sequence_imbalance'; readonly sigma: number }
  | { readonly kind: 'curriculum'; readonly ratio: number; readonly from: number }
  | { readonly kind: 'heterogeneity'; readonly sigma: number }
  | { readonly kind: 'jitter'; readonly bursts: number }
  | { readonly kind: 'checkpoints'; readonly every: number };

export type Plan = {
  readonly seed: number;
  readonly dp: number;
  readonly pp?: number;
  readonly tp?: number;
  readonly ranks_per_node?: number;
  readonly steps: number;
  readonly compute_ms?: number;
  /** Per-step noise of a rank's compute; 0.004 of a well-kept cluster, 0.03 and 0.06 of shared ones. */
  readonly noise?: number;
  readonly faults: readonly Fault[];
  readonly beats?: boolean;
  readonly gpus?: boolean;
  readonly price?: number;
};

export type Simulation = {
  readonly records: readonly LeewayRecord[];
  /** Step time with and without the faults, by step, ms; ends where the job hangs. */
  readonly step_ms: readonly number[];
  readonly clean_ms: readonly number[];
  readonly ranks: number;
  readonly job: string;
};

const START_MS = 1_760_000_000_000;
const TRANSFER_MS = 60;
const DATA_SHARE = 0.01;

/**
 * A synchronous training job with planted faults: every step waits for the slowest rank's input and compute, then
 * transfers. Noise as reference §6.1: lognormal per rank, common per step, slow common drift. Draws are per (seed,
 * rank, purpose), so that a fault never reshuffles the noise and `clean_ms` is the true counterfactual.
 */
export function simulate(plan: Plan): Simulation {
  const layout = layoutOf(plan);
  const world = new World(plan, layout.ranks);
  const records: LeewayRecord[] = [jobRecord(plan, layout)];
  const step_ms: number[] = [];
  const clean_ms: number[] = [];
  let at_ms = START_MS;
  const hang = plan.faults.find((fault) => fault.kind === 'hang' || fault.kind === 'checkpoint_stall');
  for (let step = 0; step < plan.steps; step++) {
    const { faulty, clean } = world.draw(step, layout.places);
    const duration =
      Math.max(...faulty.map((rank) => rank.compute_ms + rank.data_ms)) + TRANSFER_MS + world.checkpointMs(step);
    let silence_ms = 0;
    if (hang !== undefined && step === hang.from) {
      silence_ms = hang.kind === 'hang' ? (hang.resume_ms ?? 180_000) : 180_000;
      records.push(...silenceBeats(layout.job, layout.ranks, { step, at_ms, silence_ms }, hang));
      if (hang.kind !== 'hang' || hang.resume_ms === undefined) break;
    }
    const end_ms = at_ms + duration + silence_ms;
    clean_ms.push(
      Math.max(...clean.map((rank) => rank.compute_ms + rank.data_ms)) + TRANSFER_MS + world.checkpointMs(step),
    );
    step_ms.push(duration + silence_ms);
    for (const [rank, sample] of faulty.entries())
      records.push(stepRecord(layout.job, rank, step, { ...sample, end_ms, duration: duration + silence_ms }));
    telemetry(plan, layout, records, { step, at_ms, end_ms });
    at_ms = end_ms;
  }
  return { records, step_ms, clean_ms, ranks: layout.ranks, job: layout.job };
}

type Layout = {
  job: string;
  ranks: number;
  places: { rank: number; node: number; dp: number; pp: number; tp: number }[];
  per_node: number;
};

function layoutOf(plan: Plan): Layout {
  const { dp, pp = 1, tp = 1, ranks_per_node: per_node = 8 } = plan;
  const places = Array.from({ length: dp * pp * tp }, (_, rank) => ({
    rank,
    node: Math.floor(rank / per_node),
    tp: rank % tp,
    dp: Math.floor(rank / tp) % dp,
    pp: Math.floor(rank / (tp * dp)),
  }));
  return { job: `sim-${plan.seed}`, ranks: places.length, places, per_node };
}

function jobRecord(plan: Plan, layout: Layout): LeewayRecord {
  return {
    type: 'job',
    job: layout.job,
    attempt: 0,
    at_ms: START_MS,
    world_size: layout.ranks,
    ranks: layout.places.map((place) => ({
      ...place,
      node: `node-${place.node}`,
      gpu: place.rank % layout.per_node,
      local_rank: place.rank % layout.per_node,
    })),
    ...(plan.price === undefined ? {} : { gpu_usd_per_hour: plan.price }),
  };
}

type Sample = { compute_ms: number; data_ms: number; tokens: number };

class World {
  readonly #plan: Plan;
  readonly #noise: Random[];
  readonly #data: Random[];
  readonly #fault: Random[];
  readonly #common: Random;
  readonly #static: number[];
  readonly #phase: number[];
  readonly #bursts = new Map<number, { rank: number; factor: number }[]>();
  #drift = 0;

  constructor(plan: Plan, ranks: number) {
    this.#plan = plan;
    const stream = (purpose: number): Random[] =>
      Array.from({ length: ranks }, (_, rank) => seededRandom(plan.seed * 1_000_003 + rank * 101 + purpose));
    this.#noise = stream(1);
    this.#data = stream(2);
    this.#fault = stream(3);
    this.#common = seededRandom(plan.seed * 7 + 5);
    const fixed = seededRandom(plan.seed * 13 + 11);
    const sigma = plan.faults.find((fault) => fault.kind === 'heterogeneity')?.sigma ?? 0;
    this.#static = Array.from({ length: ranks }, () => Math.exp(sigma * normal(fixed)));
    this.#phase = Array.from({ length: ranks }, () => Math.floor(fixed.next() * 100));
    const bursts = plan.faults.find((fault) => fault.kind === 'jitter')?.bursts ?? 0;
    for (let burst = 0; burst < bursts; burst++) {
      const rank = Math.floor(fixed.next() * ranks);
      const from = Math.floor(fixed.next() * plan.steps);
      const factor = 1.5 + 2.5 * fixed.next();
      const length = 1 + Math.floor(4 * fixed.next());
      for (let step = from; step < from + length; step++)
        this.#bursts.set(step, [...(this.#bursts.get(step) ?? []), { rank, factor }]);
    }
  }

  checkpointMs(step: number): number {
    const every = this.#plan.faults.find((fault) => fault.kind === 'checkpoints')?.every;
    return every !== undefined && step > 0 && step % every === 0 ? 5 * (this.#plan.compute_ms ?? 1_500) : 0;
  }

  draw(step: number, places: Layout['places']): { faulty: Sample[]; clean: Sample[] } {
    this.#drift = 0.995 * this.#drift + 0.002 * normal(this.#common);
    const common = Math.exp(0.005 * normal(this.#common) + this.#drift);
    const faulty: Sample[] = [];
    const clean: Sample[] = [];
    for (const place of places) {
      const base = this.#base(place, step, common);
      clean.push(base);
      faulty.push(this.#plan.faults.reduce((sample, fault) => this.#apply(sample, fault, place, step), base));
    }
    return { faulty, clean };
  }

  #base(place: Layout['places'][number], step: number, common: number): Sample {
    const noise = this.#noise[place.rank];
    const data = this.#data[place.rank];
    if (noise === undefined || data === undefined) throw new Error('rank outside the layout');
    const base_ms = this.#plan.compute_ms ?? 1_500;
    const compile = step < 10 ? 5 : 1;
    const own = Math.exp((this.#plan.noise ?? 0.004) * normal(noise)) * (this.#static[place.rank] ?? 1);
    return {
      compute_ms: base_ms * common * own * compile,
      data_ms: Math.abs(base_ms * (DATA_SHARE + 0.003 * normal(data))),
      tokens: 8_192,
    };
  }

  #apply(sample: Sample, fault: Fault, place: Layout['places'][number], step: number): Sample {
    const random = this.#fault[place.rank];
    const base_ms = this.#plan.compute_ms ?? 1_500;
    const active =
      !('from' in fault) || (step >= fault.from && (!('to' in fault) || fault.to === undefined || step < fault.to));
    if (!active || random === undefined) return sample;
    const slowed = (ratio: number): Sample => ({ ...sample, compute_ms: sample.compute_ms * (1 + ratio) });
    switch (fault.kind) {
      case 'gpu_slow':
        return place.rank === fault.rank ? slowed(fault.ratio) : sample;
      case 'node_slow':
        return place.node === fault.node ? slowed(fault.ratio) : sample;
      case 'global_slow':
        return slowed(fault.ratio);
      case 'loader_stall': {
        if (place.rank !== fault.rank || random.next() > 0.35) return sample;
        return { ...sample, data_ms: sample.data_ms + base_ms * fault.ratio * Math.exp(0.4 * normal(random)) };
      }
      case 'storage_stall':
        return { ...sample, data_ms: sample.data_ms + base_ms * fault.ratio * Math.exp(0.1 * normal(random)) };
      case 'gc_pause':
        return (step + (this.#phase[place.rank] ?? 0)) % 100 === 0
          ? { ...sample, compute_ms: sample.compute_ms + base_ms * fault.ratio }
          : sample;
      case 'stage_imbalance':
        return place.pp === (this.#plan.pp ?? 1) - 1 ? slowed(fault.ratio) : sample;
      case 'sequence_imbalance': {
        const shared = seededRandom(this.#plan.seed * 31 + step * 1_009 + place.dp * 7);
        const factor = Math.exp(fault.sigma * normal(shared));
        return { ...sample, compute_ms: sample.compute_ms * factor, tokens: Math.round(sample.tokens * factor) };
      }
      case 'curriculum':
        return { ...slowed(fault.ratio), tokens: Math.round(sample.tokens * (1 + fault.ratio)) };
      case 'jitter': {
        const burst = this.#bursts.get(step)?.find((item) => item.rank === place.rank);
        return burst === undefined ? sample : slowed(burst.factor - 1);
      }
      default:
        return sample;
    }
  }
}

function stepRecord(
  job: string,
  rank: number,
  step: number,
  sample: Sample & { end_ms: number; duration: number },
): RecordOf<'step'> {
  const wait_ms = Math.max(0, sample.duration - sample.compute_ms - sample.data_ms - TRANSFER_MS);
  return {
    type: 'step',
    job,
    attempt: 0,
    rank,
    step,
    at_ms: sample.end_ms + (rank % 7) * 0.3,
    duration_ms: sample.duration,
    compute_ms: sample.compute_ms,
    data_ms: sample.data_ms,
    wait_ms,
    transfer_ms: TRANSFER_MS,
    tokens: sample.tokens,
    phase: 'train',
  };
}

/** Heartbeats once a second of a job that stands still: who waits, who is missing. */
function silenceBeats(
  job: string,
  ranks: number,
  at: { step: number; at_ms: number; silence_ms: number },
  fault: Fault,
): LeewayRecord[] {
  const beats: LeewayRecord[] = [];
  for (let second = 1; second * 1_000 < at.silence_ms; second++)
    for (let rank = 0; rank < ranks; rank++) {
      const culprit = fault.kind === 'hang' && rank === fault.rank;
      if (culprit && fault.mute === true) continue;
      const state = fault.kind === 'checkpoint_stall' ? 'checkpoint' : culprit ? 'running' : 'in_collective';
      beats.push({
        type: 'heartbeat',
        job,
        attempt: 0,
        rank,
        at_ms: at.at_ms + second * 1_000 + rank,
        step: at.step,
        state,
        ...(state === 'in_collective' ? { group: 'dp', op: 'all_reduce', seq: at.step } : {}),
      });
    }
  return beats;
}

function telemetry(
  plan: Plan,
  layout: Layout,
  records: LeewayRecord[],
  at: { step: number; at_ms: number; end_ms: number },
): void {
  if (plan.beats === true)
    for (let rank = 0; rank < layout.ranks; rank++)
      records.push({
        type: 'heartbeat',
        job: layout.job,
        attempt: 0,
        rank,
        at_ms: at.at_ms + 1,
        step: at.step,
        state: 'running',
      });
  if (plan.gpus !== true) return;
  for (const place of layout.places) {
    const fault = plan.faults.find(
      (item) =>
        item.kind === 'gpu_slow' && item.rank === place.rank && at.step >= item.from && at.step < (item.to ?? Infinity),
    );
    const echo = fault?.kind === 'gpu_slow' ? fault.echo : undefined;
    records.push({
      type: 'gpu',
      node: `node-${place.node}`,
      gpu: place.rank % layout.per_node,
      at_ms: at.end_ms,
      utilization: 1,
      sm_clock_mhz: echo === undefined ? 1_980 : 1_500,
      sm_clock_max_mhz: 1_980,
      temperature_c: echo === 'thermal' ? 88 : 62,
      power_w: 650,
      throttle: echo === 'thermal' ? ['hw_thermal'] : echo === 'power' ? ['sw_power_cap'] : [],
    });
  }
}

/** The records as a collector delivers them: up to `late_ms` late, some twice, some never; seeded. */
export function delivered(
  records: readonly LeewayRecord[],
  how: { seed: number; late_ms: number; lost: number; twice: number },
): LeewayRecord[] {
  const random = seededRandom(how.seed);
  const out: { at: number; record: LeewayRecord }[] = [];
  for (const record of records) {
    const at_ms = 'at_ms' in record ? record.at_ms : 0;
    if (record.type !== 'job' && random.next() < how.lost) continue;
    out.push({ at: at_ms + random.next() * how.late_ms, record });
    if (random.next() < how.twice) out.push({ at: at_ms + random.next() * how.late_ms, record });
  }
  return out.sort((a, b) => a.at - b.at).map((item) => item.record);
}
