import type { MetricName } from '../core/catalog.ts';
import { type Attributes, Decoding, type DecodeResult, notDecodable, quoted } from './decode-result.ts';
import { attributesOf, jsonDocuments, type JsonObject, numberOf, objectOf } from './json-values.ts';
import { exposition, passOn, timeOf } from './prometheus.ts';
import { scaled } from './quantity.ts';

type Rule = { readonly metric: MetricName; readonly unit: string; readonly attributes?: Attributes };

const BODIES: Readonly<Record<string, Readonly<Record<string, Rule>>>> = {
  coll_perf: {
    coll_exec_time_us: { metric: 'nccl.collective.duration', unit: 'us' },
    coll_msg_size_bytes: { metric: 'nccl.collective.size', unit: 'B' },
    coll_sn: { metric: 'nccl.collective.sequence', unit: '' },
    coll_algobw_gbs: { metric: 'nccl.algorithm_bandwidth', unit: 'GB/s' },
    coll_busbw_gbs: { metric: 'nccl.bus_bandwidth', unit: 'GB/s' },
  },
  p2p_perf: {
    p2p_exec_time_us: { metric: 'nccl.p2p.duration', unit: 'us' },
    p2p_msg_size_bytes: { metric: 'nccl.p2p.size', unit: 'B' },
    p2p_sn: { metric: 'nccl.p2p.sequence', unit: '' },
    p2p_algobw_gbs: { metric: 'nccl.p2p.algorithm_bandwidth', unit: 'GB/s' },
    p2p_busbw_gbs: { metric: 'nccl.p2p.bus_bandwidth', unit: 'GB/s' },
  },
  dump_stats: {
    coll_dropped_total: { metric: 'nccl.operations.dropped', unit: '', attributes: { what: 'collective' } },
    p2p_dropped_total: { metric: 'nccl.operations.dropped', unit: '', attributes: { what: 'p2p' } },
  },
};

const EXPOSED: Readonly<Record<string, Rule>> = {
  nccl_bus_bandwidth_gbs: { metric: 'nccl.bus_bandwidth', unit: 'GB/s' },
  nccl_collective_exec_time_microseconds: { metric: 'nccl.collective.duration', unit: 'us' },
  nccl_p2p_bus_bandwidth_gbs: { metric: 'nccl.p2p.bus_bandwidth', unit: 'GB/s' },
  nccl_p2p_exec_time_microseconds: { metric: 'nccl.p2p.duration', unit: 'us' },
  nccl_collectives_total: { metric: 'nccl.operations', unit: '', attributes: { what: 'collective' } },
  nccl_p2p_total: { metric: 'nccl.operations', unit: '', attributes: { what: 'p2p' } },
  nccl_collectives_dropped_total: { metric: 'nccl.operations.dropped', unit: '', attributes: { what: 'collective' } },
  nccl_p2p_dropped_total: { metric: 'nccl.operations.dropped', unit: '', attributes: { what: 'p2p' } },
};

/**
 * Dumps of the NCCL Inspector plugin: JSON by line or pretty-printed (v4.0 and the flat form carry rank and host on
 * each record, v4.3 on the marker before them), or its Prometheus text. GB/s are 10⁹ bytes a second.
 * A line that is no JSON is skipped and told. Throws LW-INPUT when nothing can be read.
 */
