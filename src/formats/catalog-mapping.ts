import { CATALOG, type MetricKind, type MetricName } from '../core/catalog.ts';
import type { Attributes } from './decode-result.ts';
import { dcgmAttributes } from './dcgm.ts';
import { DCGM_RULES } from './dcgm-fields.ts';
import { baseUnit } from './quantity.ts';

/**
 * Which series of other people's tools are ours, by metric name: one table. Sources: dcgm-exporter's field names and
 * dcgm_fields.h (formats/dcgm-fields.ts); OpenTelemetry "Semantic conventions for GPU metrics" and "for hardware", with the
 * extensions of OpenLIT's GPU collector, under their dotted names and as Prometheus spells them (OpenTelemetry "Prometheus
 * and OpenMetrics compatibility": `_`, unit and `_total`); "Semantic conventions for generative AI metrics", model server
 * metrics; vLLM "Production metrics"; NVIDIA NIM "Observability"; Hugging Face TGI "Monitoring"; Triton user guide,
 * metrics.md; KServe and BentoML, their metrics pages. Triton's `nv_gpu_*` stay series: they are GPUs that dcgm-exporter
 * names by index, and would be counted twice.
 */

/** What the values of a GPU series are: a metric of the catalog, in `unit` (a unit of formats/quantity.ts). */
export type GpuMapping = {
  readonly record: 'gpu';
  readonly metric: MetricName;
  readonly unit: string;
  readonly kind: MetricKind;
  readonly attributes: Attributes;
  /** DCGM fields hold sentinels where a value is missing; some are of doubtful meaning. */
  readonly dcgm: boolean;
  readonly suspect: boolean;
};

/** What a serving series counts towards an `inference` record. */
export type ServingField =
  | 'requests'
  | 'successes'
  | 'failures'
  | 'queue_ms'
  | 'compute_ms'
  | 'total_ms'
  | 'batch'
  | 'inferences'
  | 'executions';

/** `part`: what of a histogram or summary; `value` a counter of its own. `factor`: of sums and bounds to the record's ms. */
export type ServingMapping = {
  readonly record: 'inference';
  readonly system: string;
  readonly field: ServingField;
  readonly part: 'value' | 'bucket' | 'sum' | 'count' | 'histogram';
  readonly factor: number;
};

type Described = { readonly metric: string; readonly labels: Attributes; readonly unit: string };

/** The meaning of a series, from its name, labels and declared unit; null: it stays a series and nothing else. */
export function mappingOf({ metric, labels, unit }: Described): GpuMapping | ServingMapping | null {
  if (metric.startsWith('DCGM_')) return dcgmMapping(metric, labels);
  if (metric.startsWith('hw')) return hardwareMapping(metric, labels, unit);
  return servingMapping(metric, labels, unit);
}

function dcgmMapping(metric: string, labels: Attributes): GpuMapping | null {
  const rule = DCGM_RULES.get(metric);
  if (rule === undefined) return null;
  return {
    record: 'gpu',
    metric: rule.metric,
    unit: rule.unit,
    kind: CATALOG[rule.metric].kind,
    attributes: { ...dcgmAttributes(labels), ...rule.attributes },
    dcgm: true,
    suspect: rule.suspect === true,
  };
}

