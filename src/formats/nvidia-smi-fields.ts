import type { MetricName } from '../core/catalog.ts';
import type { Attributes, Decoding } from './decode-result.ts';
import { absentReason, type Reading, readQuantity, scaled } from './quantity.ts';

/** How the text of a field is read: a unit, a yes/no word, a performance state, a hexadecimal mask or a closed word list. */
type Reader =
  | { readonly kind: 'quantity'; readonly unit: string }
  | { readonly kind: 'suffixed'; readonly suffix: string }
  | { readonly kind: 'prefixed'; readonly prefix: string }
  | { readonly kind: 'hexadecimal' }
  | { readonly kind: 'words'; readonly words: ReadonlyMap<string, number> };

/** What a field of nvidia-smi is. `mig`: the driver has no value for the parent GPU while MIG is on. */
export type FieldRule = {
  readonly metric: MetricName;
  readonly attributes: Attributes;
  readonly reader: Reader;
  readonly mig: boolean;
};

function words(...lists: (readonly string[])[]): Reader {
  return { kind: 'words', words: new Map(lists.flatMap((list, code) => list.map((word) => [word, code] as const))) };
}

const FLAG = words(['disabled', 'not active', 'no', 'inactive'], ['enabled', 'active', 'yes']);
const COUNT: Reader = { kind: 'quantity', unit: '' };

const RULES = new Map<string, FieldRule>();

function rule(field: string, metric: MetricName, reader: Reader | string, attributes: Attributes = {}): void {
  const read: Reader = typeof reader === 'string' ? { kind: 'quantity', unit: reader } : reader;
  const mig = field.startsWith('utilization.') || /^remapped_rows\.(?!histogram)/.test(field);
  RULES.set(field, { metric, attributes, reader: read, mig });
}

function addMemory(): void {
  rule('memory.total', 'hw.gpu.memory.limit', 'MiB');
  rule('memory.used', 'hw.gpu.memory.usage', 'MiB');
  rule('memory.free', 'hw.gpu.memory.free', 'MiB');
  rule('memory.reserved', 'hw.gpu.memory.reserved', 'MiB');
  rule('bar1.total', 'hw.gpu.bar1.limit', 'MiB');
  rule('bar1.used', 'hw.gpu.bar1.usage', 'MiB');
  rule('bar1.free', 'hw.gpu.bar1.free', 'MiB');
  rule('protected_memory.total', 'hw.gpu.protected_memory.limit', 'MiB');
  rule('protected_memory.used', 'hw.gpu.protected_memory.usage', 'MiB');
  rule('protected_memory.free', 'hw.gpu.protected_memory.free', 'MiB');
}

function addUtilization(): void {
  rule('utilization.gpu', 'hw.gpu.utilization', '%', { 'hw.gpu.task': 'general' });
  for (const task of ['encoder', 'decoder', 'jpeg', 'ofa'])
    rule(`utilization.${task}`, 'hw.gpu.utilization', '%', { 'hw.gpu.task': task });
  rule('utilization.memory', 'hw.gpu.memory.controller.utilization', '%');
  for (const [field, codec] of [
    ['encoder.stats', 'encoder'],
    ['fbc.stats', 'fbc'],
  ] as const) {
    rule(`${field}.sessioncount`, 'hw.gpu.codec.sessions', COUNT, { codec });
    rule(`${field}.averagefps`, 'hw.gpu.codec.frame_rate', COUNT, { codec });
    rule(`${field}.averagelatency`, 'hw.gpu.codec.latency', 'us', { codec });
  }
}

function addPower(): void {
  for (const [field, attributes] of [
    ['power.draw', {}],
    ['module.power.draw', { 'hw.power.scope': 'module' }],
    ['memory.power.draw', { 'hw.power.scope': 'memory' }],
  ] as const) {
    rule(field, 'hw.power', 'W', attributes);
    for (const window of ['average', 'instant'])
      rule(`${field}.${window}`, 'hw.power', 'W', { ...attributes, 'power.window': window });
  }
  for (const [prefix, attributes] of [
    ['', {}],
    ['module.', { 'hw.power.scope': 'module' }],
  ] as const) {
    const limit = (field: string, type: string): void =>
      rule(`${prefix}${field}`, 'hw.power.limit', 'W', { ...attributes, 'hw.limit_type': type });
    limit('power.limit', 'requested');
    limit('enforced.power.limit', 'enforced');
    limit('power.default_limit', 'default');
    limit('power.min_limit', 'min');
    limit('power.max_limit', 'max');
  }
  rule('edpp_multiplier', 'hw.gpu.edpp.multiplier', '%');
}