export function decodeNcclInspector(text: string): DecodeResult {
  const decoding = new Decoding();
  const first = text.trimStart()[0];
  if (first !== undefined && first !== '{' && /^[#a-zA-Z]/.test(first) && /^\s*(#|nccl_)/.test(text)) {
    decodeExposed(decoding, text);
    return decoding.result();
  }
  let context: Marker = { attributes: {}, at_ms: null };
  let known = 0;
  for (const piece of jsonDocuments(text)) {
    const record = 'value' in piece ? objectOf(piece.value) : null;
    if (record === null) decoding.warn('LW-DECODE-LINE', quoted('bad' in piece ? piece.bad : 'not an object'));
    else {
      context = markerOf(record, context);
      if (decodeRecord(decoding, record, context)) known++;
      else
        decoding.warn(
          'LW-DECODE-UNKNOWN-FIELD',
          `record with ${Object.keys(record).slice(0, 8).join(', ').slice(0, 200)}`,
        );
    }
  }
  if (known === 0)
    throw notDecodable('no record of the NCCL Inspector', 'JSON with "coll_perf", or its Prometheus text');
  return decoding.result();
}

type Marker = { readonly attributes: Attributes; readonly at_ms: number | null };

const HEADER_FIELDS = { 'nccl.communicator': 'id', rank: 'rank', 'nccl.ranks': 'n_ranks', 'nccl.nodes': 'nnodes' };
const PROCESS_FIELDS = { 'host.name': 'hostname', 'process.pid': 'pid' };

/** Whom the records from here on belong to: header and metadata of this record, its flat fields, or what held before. */
function markerOf(record: JsonObject, before: Marker): Marker {
  const header = objectOf(record['header']) ?? (record['rank'] === undefined ? null : record);
  if (header === null) return before;
  const metadata = objectOf(record['metadata']) ?? record;
  const stamp = numberOf(metadata['dump_timestamp_us']);
  return {
    attributes: { ...attributesOf(header, HEADER_FIELDS), ...attributesOf(metadata, PROCESS_FIELDS) },
    at_ms: stamp === null ? null : stamp / 1_000,
  };
}

const OPERATION_FIELDS = {
  'nccl.op': 'coll',
  'nccl.algorithm': 'coll_algo',
  'nccl.protocol': 'coll_proto',
  'nccl.sequence': 'coll_sn',
  'nccl.timing_source': 'coll_timing_source',
};
const P2P_FIELDS = {
  'nccl.op': 'p2p',
  'nccl.peer': 'peer',
  'nccl.sequence': 'p2p_sn',
  'nccl.timing_source': 'p2p_timing_source',
};

function decodeRecord(decoding: Decoding, record: JsonObject, marker: Marker): boolean {
  let known = false;
  const time = marker.at_ms === null ? {} : { at_ms: marker.at_ms };
  if (marker.attributes['rank'] === undefined)
    decoding.warn('LW-DECODE-NO-IDENTITY', 'a record without a rank before or in it');
  const quality = marker.attributes['rank'] === undefined ? ({ quality: 'suspect' } as const) : {};
  for (const [name, rules] of Object.entries(BODIES)) {
    const body = objectOf(record[name]);
    if (body === null) continue;
    known = true;
    const operation = attributesOf(body, name === 'p2p_perf' ? P2P_FIELDS : OPERATION_FIELDS);
    for (const [field, rule] of Object.entries(rules)) {
      const attributes = { ...marker.attributes, ...operation, ...rule.attributes };
      const number = numberOf(body[field]);
      const value = number === null ? null : scaled(String(number), rule.unit);
      if (value !== null) decoding.sample(rule.metric, value, attributes, { ...time, ...quality });
      else decoding.absent(rule.metric, attributes, body[field] === undefined ? 'unsupported' : 'parse_error');
    }
  }
  return known || objectOf(record['proxy_trace']) !== null;
}

function decodeExposed(decoding: Decoding, text: string): void {
  for (const sample of exposition(decoding, text).samples) {
    const rule = Object.hasOwn(EXPOSED, sample.name) ? EXPOSED[sample.name] : undefined;
    const value = rule === undefined ? null : scaled(sample.text, rule.unit);
    const { node, collective, p2p_operation, comm_name, ...labels } = sample.labels;
    const operation = collective ?? p2p_operation;
    const attributes = {
      ...(node === undefined ? {} : { 'host.name': node }),
      ...(operation === undefined ? {} : { 'nccl.op': operation }),
      ...(comm_name === undefined ? {} : { 'nccl.communicator': comm_name }),
      ...labels,
      ...rule?.attributes,
    };
    if (rule === undefined) passOn(decoding, sample, attributes);
    else if (value === null) decoding.absent(rule.metric, attributes, 'parse_error');
    else decoding.sample(rule.metric, value, attributes, timeOf(sample));
  }
}
