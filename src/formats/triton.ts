import type { MetricName } from '../core/catalog.ts';
import type { Quality } from '../core/quality.ts';
import { type Attributes, Decoding, type DecodeResult } from './decode-result.ts';
import type { ExpositionSample } from './exposition.ts';
import { exposition, passOn, timeOf } from './prometheus.ts';
import { scaled } from './quantity.ts';

type Rule = { readonly metric: MetricName; readonly unit?: string; readonly attributes?: Attributes };

const STAGES = {
  request: { metric: 'inference.request.duration', attributes: {} },
  queue: { metric: 'inference.queue.duration', attributes: {} },
  compute_input: { metric: 'inference.compute.duration', attributes: { stage: 'input' } },
  compute_infer: { metric: 'inference.compute.duration', attributes: { stage: 'infer' } },
  compute_output: { metric: 'inference.compute.duration', attributes: { stage: 'output' } },
} as const;

/** Names and units: Triton user guide, metrics.md. Durations are cumulative microseconds. */
const RULES: Readonly<Record<string, Rule>> = {
  nv_inference_request_success: { metric: 'inference.requests', attributes: { status: 'success' } },
  nv_inference_request_failure: { metric: 'inference.requests', attributes: { status: 'failure' } },
  nv_inference_count: { metric: 'inference.inferences' },
  nv_inference_exec_count: { metric: 'inference.executions' },
  nv_inference_pending_request_count: { metric: 'inference.pending' },
  ...Object.fromEntries(
    Object.entries(STAGES).flatMap(([stage, { metric, attributes }]): [string, Rule][] => [
      [`nv_inference_${stage}_duration_us`, { metric, unit: 'us', attributes }],
      [`nv_inference_${stage}_summary_us`, { metric: `${metric}.quantile`, unit: 'us', attributes }],
      [`nv_inference_${stage}_summary_us_sum`, { metric: `${metric}.sum`, unit: 'us', attributes }],
      [`nv_inference_${stage}_summary_us_count`, { metric: `${metric}.count`, attributes }],
    ]),
  ),
  nv_gpu_utilization: { metric: 'hw.gpu.utilization', attributes: { 'hw.gpu.task': 'general' } },
  nv_gpu_memory_total_bytes: { metric: 'hw.gpu.memory.limit' },
  nv_gpu_memory_used_bytes: { metric: 'hw.gpu.memory.usage' },
  nv_gpu_power_usage: { metric: 'hw.power' },
  nv_gpu_power_limit: { metric: 'hw.power.limit', attributes: { 'hw.limit_type': 'enforced' } },
  nv_energy_consumption: { metric: 'hw.energy' },
  nv_cpu_utilization: { metric: 'system.cpu.utilization' },
  nv_cpu_memory_total_bytes: { metric: 'system.memory.limit' },
  nv_cpu_memory_used_bytes: { metric: 'system.memory.usage' },
  nv_cache_util: { metric: 'inference.cache.utilization' },
  nv_cache_num_entries: { metric: 'inference.cache.entries' },
  nv_cache_num_hits: { metric: 'inference.cache.events', attributes: { event: 'hit' } },
  nv_cache_num_misses: { metric: 'inference.cache.events', attributes: { event: 'miss' } },
  nv_cache_num_lookups: { metric: 'inference.cache.events', attributes: { event: 'lookup' } },
  nv_cache_num_evictions: { metric: 'inference.cache.events', attributes: { event: 'eviction' } },
  nv_cache_num_hits_per_model: { metric: 'inference.cache.events', attributes: { event: 'hit' } },
  nv_cache_num_misses_per_model: { metric: 'inference.cache.events', attributes: { event: 'miss' } },
  nv_cache_lookup_duration: { metric: 'inference.cache.duration', unit: 'us', attributes: { operation: 'lookup' } },
  nv_cache_insertion_duration: {
    metric: 'inference.cache.duration',
    unit: 'us',
    attributes: { operation: 'insertion' },
  },
  nv_cache_hit_duration_per_model: { metric: 'inference.cache.duration', unit: 'us', attributes: { operation: 'hit' } },
  nv_cache_miss_duration_per_model: {
    metric: 'inference.cache.duration',
    unit: 'us',
    attributes: { operation: 'miss' },
  },
};

/**
 * Triton's /metrics in our names and base units; names of others in the same text pass through unchanged.
 * Summary quantiles that contradict their own count or sum are suspect. Throws LW-INPUT when no line can be read.
 */
export function decodeTriton(text: string): DecodeResult {
  const decoding = new Decoding();
  const { samples } = exposition(decoding, text);
  const doubted = doubtedSummaries(samples);
  for (const sample of samples) {
    const rule = Object.hasOwn(RULES, sample.name) ? RULES[sample.name] : undefined;
    const { gpu_uuid, ...labels } = sample.labels;
    const attributes = gpu_uuid === undefined ? labels : { 'hw.id': gpu_uuid, ...labels };
    if (rule === undefined) {
      passOn(decoding, sample, attributes);
      continue;
    }
    const value = scaled(sample.text, rule.unit ?? '') ?? Number(sample.value);
    const isDoubted = sample.labels['quantile'] !== undefined && doubted.has(summaryOf(sample));
    const quality: { quality?: Quality } = isDoubted ? { quality: 'suspect' } : {};
    if (Number.isFinite(Number(value)))
      decoding.sample(rule.metric, value, { ...attributes, ...rule.attributes }, { ...quality, ...timeOf(sample) });
    else decoding.absent(rule.metric, { ...attributes, ...rule.attributes }, 'parse_error');
  }
  if (doubted.size > 0)
    decoding.warn('LW-DECODE-IMPLAUSIBLE', `quantiles of ${doubted.size} summaries contradict their count or sum`);
  return decoding.result();
}

function summaryOf(sample: ExpositionSample): string {
  const { quantile: _, ...labels } = sample.labels;
  return `${sample.name.replace(/_(sum|count)$/, '')}|${Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .toSorted()
    .join('|')}`;
}

type Summary = { sum: number | null; count: number | null; highest: number };

/**
 * Summaries whose quantiles cannot be: values with nothing observed, or a mean above the highest quantile. (The
 * quantiles slide and the mean does not, so this doubts; it does not correct.)
 */
function doubtedSummaries(samples: readonly ExpositionSample[]): ReadonlySet<string> {
  const summaries = new Map<string, Summary>();
  for (const sample of samples) {
    if (sample.type !== 'summary') continue;
    const key = summaryOf(sample);
    const summary = summaries.get(key) ?? { sum: null, count: null, highest: Number.NEGATIVE_INFINITY };
    const value = Number(sample.value);
    if (sample.name.endsWith('_sum')) summary.sum = value;
    else if (sample.name.endsWith('_count')) summary.count = value;
    else if (value > summary.highest) summary.highest = value;
    summaries.set(key, summary);
  }
  const doubted = [...summaries].filter(([, { sum, count, highest }]) => {
    if (!Number.isFinite(highest) || count === null) return false;
    return count === 0 || (sum !== null && sum / count > highest);
  });
  return new Set(doubted.map(([key]) => key));
}
