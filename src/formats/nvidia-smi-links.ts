import { type Attributes, Decoding, type DecodeResult, notDecodable, quoted } from './decode-result.ts';
import { isErrorLine, linesOf, type Section, sectionsOf } from './nvidia-smi-capture.ts';
import { listedGpu } from './nvidia-smi-list.ts';
import { absentReason, readQuantity } from './quantity.ts';

/**
 * `nvidia-smi nvlink -s`: speed of each link (GB/s are 10⁹ bytes a second and direction). An inactive link has no
 * speed and is told by `hw.gpu.interconnect.active`. Throws LW-INPUT when no line is of it.
 */
export function decodeNvidiaSmiNvlink(text: string): DecodeResult {
  const decoding = new Decoding();
  let gpus = 0;
  for (const section of sectionsOf(text, /\bnvlink\s+(-s|--status)\b/, 'nvidia-smi nvlink -s')) {
    let device: Attributes = {};
    for (const line of linesOf(section.body)) {
      const gpu = listedGpu(line);
      if (gpu !== null) {
        gpus++;
        device = { 'hw.id': gpu.uuid, gpu: gpu.index };
        decoding.device({ 'hw.id': gpu.uuid, name: gpu.name, driver: null, mig: [], index: Number(gpu.index) });
      } else if (line.trim() !== '') decodeLinkLine(decoding, line, device);
    }
  }
  if (gpus === 0 && decoding.result().warnings.every(({ code }) => code !== 'LW-DECODE-SOURCE-ERROR'))
    throw notDecodable('no line of nvidia-smi nvlink -s', '"GPU 0: name (UUID: …)"');
  return decoding.result();
}

function decodeLinkLine(decoding: Decoding, line: string, device: Attributes): void {
  const match = /^\s*Link (\d{1,3}): (.{1,64})$/.exec(line);
  if (match === null) return decodeLinkMessage(decoding, line, device);
  const attributes = { ...device, type: 'nvlink', link: match[1] ?? '' };
  const text = (match[2] ?? '').trim();
  if (/^<?inactive>?$/i.test(text)) {
    decoding.sample('hw.gpu.interconnect.active', 0, attributes);
    return decoding.absent('hw.gpu.interconnect.speed', attributes, 'lost');
  }
  const reading = /\s/.test(text) || absentReason(text) !== null ? readQuantity(text, 'GB/s') : null;
  if (reading?.kind !== 'value')
    return decoding.absent('hw.gpu.interconnect.speed', attributes, reading?.reason ?? 'parse_error');
  decoding.sample('hw.gpu.interconnect.speed', reading.value, attributes);
}

function decodeLinkMessage(decoding: Decoding, line: string, device: Attributes): void {
  if (/not supported for devices in mig mode/i.test(line))
    return decoding.absent('hw.gpu.interconnect.speed', { ...device, type: 'nvlink' }, 'mig_unsupported');
  if (/does not (have or )?support nvlink/i.test(line) || /nvlink.*not supported/i.test(line))
    return decoding.absent('hw.gpu.interconnect.speed', { ...device, type: 'nvlink' }, 'unsupported');
  if (isErrorLine(decoding, line, device)) {
    if (device['hw.id'] !== undefined)
      decoding.absent('hw.gpu.interconnect.speed', { ...device, type: 'nvlink' }, 'lost');
  } else decoding.warn('LW-DECODE-LINE', quoted(line));
}

/** Devices of one topology matrix: 16 GPUs and 32 NICs, with room. */
const DEVICES_MAX = 256;
const CONNECTION = /^(X|SYS|NODE|PHB|PXB|PIX|PXN|C2C|NV\d{1,3})$/;
const DEVICE = /^(GPU|NIC|mlx\d+_)\d{1,4}$/i;

/**
 * `nvidia-smi topo -m`, escape sequences included: NVLinks between each two devices (0 when the path is PCIe), the
 * path's name in `connection`, CPU and NUMA affinity in the inventory. Throws LW-INPUT when there is no matrix.
 */
export function decodeNvidiaSmiTopo(text: string): DecodeResult {
  const decoding = new Decoding();
  let understood = false;
  for (const section of sectionsOf(text, /\btopo\s+(-m|--matrix)\b/, 'nvidia-smi topo -m'))
    understood = decodeMatrix(decoding, section) || understood;
  if (!understood)
    throw notDecodable('no matrix of nvidia-smi topo -m', 'a header with GPU0 and a row for each device');
  return decoding.result();
}

