import { systemClock } from '../src/core/clock.ts';
import type { JobPlan } from './job.ts';
import type { Recipe } from './rank.ts';
import type { Sender } from './sender.ts';

/** Names and prices of the mini-cluster: a machine whose processes are billed as if each rank held one GPU of it. */
export const CLUSTER = {
  asset: 'demo-node-0',
  node: 'demo-node-0',
  gpus: 8,
  gpu_model: 'H100 80GB',
  instance_type: 'p5.48xlarge',
  region: 'us-east-1',
  usd_per_hour: '55.04',
  team: 'digits',
  model: 'digits',
  job: 'digits-train',
} as const;

/** The asset and its price, as an inventory would report them. The machine's life begins now. */
export function openBooks(books: Sender): void {
  const { asset: id, gpus, gpu_model, instance_type, region, usd_per_hour } = CLUSTER;
  const from_ms = Math.floor(systemClock.now_ms());
  const kind = { instance_type, region, pricing: 'on_demand' };
  const place = { provider: 'aws', account: 'demo', kind: 'gpu_node', gpus, gpu_model };
  books.emit({ type: 'asset', id, from_ms, to_ms: null, ...kind, ...place });
  books.emit({ type: 'price', ...kind, from_ms: 0, usd_per_hour, source: 'list price', retrieved_on: '2026-11-01' });
}

/** A training job on the cluster: one GPU a rank from index 0, billed to the team and the job. */
export function jobPlan(of: {
  readonly job: string;
  readonly ranks: number;
  readonly directory: string;
  readonly recipe: Recipe;
  readonly leeway: NonNullable<JobPlan['leeway']>;
}): JobPlan {
  const { job, ranks, directory, recipe, leeway } = of;
  return {
    job,
    attempt: 0,
    model: CLUSTER.model,
    directory,
    recipe,
    leeway,
    placements: Array.from({ length: ranks }, (_, gpu_index) => ({
      node: CLUSTER.node,
      gpu_index,
      asset: CLUSTER.asset,
    })),
    gpu_usd_per_hour: Number(CLUSTER.usd_per_hour) / CLUSTER.gpus,
    tenant: { team: CLUSTER.team, job, model: CLUSTER.model },
  };
}
