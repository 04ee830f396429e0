import type { AbsentReason, Quality } from '../core/quality.ts';
import { type Attributes, Decoding, type DecodeResult, type Value } from './decode-result.ts';
import { DCGM_RULES } from './dcgm-fields.ts';
import type { ExpositionSample } from './exposition.ts';
import { THROTTLE_REASONS } from './nvidia-smi-fields.ts';
import { exposition, passOn, timeOf } from './prometheus.ts';
import { scaled } from './quantity.ts';

/**
 * dcgm-exporter's /metrics in our names and base units; names of others pass through unchanged. Blank sentinels are
 * absent with their reason, values without a GPU label are suspect (nobody can say whose they are), and so is what
 * contradicts its neighbours. `Hostname` and `hostname`, `UUID` and `uuid` are the same label.
 * Throws LW-INPUT when no line can be read.
 */
export function decodeDcgm(text: string): DecodeResult {
  const decoding = new Decoding();
  const { samples } = exposition(decoding, text);
  const doubted = contradictions(samples);
  const devices = new Map<string, { name: string | null; driver: string | null; host: string | null }>();
  let orphans = 0;
  for (const sample of samples) {
    const attributes = dcgmAttributes(sample.labels);
    if (!sample.name.startsWith('DCGM_')) {
      passOn(decoding, sample, attributes);
      continue;
    }
    if (isOrphan(attributes)) orphans++;
    else noteDevice(devices, sample.labels, attributes);
    decodeSample(decoding, sample, { attributes, isDoubted: doubted.has(sample) });
  }
  if (orphans > 0) decoding.warn('LW-DECODE-NO-IDENTITY', `${orphans} DCGM values carry no gpu or UUID label`);
  for (const sample of doubted)
    decoding.warn('LW-DECODE-IMPLAUSIBLE', `${sample.name} in line ${sample.line} contradicts its neighbours`);
  for (const [id, { name, driver, host }] of devices)
    decoding.device({
      'hw.id': id.slice(id.indexOf('|') + 1),
      name,
      driver,
      mig: [],
      ...(host === null ? {} : { 'host.name': host }),
    });
  return decoding.result();
}

function decodeSample(
  decoding: Decoding,
  sample: ExpositionSample,
  of: { readonly attributes: Attributes; readonly isDoubted: boolean },
): void {
  const rule = DCGM_RULES.get(sample.name);
  const reason = blankReason(sample);
  const suspect: { quality?: Quality } =
    isOrphan(of.attributes) || of.isDoubted || rule?.suspect === true ? { quality: 'suspect' } : {};
  if (rule === undefined) {
    decoding.warn('LW-DECODE-UNKNOWN-FIELD', sample.name.slice(0, 100));
    if (reason !== null) return decoding.absent(sample.name, of.attributes, reason);
    return decoding.foreign({
      metric: sample.name,
      value: sample.value,
      unit: '',
      attributes: of.attributes,
      quality: suspect.quality ?? 'ok',
    });
  }
  const attributes = { ...of.attributes, ...rule.attributes };
  if (reason !== null) return decoding.absent(rule.metric, attributes, reason);
  const value = scaled(sample.text, rule.unit);
  if (value === null) return decoding.absent(rule.metric, attributes, 'parse_error');
  const options = { ...suspect, ...timeOf(sample) };
  decoding.sample(rule.metric, value, attributes, options);
  if (rule.metric === 'hw.gpu.throttle.mask') decodeMask(decoding, value, of.attributes, options);
}

/** Whether a value names no device at all: which GPU it belongs to, nobody can say. */
function isOrphan(attributes: Attributes): boolean {
  return ['hw.id', 'gpu', 'nvswitch', 'cpu'].every((name) => attributes[name] === undefined);
}

/** Bits of nvml.h nvmlClocksEventReason, in the order of THROTTLE_REASONS' words. */
const MASK_BITS: Readonly<Record<string, bigint>> = {
  gpu_idle: 0x1n,
  applications_clocks_setting: 0x2n,
  sw_power_cap: 0x4n,
  hw_slowdown: 0x8n,
  sync_boost: 0x10n,
  sw_thermal_slowdown: 0x20n,
  hw_thermal_slowdown: 0x40n,
  hw_power_brake_slowdown: 0x80n,
  display_clocks_setting: 0x100n,
};

function decodeMask(
  decoding: Decoding,
  value: Value,
  attributes: Attributes,
  options: { quality?: Quality; at_ms?: number },
): void {
  for (const { reason, active } of throttleReasons(value))
    decoding.sample('hw.gpu.throttle.active', active ? 1 : 0, { ...attributes, reason }, options);
}

/** The reasons that a mask of nvml.h nvmlClocksEventReason knows, each active or not; none for what is no mask. */
export function throttleReasons(mask: Value): { readonly reason: string; readonly active: boolean }[] {
  if (typeof mask === 'number' && (!Number.isInteger(mask) || mask < 0)) return [];
  return [...THROTTLE_REASONS].map(([field, reason]) => ({
    reason,
    active: (BigInt(mask) & (MASK_BITS[field] ?? 0n)) !== 0n,
  }));
}

