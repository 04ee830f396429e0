import { normal, type Random, seededRandom } from '../../src/core/random.ts';
import type { LeewayRecord, RecordOf } from '../../src/core/records.ts';
import type { Fault, Plan } from './plan.ts';

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
    const transfers = transfersOf(plan, layout, step);
    const slowest = (kind: 'faulty' | 'clean'): number =>
      Math.max(...[...transfers.values()].map((item) => item[kind]));
    const duration =
      Math.max(...faulty.map((rank) => rank.compute_ms + rank.data_ms)) + slowest('faulty') + world.checkpointMs(step);
    let silence_ms = 0;
    if (hang !== undefined && step === hang.from) {
      silence_ms = hang.kind === 'hang' ? (hang.resume_ms ?? 180_000) : 180_000;
      records.push(...silenceBeats(layout.job, layout.ranks, { step, at_ms, silence_ms }, hang));
      if (hang.kind !== 'hang' || hang.resume_ms === undefined) break;
    }
    const end_ms = at_ms + duration + silence_ms;
    clean_ms.push(
      Math.max(...clean.map((rank) => rank.compute_ms + rank.data_ms)) + slowest('clean') + world.checkpointMs(step),
    );
    step_ms.push(duration + silence_ms);
    for (const [rank, sample] of faulty.entries())
      records.push(
        stepRecord(
          plan,
          layout,
          { rank, step },
          {
            ...sample,
            at_ms,
            end_ms,
            duration: duration + silence_ms,
            transfer_ms: transfers.get(groupOf(layout, rank))?.faulty ?? TRANSFER_MS,
            barrier_ms: Math.max(...faulty.map((item) => item.compute_ms + item.data_ms)),
          },
        ),
      );
    telemetry(plan, layout, records, { step, at_ms, end_ms });
    at_ms = end_ms;
  }
  return { records, step_ms, clean_ms, ranks: layout.ranks, job: layout.job };
}

/** Transfer time of each data-parallel group: 3 % noise, and a slow card on one of its nodes with 20 % jitter. */
function transfersOf(plan: Plan, layout: Layout, step: number): Map<string, { faulty: number; clean: number }> {
  const transfers = new Map<string, { faulty: number; clean: number }>();
  for (const place of layout.places) {
    const name = groupOf(layout, place.rank);
    const random = seededRandom(plan.seed * 17 + step * 2_003 + place.pp * 53 + place.tp * 7);
    const clean =
      transfers.get(name)?.clean ?? TRANSFER_MS * Math.exp((plan.collectives === true ? 0.03 : 0) * normal(random));
    const jitter = 1 + 0.2 * normal(random);
    const fault = plan.faults.find(
      (item) =>
        item.kind === 'nic_slow' && item.node === place.node && step >= item.from && step < (item.to ?? Infinity),
    );
    const faulty = fault?.kind === 'nic_slow' ? clean * (1 + fault.ratio * jitter) : clean;
    transfers.set(name, { clean, faulty: Math.max(faulty, transfers.get(name)?.faulty ?? 0) });
  }
  return transfers;
}

function groupOf(layout: Layout, rank: number): string {
  const place = layout.places[rank];
  return `dp-${place?.pp ?? 0}-${place?.tp ?? 0}`;
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
  plan: Plan,
  layout: Layout,
  of: { rank: number; step: number },
  sample: Sample & { at_ms: number; end_ms: number; duration: number; transfer_ms: number; barrier_ms: number },
): RecordOf<'step'> {
  const ready_ms = sample.compute_ms + sample.data_ms;
  const skew_ms = (of.rank % 7) * 0.3;
  const group = groupOf(layout, of.rank);
  const arrive_ms = sample.at_ms + ready_ms + skew_ms;
  const end_ms = sample.at_ms + sample.barrier_ms + sample.transfer_ms + skew_ms;
  return {
    type: 'step',
    job: layout.job,
    attempt: 0,
    rank: of.rank,
    step: of.step,
    at_ms: sample.end_ms + skew_ms,
    duration_ms: sample.duration,
    compute_ms: sample.compute_ms,
    data_ms: sample.data_ms,
    wait_ms: Math.max(0, sample.duration - ready_ms - sample.transfer_ms),
    transfer_ms: sample.transfer_ms,
    tokens: sample.tokens,
    phase: 'train',
    ...(plan.collectives === true
      ? { collectives: [{ group, op: 'all_reduce', seq: of.step, bytes: 1_000_000_000, arrive_ms, end_ms }] }
      : {}),
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
  if (plan.nics === true)
    for (const node of new Set(layout.places.map((place) => place.node))) {
      const fault = plan.faults.find((item) => item.kind === 'nic_slow' && item.node === node && at.step >= item.from);
      const retransmits = fault?.kind === 'nic_slow' ? 500 * (at.step - fault.from) : Math.floor(at.step / 50);
      records.push({
        type: 'nic',
        node: `node-${node}`,
        device: 'mlx5_0',
        at_ms: at.end_ms,
        tx_bytes: 0,
        rx_bytes: 0,
        retransmits,
      });
    }
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