/** Metrics of the catalog that have a place in the `gpu` record, with what an attribute means that is not given. */
const HARDWARE: Readonly<Partial<Record<MetricName, Attributes>>> = {
  'hw.gpu.utilization': { 'hw.gpu.task': 'general' },
  'hw.gpu.sm.utilization': {},
  'hw.gpu.memory.usage': {},
  'hw.gpu.memory.limit': {},
  'hw.gpu.speed': { clock_domain: 'sm' },
  'hw.gpu.speed.limit': { clock_domain: 'sm', 'hw.limit_type': 'max' },
  'hw.gpu.io': {},
  'hw.gpu.interconnect.io': {},
  'hw.gpu.pcie.generation': { scope: 'current' },
  'hw.gpu.pcie.width': { scope: 'current' },
  'hw.gpu.throttle.active': {},
  'hw.gpu.xid.last': {},
  'hw.temperature': { 'hw.sensor_location': 'gpu' },
  'hw.power': {},
  'hw.energy': {},
  'hw.errors': { 'ecc.scope': 'volatile' },
};
const SUFFIX: Readonly<Record<string, string>> = {
  '1': '_ratio',
  By: '_bytes',
  W: '_watts',
  J: '_joules',
  Cel: '_celsius',
  Hz: '_hertz',
};
/** Names of HARDWARE by all their spellings. */
const HARDWARE_NAMES = new Map<string, MetricName>(
  (Object.keys(HARDWARE) as MetricName[]).flatMap((name): [string, MetricName][] => {
    const { unit, kind } = CATALOG[name];
    const plain = name.replaceAll('.', '_');
    const total = kind === 'counter' ? '_total' : '';
    return [name, plain, `${plain}${total}`, `${plain}${SUFFIX[unit] ?? ''}${total}`].map((one) => [one, name]);
  }),
);
/** Attributes that tell values apart or say whose they are, as Prometheus spells them too. */
const ATTRIBUTES = new Map<string, string>(
  [
    'hw.id',
    'hw.type',
    'hw.gpu.task',
    'hw.sensor_location',
    'hw.limit_type',
    'host.name',
    'error.type',
    'ecc.scope',
    'ecc.location',
    'network.io.direction',
    'power.window',
    'hw.power.scope',
    'mig.gi',
  ].flatMap((name) => [
    [name, name],
    [name.replaceAll('.', '_'), name],
  ]),
);
for (const name of ['gpu', 'gpu.index', 'gpu_index']) ATTRIBUTES.set(name, 'gpu');
for (const name of ['clock_domain', 'link', 'scope', 'reason']) ATTRIBUTES.set(name, name);

/** UCUM units as OpenTelemetry writes them, and the units of formats/quantity.ts. */
const UNITS: ReadonlyMap<string, string> = new Map([
  ['1', ''],
  ['%', '%'],
  ['By', 'B'],
  ['KiBy', 'KiB'],
  ['MiBy', 'MiB'],
  ['GiBy', 'GiB'],
  ['W', 'W'],
  ['mW', 'mW'],
  ['J', 'J'],
  ['mJ', 'mJ'],
  ['Cel', 'C'],
  ['Hz', 'Hz'],
  ['MHz', 'MHz'],
]);

function hardwareMapping(spelled: string, labels: Attributes, declared: string): GpuMapping | null {
  const metric = HARDWARE_NAMES.get(spelled);
  if (metric === undefined) return null;
  const attributes: Record<string, string> = { ...HARDWARE[metric] };
  for (const [label, value] of Object.entries(labels)) {
    const name = ATTRIBUTES.get(label);
    if (name !== undefined && value !== '') attributes[name] = value;
  }
  const id = attributes['hw.id'] ?? '';
  const isGpu = metric.startsWith('hw.gpu.') || attributes['hw.type'] === 'gpu' || id.startsWith('GPU-');
  if (!isGpu || (attributes['hw.type'] ?? 'gpu') !== 'gpu') return null;
  if (id.startsWith('MIG-')) attributes['mig.gi'] ??= id;
  const unit = unitOf(metric, declared);
  if (unit === null) return null;
  return { record: 'gpu', metric, unit, kind: CATALOG[metric].kind, attributes, dcgm: false, suspect: false };
}

/** The declared unit, '' when none is (then it is the catalog's); null when it measures something else. */
function unitOf(metric: MetricName, declared: string): string | null {
  const wanted = CATALOG[metric].unit;
  if (declared === '' || declared === wanted || declared.startsWith('{')) return '';
  const unit = UNITS.get(declared);
  if (unit === undefined) return null;
  const base = baseUnit(unit);
  return base === wanted || (base === '' && wanted === '1') ? unit : null;
}

const SECONDS = 1_000;
const MICROSECONDS = 0.001;

type Serving = { readonly system: string; readonly field: ServingField; readonly factor: number; readonly if?: string };

function serving(system: string, field: ServingField, factor = 1): Serving {
  return { system, field, factor };
}