function addTemperature(): void {
  rule('temperature.gpu', 'hw.temperature', 'C', { 'hw.sensor_location': 'gpu' });
  rule('temperature.memory', 'hw.temperature', 'C', { 'hw.sensor_location': 'memory' });
  rule('temperature.gpu.tlimit', 'hw.gpu.temperature.margin', 'C');
  rule('fan.speed', 'hw.fan.speed_ratio', '%');
  for (const [word, type] of Object.entries({ max: 'shutdown', slow: 'slowdown', max_gpu: 'max_operating' })) {
    const at = { 'hw.sensor_location': 'gpu', 'hw.limit_type': type };
    rule(`temperature.gpu_${word}_threshold`, 'hw.temperature.limit', 'C', at);
    rule(`temperature.gpu_${word}_tlimit`, 'hw.gpu.temperature.margin.limit', 'C', { 'hw.limit_type': type });
  }
  rule('temperature.memory_max_threshold', 'hw.temperature.limit', 'C', {
    'hw.sensor_location': 'memory',
    'hw.limit_type': 'max_operating',
  });
  for (const type of ['target', 'target_min', 'target_max'])
    rule(`temperature.gpu_${type}`, 'hw.temperature.limit', 'C', {
      'hw.sensor_location': 'gpu',
      'hw.limit_type': type,
    });
}

function addClocks(): void {
  for (const domain of ['graphics', 'sm', 'memory', 'video']) {
    rule(`clocks.current.${domain}`, 'hw.gpu.speed', 'MHz', { clock_domain: domain });
    rule(`clocks.max.${domain}`, 'hw.gpu.speed.limit', 'MHz', { clock_domain: domain, 'hw.limit_type': 'max' });
    for (const [field, setting] of Object.entries({ applications: 'current', default_applications: 'default' }))
      rule(`clocks.${field}.${domain}`, 'hw.gpu.speed.application', 'MHz', { clock_domain: domain, setting });
  }
  rule('clocks.deferred.memory', 'hw.gpu.speed.application', 'MHz', { clock_domain: 'memory', setting: 'deferred' });
  rule('clocks.customer_boost.graphics', 'hw.gpu.speed.limit', 'MHz', {
    clock_domain: 'graphics',
    'hw.limit_type': 'customer_boost',
  });
  rule('voltage.graphics', 'hw.gpu.voltage', 'mV', { clock_domain: 'graphics' });
  rule('pstate', 'hw.gpu.pstate', { kind: 'prefixed', prefix: 'P' });
}

/** Reason words as in the dcgm labels, by the field name after `clocks_event_reasons.`. */
export const THROTTLE_REASONS: ReadonlyMap<string, string> = new Map([
  ['gpu_idle', 'gpu_idle'],
  ['applications_clocks_setting', 'clocks_setting'],
  ['sw_power_cap', 'sw_power_cap'],
  ['hw_slowdown', 'hw_slowdown'],
  ['sync_boost', 'sync_boost'],
  ['sw_thermal_slowdown', 'sw_thermal'],
  ['hw_thermal_slowdown', 'hw_thermal'],
  ['hw_power_brake_slowdown', 'power_brake'],
  ['display_clocks_setting', 'display_clocks'],
]);

function addThrottling(): void {
  for (const [field, reason] of THROTTLE_REASONS) {
    rule(`clocks_event_reasons.${field}`, 'hw.gpu.throttle.active', FLAG, { reason });
    rule(`clocks_event_reasons_counters.${field}`, 'hw.gpu.throttle.time', 'us', { reason });
  }
  rule('clocks_event_reasons.active', 'hw.gpu.throttle.mask', { kind: 'hexadecimal' });
  rule('clocks_event_reasons.supported', 'hw.gpu.throttle.supported_mask', { kind: 'hexadecimal' });
}

