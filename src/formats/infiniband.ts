import type { MetricName } from '../core/catalog.ts';
import { type Attributes, Decoding, type DecodeResult, notDecodable, quoted, type Value } from './decode-result.ts';
import { absentReason, scaled } from './quantity.ts';

type Rule = { readonly metric: MetricName; readonly factor: bigint; readonly attributes: Attributes };

function rule(metric: MetricName, attributes: Attributes = {}, factor = 1n): Rule {
  return { metric, attributes, factor };
}

function error(type: string): Rule {
  return rule('hw.errors', { 'hw.type': 'network', 'error.type': type });
}

const TRANSMIT = { 'network.io.direction': 'transmit' };
const RECEIVE = { 'network.io.direction': 'receive' };

/** Files of `counters/`. The data counters count 4-byte words on every link width (IBTA PortCounters). */
const COUNTERS: Readonly<Record<string, Rule>> = {
  port_xmit_data: rule('hw.network.io', TRANSMIT, 4n),
  port_rcv_data: rule('hw.network.io', RECEIVE, 4n),
  port_xmit_packets: rule('hw.network.packets', TRANSMIT),
  port_rcv_packets: rule('hw.network.packets', RECEIVE),
  unicast_xmit_packets: rule('hw.network.packets', { ...TRANSMIT, 'network.packet.type': 'unicast' }),
  unicast_rcv_packets: rule('hw.network.packets', { ...RECEIVE, 'network.packet.type': 'unicast' }),
  multicast_xmit_packets: rule('hw.network.packets', { ...TRANSMIT, 'network.packet.type': 'multicast' }),
  multicast_rcv_packets: rule('hw.network.packets', { ...RECEIVE, 'network.packet.type': 'multicast' }),
  port_xmit_wait: rule('hw.network.transmit.wait'),
  symbol_error: error('symbol'),
  link_error_recovery: error('link_recovery'),
  link_downed: error('link_downed'),
  port_rcv_errors: error('receive'),
  port_rcv_remote_physical_errors: error('receive_remote_physical'),
  port_rcv_switch_relay_errors: error('receive_switch_relay'),
  port_xmit_discards: error('transmit_discard'),
  port_xmit_constraint_errors: error('transmit_constraint'),
  port_rcv_constraint_errors: error('receive_constraint'),
  local_link_integrity_errors: error('local_link_integrity'),
  excessive_buffer_overrun_errors: error('buffer_overrun'),
  VL15_dropped: error('vl15_dropped'),
};

/** Files of `hw_counters/` that tell of congestion and loss on RoCE and InfiniBand; others pass under `event` too. */
const HW_COUNTERS = [
  'out_of_sequence',
  'packet_seq_err',
  'local_ack_timeout_err',
  'rnr_nak_retry_err',
  'np_cnp_sent',
  'rp_cnp_handled',
  'roce_adp_retrans',
  'req_cqe_error',
] as const;

/** A file of sysfs: its path, of which the last parts `<device>/ports/<port>/…` count, and its text. */
export type SysFile = { readonly path: string; readonly text: string };

/**
 * `/sys/class/infiniband`: traffic, packets, errors, state and rate by port. A counter that the card or its driver
 * does not have is absent, never 0. Throws LW-INPUT when no file belongs to a port.
 */
export function decodeInfiniband(files: readonly SysFile[]): DecodeResult {
  const decoding = new Decoding();
  const ports = new Map<string, { device: string; port: string; files: Map<string, string> }>();
  const texts = new Map<string, string>();
  for (const { path, text } of files) {
    const match = /(?:^|\/)([^/]+)\/ports\/(\d{1,3})\/(.+)$/.exec(path);
    if (match === null) {
      const device = /(?:^|\/)([^/]+)\/(hca_type|fw_ver|board_id|node_guid)$/.exec(path);
      if (device !== null) texts.set(`${device[1]}/${device[2]}`, text.trim());
      continue;
    }
    const [, device = '', port = '', rest = ''] = match;
    const key = `${device}/${port}`;
    const found = ports.get(key) ?? { device, port, files: new Map<string, string>() };
    found.files.set(rest, text.trim());
    ports.set(key, found);
  }
  if (ports.size === 0)
    throw notDecodable('no port of an InfiniBand device', 'a directory <device>/ports/<n>/counters');
  for (const port of ports.values()) decodePort(decoding, port);
  for (const device of new Set([...ports.values()].map((port) => port.device)))
    decoding.device({
      'hw.id': device,
      name: texts.get(`${device}/hca_type`) ?? null,
      driver: null,
      mig: [],
      ...detail('firmware', texts.get(`${device}/fw_ver`)),
      ...detail('board_id', texts.get(`${device}/board_id`)),
    });
  return decoding.result();
}