/** Families without `_total`, `_bucket`, `_sum`, `_count`. */
const SERVING: ReadonlyMap<string, Serving> = new Map(
  Object.entries({
    'gen_ai.server.request.duration': serving('gen_ai', 'total_ms', SECONDS),
    gen_ai_server_request_duration: serving('gen_ai', 'total_ms', SECONDS),
    gen_ai_server_request_duration_seconds: serving('gen_ai', 'total_ms', SECONDS),
    ...vllm('vllm', 'vllm:'),
    ...vllm('vllm', 'vllm_'),
    ...vllm('nim', '', { if: 'model_name' }), // NIM drops the prefix: without the label it may be anybody's
    request_failure: { ...serving('nim', 'failures'), if: 'model_name' },
    tgi_request_count: serving('tgi', 'requests'),
    tgi_request_success: serving('tgi', 'successes'),
    tgi_request_failure: serving('tgi', 'failures'),
    ...seconds('tgi', { tgi_request_duration: 'total_ms' }),
    ...seconds('tgi', { tgi_request_queue_duration: 'queue_ms' }),
    ...seconds('tgi', { tgi_request_inference_duration: 'compute_ms' }),
    nv_inference_request_success: serving('triton', 'successes'),
    nv_inference_request_failure: serving('triton', 'failures'),
    nv_inference_count: serving('triton', 'inferences'),
    nv_inference_exec_count: serving('triton', 'executions'),
    nv_inference_request_duration_us: serving('triton', 'total_ms', MICROSECONDS),
    nv_inference_queue_duration_us: serving('triton', 'queue_ms', MICROSECONDS),
    nv_inference_compute_input_duration_us: serving('triton', 'compute_ms', MICROSECONDS),
    nv_inference_compute_infer_duration_us: serving('triton', 'compute_ms', MICROSECONDS),
    nv_inference_compute_output_duration_us: serving('triton', 'compute_ms', MICROSECONDS),
    request_predict_seconds: { ...serving('kserve', 'compute_ms', SECONDS), if: 'model_name' },
    bentoml_service_request: serving('bentoml', 'requests'),
    bentoml_service_request_duration_seconds: serving('bentoml', 'total_ms', SECONDS),
    bentoml_service_adaptive_batch_size: serving('bentoml', 'batch'),
  }),
);

function vllm(system: string, prefix: string, more: { if?: string } = {}): Record<string, Serving> {
  return {
    [`${prefix}request_success`]: { ...serving(system, 'successes'), ...more },
    [`${prefix}e2e_request_latency_seconds`]: { ...serving(system, 'total_ms', SECONDS), ...more },
    [`${prefix}request_queue_time_seconds`]: { ...serving(system, 'queue_ms', SECONDS), ...more },
    [`${prefix}request_inference_time_seconds`]: { ...serving(system, 'compute_ms', SECONDS), ...more },
  };
}

/** With and without the unit in the name. */
function seconds(system: string, names: Readonly<Record<string, ServingField>>): Record<string, Serving> {
  return Object.fromEntries(
    Object.entries(names).flatMap(([name, field]) =>
      [name, `${name}_seconds`].map((one) => [one, serving(system, field, SECONDS)]),
    ),
  );
}

/** Serving metrics that are a counter on their own: their value is the record's, or a sum without its count. */
const COUNTERS: ReadonlySet<ServingField> = new Set(['requests', 'successes', 'failures', 'inferences', 'executions']);

function servingMapping(metric: string, labels: Attributes, unit: string): ServingMapping | null {
  const whole = SERVING.get(metric);
  const cut = whole === undefined ? /_(total|bucket|sum|count)$/.exec(metric) : null;
  const found = whole ?? (cut === null ? undefined : SERVING.get(metric.slice(0, cut.index)));
  if (found === undefined || (found.if !== undefined && labels[found.if] === undefined)) return null;
  const { system, field, factor } = found;
  const part = partOf(found, cut?.[1]);
  if (part === null || (part === 'bucket' && labels['le'] === undefined)) return null;
  return { record: 'inference', system, field, part, factor: unit === 'ms' && factor === SECONDS ? 1 : factor };
}

function partOf({ system, field }: Serving, suffix: string | undefined): ServingMapping['part'] | null {
  if (COUNTERS.has(field)) return suffix === undefined || suffix === 'total' ? 'value' : null;
  if (system === 'triton') return suffix === undefined ? 'sum' : null;
  if (suffix === undefined) return 'histogram';
  return suffix === 'bucket' || suffix === 'sum' || suffix === 'count' ? suffix : null;
}