/** Sentinels of dcgm_fields.h: base + 0 blank, 1 not found, 2 not supported, 3 not permissioned. */
const SENTINEL_REASONS: readonly AbsentReason[] = ['lost', 'unsupported', 'unsupported', 'no_permission'];
const INT64_BLANK = 0x7ffffffffffffff0n;
const INT32_BLANK = 0x7ffffff0n;
const FP64_BLANK = 140_737_488_355_328n;

/**
 * Why a value is a blank. Compared as text: as doubles all four are one number. The 32-bit and floating sentinels lie
 * where an honest counter can pass, so counters know only the 64-bit ones.
 */
export function blankReason(sample: { readonly text: string; readonly type: string }): AbsentReason | null {
  if (/^9\.22337203685477\d*e\+?18$/i.test(sample.text)) return 'unsupported';
  const whole = /^(\d{1,20})(?:\.0*)?$/.exec(sample.text)?.[1];
  if (whole === undefined) return null;
  const value = BigInt(whole);
  const bases = sample.type === 'counter' ? [INT64_BLANK] : [INT64_BLANK, INT32_BLANK, FP64_BLANK];
  for (const base of bases) {
    const offset = value - base;
    if (offset >= 0n && offset < 4n) return SENTINEL_REASONS[Number(offset)] ?? 'lost';
    if (base !== FP64_BLANK && offset >= 0n && offset < 16n) return 'lost';
  }
  return null;
}

const LABELS: Readonly<Record<string, string>> = {
  UUID: 'hw.id',
  uuid: 'hw.id',
  gpu_uuid: 'hw.id',
  Hostname: 'host.name',
  hostname: 'host.name',
  pci_bus_id: 'pci.bus_id',
  GPU_I_ID: 'mig.gi',
  GPU_I_PROFILE: 'mig.profile',
  pod: 'k8s.pod.name',
  namespace: 'k8s.namespace.name',
  container: 'k8s.container.name',
  nvlink: 'link',
};
/** Labels that go into the inventory, or repeat another. */
const DROPPED_LABELS = /^(modelName|device|DCGM_FI_.*)$/;

/** The labels of a dcgm-exporter's series under the names of our attributes. */
export function dcgmAttributes(labels: Readonly<Record<string, string>>): Attributes {
  const named = Object.entries(labels)
    .filter(([label, value]) => value !== '' && !DROPPED_LABELS.test(label))
    .map(([label, value]) => [Object.hasOwn(LABELS, label) ? (LABELS[label] ?? label) : label, value] as const);
  return Object.fromEntries(named);
}

function noteDevice(
  devices: Map<string, { name: string | null; driver: string | null; host: string | null }>,
  labels: Readonly<Record<string, string>>,
  attributes: Attributes,
): void {
  const host = attributes['host.name'] ?? null;
  const key = `${host ?? ''}|${attributes['hw.id'] ?? attributes['gpu'] ?? 'unknown'}`;
  const known = devices.get(key);
  devices.set(key, {
    name: known?.name ?? labels['modelName'] ?? null,
    driver: known?.driver ?? labels['DCGM_FI_DRIVER_VERSION'] ?? null,
    host,
  });
}

/**
 * Values that contradict others of the same GPU: memory reserved that fills the whole device (a copied field), and a
 * profiling engine at rest while utilisation says busy (profiling stuck at zero: dcgm-exporter#662, DCGM#303).
 */
function contradictions(samples: readonly ExpositionSample[]): ReadonlySet<ExpositionSample> {
  const byGpu = new Map<string, Map<string, ExpositionSample>>();
  for (const sample of samples) {
    const of = dcgmAttributes(sample.labels);
    const key = `${of['host.name'] ?? ''}|${of['hw.id'] ?? ''}|${of['mig.gi'] ?? ''}`;
    if (of['hw.id'] === undefined) continue;
    const gpu = byGpu.get(key) ?? new Map<string, ExpositionSample>();
    byGpu.set(key, gpu.set(sample.name, sample));
  }
  const doubted = new Set<ExpositionSample>();
  for (const gpu of byGpu.values()) {
    const value = (name: string): number => Number(gpu.get(name)?.value ?? Number.NaN);
    const reserved = gpu.get('DCGM_FI_DEV_FB_RESERVED');
    if (reserved !== undefined && Number(reserved.value) > 0 && Number(reserved.value) >= value('DCGM_FI_DEV_FB_TOTAL'))
      doubted.add(reserved);
    const engine = gpu.get('DCGM_FI_PROF_GR_ENGINE_ACTIVE');
    if (engine !== undefined && Number(engine.value) === 0 && value('DCGM_FI_DEV_GPU_UTIL') >= 90) doubted.add(engine);
  }
  return doubted;
}