function detail(name: string, text: string | undefined): Record<string, string> {
  return text === undefined ? {} : { [name]: text };
}

type Port = { readonly device: string; readonly port: string; readonly files: ReadonlyMap<string, string> };

function decodePort(decoding: Decoding, port: Port): void {
  const attributes = { 'hw.id': port.device, 'network.port': port.port };
  for (const [name, found] of Object.entries(COUNTERS))
    decodeCounter(decoding, { rule: found, text: port.files.get(`counters/${name}`), name }, attributes);
  const extra = [...port.files.keys()].filter((path) => path.startsWith('hw_counters/')).map((path) => path.slice(12));
  for (const event of new Set([...HW_COUNTERS, ...extra.filter((name) => name !== 'lifespan')]))
    decodeCounter(
      decoding,
      { rule: rule('hw.network.rdma.events', { event }), text: port.files.get(`hw_counters/${event}`), name: event },
      attributes,
    );
  decodeState(decoding, port.files.get('state'), { ...attributes }, 'hw.network.port.state');
  decodeState(decoding, port.files.get('phys_state'), { ...attributes }, 'hw.network.port.physical_state');
  decodeRate(decoding, port.files.get('rate'), attributes);
}

/** Where counters of 16 and 32 bits stop: a data counter that stands there has stopped counting. */
const SATURATED: ReadonlySet<bigint> = new Set([0xffffffffn, 0xffffn]);

function decodeCounter(
  decoding: Decoding,
  counter: { readonly rule: Rule; readonly text: string | undefined; readonly name: string },
  port: Attributes,
): void {
  const { rule: found, text, name } = counter;
  const attributes = { ...port, ...found.attributes };
  const reason =
    text === undefined ? 'unsupported' : (absentReason(text) ?? (/^n\/a/i.test(text) ? 'unsupported' : null));
  if (reason !== null || text === undefined) return decoding.absent(found.metric, attributes, reason ?? 'unsupported');
  if (!/^\d{1,20}$/.test(text)) {
    decoding.warn('LW-DECODE-LINE', `${name}: ${quoted(text)}`);
    return decoding.absent(found.metric, attributes, 'parse_error');
  }
  const raw = BigInt(text);
  const saturated = SATURATED.has(raw);
  if (saturated) decoding.warn('LW-DECODE-IMPLAUSIBLE', `${name} stands at ${raw}, the end of its register`);
  decoding.sample(found.metric, narrowed(raw * found.factor), attributes, saturated ? { quality: 'suspect' } : {});
}

function narrowed(integer: bigint): Value {
  return integer <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(integer) : integer;
}

/** "4: ACTIVE" → 4, with the word as attribute. */
function decodeState(decoding: Decoding, text: string | undefined, attributes: Attributes, metric: MetricName): void {
  if (text === undefined) return decoding.absent(metric, attributes, 'unsupported');
  const match = /^(\d{1,2}):\s*(\S{1,40})$/.exec(text);
  if (match === null) return decoding.absent(metric, attributes, absentReason(text) ?? 'parse_error');
  decoding.sample(metric, Number(match[1]), { ...attributes, 'hw.state': match[2] ?? '' });
}

/** "40 Gb/sec (4X QDR)": decimal bits a second, an eighth of it in bytes. */
function decodeRate(decoding: Decoding, text: string | undefined, attributes: Attributes): void {
  const metric = 'hw.network.bandwidth.limit';
  if (text === undefined) return decoding.absent(metric, attributes, 'unsupported');
  const match = /^(\d{1,6}(?:\.\d{1,3})?) Gb\/sec(?: \((.{1,40})\))?$/.exec(text);
  const gigabits = match === null ? null : scaled(match[1] ?? '', 'GB/s');
  if (gigabits === null) return decoding.absent(metric, attributes, absentReason(text) ?? 'parse_error');
  const link = match?.[2] === undefined ? {} : { 'network.link': match[2] };
  decoding.sample(metric, Number(gigabits) / 8, { ...attributes, ...link });
}