function addErrors(): void {
  const locations = [
    'device_memory',
    'dram',
    'register_file',
    'l1_cache',
    'l2_cache',
    'texture_memory',
    'cbu',
    'sram',
    'total',
  ];
  const sram = ['parity', 'secded', 'l2', 'sm', 'mcu', 'pcie', 'other'].map((part) => `sram.${part}`);
  for (const type of ['corrected', 'uncorrected'])
    for (const scope of ['volatile', 'aggregate'])
      for (const location of [...locations, ...sram])
        rule(`ecc.errors.${type}.${scope}.${location}`, 'hw.errors', COUNT, {
          'hw.type': 'gpu',
          'error.type': type,
          'ecc.scope': scope,
          'ecc.location': location,
        });
  rule('ecc.errors.uncorrected.aggregate.sram.thresholdexceeded', 'hw.gpu.ecc.threshold_exceeded', FLAG);
  rule('pcie.replay_counter', 'hw.errors', COUNT, { 'hw.type': 'gpu', 'error.type': 'pcie_replay' });
  rule('pcie.replay_rollover_counter', 'hw.errors', COUNT, { 'hw.type': 'gpu', 'error.type': 'pcie_replay_rollover' });
  rule('retired_pages.single_bit_ecc.count', 'hw.gpu.retired_pages', COUNT, { cause: 'single_bit_ecc' });
  rule('retired_pages.double_bit.count', 'hw.gpu.retired_pages', COUNT, { cause: 'double_bit_ecc' });
  rule('retired_pages.pending', 'hw.gpu.retired_pages.pending', FLAG);
  for (const [field, type] of Object.entries({ correctable: 'corrected', uncorrectable: 'uncorrected' }))
    for (const [suffix, state] of [
      ['', {}],
      ['_inactive', { 'row.state': 'inactive' }],
    ] as const)
      rule(`remapped_rows.${field}${suffix}`, 'hw.gpu.rows.remapped', COUNT, { 'error.type': type, ...state });
  rule('remapped_rows.pending', 'hw.gpu.rows.remap_pending', FLAG);
  rule('remapped_rows.failure', 'hw.gpu.rows.remap_failure', FLAG);
  for (const availability of ['max', 'high', 'partial', 'low', 'none'])
    rule(`remapped_rows.histogram.${availability}`, 'hw.gpu.rows.banks', COUNT, { availability });
}

function addModes(): void {
  for (const setting of ['current', 'pending', 'default']) {
    rule(`mig.mode.${setting}`, 'hw.gpu.mig.enabled', FLAG, { setting });
    rule(`ecc.mode.${setting}`, 'hw.gpu.ecc.enabled', FLAG, { setting });
    rule(`gsp.mode.${setting}`, 'hw.gpu.gsp.enabled', FLAG, { setting });
    rule(`dramencryption.mode.${setting}`, 'hw.gpu.dram_encryption.enabled', FLAG, { setting });
  }
  rule('reset.required', 'hw.gpu.reset.required', FLAG);
  rule('reset.drain_recommended', 'hw.gpu.reset.drain_recommended', FLAG);
  for (const part of ['channel', 'tpc'])
    rule(`ecc.repair_pending.${part}`, 'hw.gpu.ecc.repair_pending', FLAG, { 'ecc.location': part });
  rule('persistence_mode', 'hw.gpu.persistence.enabled', FLAG);
  rule('accounting.mode', 'hw.gpu.accounting.enabled', FLAG);
  rule('accounting.buffer_size', 'hw.gpu.accounting.buffer_size', COUNT);
  rule('display_active', 'hw.gpu.display.active', FLAG);
  rule('display_attached', 'hw.gpu.display.attached', FLAG);
  rule('c2c.mode', 'hw.gpu.c2c.enabled', FLAG);
  rule('count', 'hw.gpu.count', COUNT);
  const compute = words(['default'], ['exclusive_thread'], ['prohibited'], ['exclusive_process']);
  rule('compute_mode', 'hw.gpu.compute_mode', compute);
  rule('fabric.state', 'hw.gpu.fabric.state', words(['unsupported'], ['not started'], ['in progress'], ['completed']));
  const recovery = words(['none'], ['reset'], ['reboot'], ['drain p2p'], ['drain and reset']);
  rule('gpu_recovery_action', 'hw.gpu.recovery_action', recovery);
  for (const [field, scope] of Object.entries({
    current: 'current',
    gpucurrent: 'gpu_current',
    max: 'max',
    gpumax: 'gpu_max',
    hostmax: 'host_max',
  }))
    rule(`pcie.link.gen.${field}`, 'hw.gpu.pcie.generation', COUNT, { scope });
  for (const scope of ['current', 'max'])
    rule(`pcie.link.width.${scope}`, 'hw.gpu.pcie.width', { kind: 'suffixed', suffix: 'x' }, { scope });
  rule('pcie.tx_util', 'hw.gpu.pcie.throughput', 'KB/s', { 'network.io.direction': 'transmit' });
  rule('pcie.rx_util', 'hw.gpu.pcie.throughput', 'KB/s', { 'network.io.direction': 'receive' });
}

addMemory();
addUtilization();
addPower();
addTemperature();
addClocks();
addThrottling();
addErrors();
addModes();