function decodeMatrix(decoding: Decoding, section: Section): boolean {
  let peers: readonly string[] | null = null;
  let tail: readonly string[] = [];
  let understood = false;
  for (const raw of linesOf(section.body)) {
    const line = withoutEscapes(raw);
    if (/^\s*(Legend|NIC Legend):/.test(line)) break;
    if (line.trim() === '') continue;
    const cells = matrixCells(line);
    if (peers === null && cells.some((cell) => DEVICE.test(cell))) {
      const names = cells.slice(1).filter((cell) => cell !== '');
      peers = names.filter((cell) => DEVICE.test(cell));
      tail = names.slice(peers.length);
      understood = true;
    } else if (peers !== null && DEVICE.test(cells[0] ?? '')) decodeMatrixRow(decoding, cells, peers, tail);
    else if (isErrorLine(decoding, line, {})) understood = true;
    else decoding.warn('LW-DECODE-LINE', quoted(line));
  }
  return understood;
}

/** Cells between tabs; where a terminal or a document turned them into blanks, between two or more of these. */
function matrixCells(line: string): readonly string[] {
  if (line.includes('\t')) return line.split('\t', DEVICES_MAX + 8).map((cell) => cell.trim());
  const words = line.trim().split(/ {2,}/, DEVICES_MAX + 8);
  return line.startsWith(' ') ? ['', ...words] : words;
}

function decodeMatrixRow(
  decoding: Decoding,
  cells: readonly string[],
  peers: readonly string[],
  tail: readonly string[],
): void {
  const gpu = cells[0] ?? '';
  const links = cells.slice(1, 1 + peers.length);
  const known = links.length === peers.length && links.every((cell) => CONNECTION.test(cell));
  if (!known) {
    decoding.warn('LW-DECODE-COLUMNS', `row of ${gpu} does not fit the header`);
    return decoding.absent('hw.gpu.interconnect.links', { 'hw.id': gpu }, 'parse_error');
  }
  for (const [index, connection] of links.entries()) {
    if (connection === 'X') continue;
    const count = connection.startsWith('NV') ? Number(connection.slice(2)) : 0;
    decoding.sample('hw.gpu.interconnect.links', count, { 'hw.id': gpu, peer: peers[index] ?? '', connection });
  }
  if (!/^GPU/i.test(gpu)) return;
  const affinity = affinities(cells.slice(1 + peers.length), tail);
  decoding.device({ 'hw.id': gpu, name: null, driver: null, mig: [], ...affinity });
  if (tail.includes('GPU NUMA ID')) {
    const node = cells.slice(1 + peers.length).findLast((cell) => cell !== '') ?? '';
    const value = /^\d{1,4}$/.test(node) ? Number(node) : null;
    if (value !== null) decoding.sample('hw.gpu.numa_node', value, { 'hw.id': gpu });
    else decoding.absent('hw.gpu.numa_node', { 'hw.id': gpu }, absentReason(node) ?? 'parse_error');
  }
}

/** The tool pads the affinity columns with a varying number of tabs, so they are matched by order of what is filled. */
function affinities(cells: readonly string[], tail: readonly string[]): Record<string, string> {
  const filled = cells.filter((cell) => cell !== '');
  if (filled.length !== tail.length) return {};
  const pairs = tail.map((name, index) => [name.toLowerCase().replaceAll(' ', '_'), filled[index] ?? ''] as const);
  return Object.fromEntries(
    pairs.filter(([name, cell]) => /^(cpu|numa)_affinity$/.test(name) && absentReason(cell) === null),
  );
}

/** Text without ANSI escape sequences (CSI … letter): the tool underlines its header even into a pipe. */
function withoutEscapes(text: string): string {
  let plain = '';
  let from = 0;
  for (let at = text.indexOf('\u001b['); at !== -1; at = text.indexOf('\u001b[', from)) {
    plain += text.slice(from, at);
    from = at + 2;
    while (from < text.length && /[0-9;?]/.test(text[from] ?? '')) from++;
    from++;
  }
  return plain + text.slice(from);
}
