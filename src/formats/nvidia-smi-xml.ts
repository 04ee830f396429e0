import { type Attributes, Decoding, type DecodeResult, type MigDevice, notDecodable } from './decode-result.ts';
import { decodeCell } from './nvidia-smi-fields.ts';
import { FIELD_BY_TAG, LIST_TAGS, TEXT_TAGS, UNKNOWN_LISTED_MAX } from './nvidia-smi-tags.ts';
import { absentReason, readQuantity } from './quantity.ts';
import { plainText, type XmlElement as Element, type XmlNode, type XmlRead } from './xml-node.ts';

/** GPUs of one document: a host holds 16. */
const GPUS_MAX = 256;
/** Processes or MIG devices of one GPU. */
const LIST_MAX = 10_000;

/**
 * `nvidia-smi -q -x`, DTD v10 to v13: read by tag with the names of each version as aliases, never by version, so a
 * later one is read as far as it is known. Parent utilisation under MIG is absent (`mig_unsupported`).
 * Throws LW-INPUT when the document is malformed, cut off or not of nvidia-smi.
 */
export function decodeNvidiaSmiXml(text: string, readXml: XmlRead): DecodeResult {
  const log = element(readXml(text, ['supported_clocks'])['nvidia_smi_log']);
  if (log === null) throw notDecodable('no element nvidia_smi_log', 'the output of nvidia-smi -q -x');
  const decoding = new Decoding();
  const dtd = /nvsmi_device_v(\d{1,3})\.dtd/.exec(text.slice(0, 1_000))?.[1];
  if (dtd === undefined || Number(dtd) < 10 || Number(dtd) > 13)
    decoding.warn('LW-DECODE-VERSION', `DTD version ${dtd ?? 'not named'}, known are 10 to 13`);
  const gpus = list(log['gpu']).slice(0, GPUS_MAX);
  const announced = textOf(log['attached_gpus']);
  if (announced !== null && announced !== String(gpus.length))
    decoding.warn(
      'LW-DECODE-GPU-COUNT',
      `attached_gpus says ${announced.slice(0, 20)}, the document holds ${gpus.length}`,
    );
  const driver = present(log['driver_version']);
  const unknown = new Set<string>();
  for (const gpu of gpus) decodeGpu(decoding, gpu, { driver, unknown });
  for (const tag of [...unknown].slice(0, UNKNOWN_LISTED_MAX))
    decoding.warn('LW-DECODE-UNKNOWN-FIELD', tag.slice(0, 200));
  return decoding.result();
}

type Context = { readonly driver: string | null; readonly unknown: Set<string> };

function decodeGpu(decoding: Decoding, gpu: Element, context: Context): void {
  const bus = present(gpu['@_id']) ?? present(element(gpu['pci'])?.['pci_bus_id']);
  const id = present(gpu['uuid']) ?? bus ?? 'unknown';
  const device: Attributes = { 'hw.id': id, ...(bus === null ? {} : { 'pci.bus_id': bus }) };
  const mig = present(element(gpu['mig_mode'])?.['current_mig'])?.toLowerCase() === 'enabled';
  const repeated: string[] = [];
  for (const [path, node] of leaves(gpu, '', repeated)) {
    if (LIST_TAGS.test(path)) continue;
    const field = FIELD_BY_TAG.get(path.replaceAll('clocks_throttle_reason', 'clocks_event_reason'));
    const reason = absentReason(node);
    if (field !== undefined) decodeCell(decoding, { field, text: node, unit: null, device, mig });
    else if (reason !== null) decoding.absent('hw.gpu.info', { ...device, field: path }, reason);
    else if (!TEXT_TAGS.test(path)) context.unknown.add(path);
  }
  for (const path of repeated) decoding.warn('LW-DECODE-DUPLICATE', `${path.slice(0, 100)} occurs twice in one GPU`);
  if (typeof gpu['remapped_rows'] === 'string') decodeRemapAbsence(decoding, gpu['remapped_rows'], { device, mig });
  const devices = list(element(gpu['mig_devices'])?.['mig_device']).slice(0, LIST_MAX);
  decoding.device({
    'hw.id': id,
    name: present(gpu['product_name']),
    driver: context.driver,
    mig: devices.map((item) => decodeMig(decoding, item, device)),
    ...(bus === null ? {} : { 'pci.bus_id': bus }),
  });
  for (const process of list(element(gpu['processes'])?.['process_info']).slice(0, LIST_MAX))
    decodeProcess(decoding, process, device);
}