const ALIASES: ReadonlyMap<string, string> = new Map([
  ['gpu_name', 'name'],
  ['gpu_serial', 'serial'],
  ['gpu_uuid', 'uuid'],
  ['gpu_bus_id', 'pci.bus_id'],
  ['inforom.image', 'inforom.img'],
  ['inforom.power', 'inforom.pwr'],
  ['clocks.gr', 'clocks.current.graphics'],
  ['clocks.graphics', 'clocks.current.graphics'],
  ['clocks.sm', 'clocks.current.sm'],
  ['clocks.mem', 'clocks.current.memory'],
  ['clocks.memory', 'clocks.current.memory'],
  ['clocks.video', 'clocks.current.video'],
  ['clocks.max.gr', 'clocks.max.graphics'],
  ['clocks.max.mem', 'clocks.max.memory'],
  ['clocks.applications.gr', 'clocks.applications.graphics'],
  ['clocks.applications.mem', 'clocks.applications.memory'],
  ['clocks.default_applications.gr', 'clocks.default_applications.graphics'],
  ['clocks.default_applications.mem', 'clocks.default_applications.memory'],
  ['retired_pages.sbe', 'retired_pages.single_bit_ecc.count'],
  ['retired_pages.dbe', 'retired_pages.double_bit.count'],
]);

/** The one spelling of a field: lower case, `clocks_throttle_reasons` and the short forms of --help-query-gpu resolved. */
export function canonicalField(name: string): string {
  const lower = name
    .trim()
    .toLowerCase()
    .replace(/^clocks_throttle_reasons(?=[._])/, 'clocks_event_reasons');
  return ALIASES.get(lower) ?? lower;
}

/** What a canonical field is, or null for texts and fields we have no metric for. */
export function fieldRule(canonical: string): FieldRule | null {
  return RULES.get(canonical) ?? null;
}

/** Texts that say which device, software or place this is: read into the inventory or left out, never a metric. */
const TEXT_FIELDS =
  /^(timestamp|index|name|serial|uuid|hostname|minor_number|addressing_mode|display_mode|compute_cap|vbios_version|driver_version|kmd_version|power\.management|(pci|inforom|gom|driver_model|platform|fabric|vgpu_driver_capability|vgpu_device_capability)\..+)$/;

/** Whether a field is a text that is known to be no measurement. */
export function isTextField(canonical: string): boolean {
  return TEXT_FIELDS.test(canonical);
}

/** The value of a cell under its rule; `unit` is the one its header names, if any. */
export function readField(rule: FieldRule, cell: string, unit: string | null = null): Reading {
  const { reader } = rule;
  if (reader.kind === 'quantity') return readQuantity(cell, unit ?? reader.unit);
  const text = cell.trim();
  const word = reader.kind === 'words' ? reader.words.get(text.toLowerCase()) : undefined;
  if (word !== undefined) return { kind: 'value', value: word, unit: '' };
  const reason = absentReason(cell);
  if (reason !== null) return { kind: 'absent', reason };
  const value = readOther(reader, text);
  return value === null ? { kind: 'absent', reason: 'parse_error' } : { kind: 'value', value, unit: '' };
}

function readOther(reader: Reader, text: string): number | bigint | null {
  if (reader.kind === 'hexadecimal') return /^0x[0-9a-f]{1,16}$/i.test(text) ? scaled(BigInt(text).toString()) : null;
  if (reader.kind === 'suffixed')
    return scaled(text.endsWith(reader.suffix) ? text.slice(0, -reader.suffix.length) : text);
  if (reader.kind === 'prefixed')
    return text.startsWith(reader.prefix) ? scaled(text.slice(reader.prefix.length)) : null;
  return null;
}

/** Where a cell stands: its device, its field and whether MIG is on there. */
export type Cell = {
  readonly field: string;
  readonly text: string;
  readonly unit: string | null;
  readonly device: Attributes;
  readonly mig: boolean;
};

/** Passes one cell on as a sample or as absent with its reason. A text without a value is absent `hw.gpu.info`. */
export function decodeCell(decoding: Decoding, cell: Cell): void {
  const found = fieldRule(cell.field);
  if (found === null) {
    const reason = absentReason(cell.text);
    if (reason !== null) decoding.absent('hw.gpu.info', { ...cell.device, field: cell.field }, reason);
    else if (!isTextField(cell.field))
      decoding.warn('LW-DECODE-UNKNOWN-FIELD', `${cell.field.slice(0, 100)} is not in the catalog`);
    return;
  }
  const attributes = { ...cell.device, ...found.attributes };
  const reading = readField(found, cell.text, cell.unit);
  if (reading.kind === 'absent') {
    const mig = cell.mig && found.mig && reading.reason === 'unsupported';
    decoding.absent(found.metric, attributes, mig ? 'mig_unsupported' : reading.reason);
  } else if (cell.unit !== null && reading.unit !== cell.unit) {
    decoding.warn('LW-DECODE-UNIT', `${cell.field}: header says ${cell.unit}, value says ${reading.unit}`);
    decoding.sample(found.metric, reading.value, attributes, { quality: 'suspect' });
  } else decoding.sample(found.metric, reading.value, attributes);
}