/** `<remapped_rows>N/A</remapped_rows>`: one text stands for all counters of the group. */
function decodeRemapAbsence(decoding: Decoding, text: string, of: { device: Attributes; mig: boolean }): void {
  for (const field of ['correctable', 'uncorrectable', 'pending', 'failure'])
    decodeCell(decoding, { field: `remapped_rows.${field}`, text, unit: null, device: of.device, mig: of.mig });
}

function decodeMig(decoding: Decoding, item: Element, parent: Attributes): MigDevice {
  const text = (tag: string): string => textOf(item[tag]) ?? '';
  const ids = { 'mig.index': text('index'), 'mig.gi': text('gpu_instance_id'), 'mig.ci': text('compute_instance_id') };
  const device = { ...parent, ...ids };
  for (const [group, prefix] of [
    ['fb_memory_usage', 'memory'],
    ['bar1_memory_usage', 'bar1'],
  ] as const)
    for (const [tag, cell] of leaves(element(item[group]) ?? {}, ''))
      decodeCell(decoding, { field: `${prefix}.${tag}`, text: cell, unit: null, device, mig: false });
  const shared = element(element(item['device_attributes'])?.['shared']);
  const count = readQuantity(textOf(shared?.['multiprocessor_count']) ?? '', '');
  if (count.kind === 'value') decoding.sample('hw.gpu.mig.multiprocessors', count.value, device);
  else decoding.absent('hw.gpu.mig.multiprocessors', device, count.reason);
  for (const [path, cell] of leaves(element(element(item['ecc_error_count'])?.['volatile_count']) ?? {}, ''))
    if (path === 'sram_uncorrectable')
      decodeCell(decoding, {
        field: 'ecc.errors.uncorrected.volatile.sram',
        text: cell,
        unit: null,
        device,
        mig: false,
      });
  return {
    index: Number(ids['mig.index']),
    gpu_instance_id: Number(ids['mig.gi']),
    compute_instance_id: Number(ids['mig.ci']),
  };
}

function decodeProcess(decoding: Decoding, process: Element, device: Attributes): void {
  const attributes: Record<string, string> = { ...device };
  for (const [tag, name] of [
    ['pid', 'process.pid'],
    ['process_name', 'process.name'],
    ['type', 'process.type'],
    ['gpu_instance_id', 'mig.gi'],
    ['compute_instance_id', 'mig.ci'],
  ] as const) {
    const text = present(process[tag]);
    if (text !== null) attributes[name] = text;
  }
  const reading = readQuantity(textOf(process['used_memory']) ?? '', 'MiB');
  if (reading.kind === 'value') decoding.sample('process.gpu.memory.usage', reading.value, attributes);
  else decoding.absent('process.gpu.memory.usage', attributes, reading.reason);
}

/**
 * Every text below an element with its path of tags; what is read elsewhere is left out. Of a tag that repeats where
 * it should not the first counts, and its path goes to `repeated`.
 */
function* leaves(node: Element, path: string, repeated: string[] = []): Generator<readonly [string, string]> {
  for (const [tag, child] of Object.entries(node)) {
    if (tag.startsWith('@_') || tag === '#text') continue;
    const at = path === '' ? tag : `${path}.${tag}`;
    if (LIST_TAGS.test(at) && typeof child !== 'string' && !at.startsWith('remapped_rows')) continue;
    if (isList(child)) repeated.push(at);
    const first = isList(child) ? child[0] : child;
    if (first === undefined || isList(first)) continue;
    if (typeof first === 'string') yield [at, plainText(first)];
    else if (typeof first['#text'] === 'string') yield [at, plainText(first['#text'])];
    else yield* leaves(first, at, repeated);
  }
}

function isList(node: XmlNode | undefined): node is readonly XmlNode[] {
  return Array.isArray(node);
}

function element(node: XmlNode | undefined): Element | null {
  return node === undefined || typeof node === 'string' || isList(node) ? null : node;
}

function list(node: XmlNode | undefined): readonly Element[] {
  if (node === undefined) return [];
  const nodes: readonly XmlNode[] = isList(node) ? node : [node];
  return nodes.map(element).filter((item) => item !== null);
}

function textOf(node: XmlNode | undefined): string | null {
  return typeof node === 'string' ? plainText(node) : null;
}

function present(node: XmlNode | undefined): string | null {
  const text = textOf(node);
  return text === null || absentReason(text) !== null ? null : text;
}
