import { type Attributes, Decoding, type DecodeResult, notDecodable, quoted } from './decode-result.ts';
import {
  attributesOf,
  jsonDocuments,
  type JsonObject,
  nestsTooDeep,
  numberOf,
  objectOf,
  objectsOf,
  parsedJson,
  textOf,
} from './json-values.ts';
import { decodeNcclRasText } from './nccl-ras-text.ts';
import type { MetricName } from '../core/catalog.ts';

/** Communicators and ranks of one answer: 10,000 ranks in 100 communicators each would be 100 MB of JSON. */
const COMMUNICATORS_MAX = 100_000;
const RANKS_MAX = 100_000;

/**
 * What NCCL's RAS service (port 28028) answers: `STATUS` as JSON, the events of `MONITOR`, or the text report.
 * NCCL 2.28.9 forgets the comma before `"status"` of a missing rank; that is repaired and said. A missing rank's
 * counts are absent (`lost`). Throws LW-INPUT when it is none of the three.
 */
export function decodeNcclRas(text: string): DecodeResult {
  const decoding = new Decoding();
  if (!text.trimStart().startsWith('{')) {
    if (!decodeNcclRasText(decoding, text))
      throw notDecodable('no answer of the RAS service', 'its JSON or its text report');
    return decoding.result();
  }
  let known = 0;
  for (const document of documents(decoding, text)) known += decodeDocument(decoding, document) ? 1 : 0;
  if (known === 0) throw notDecodable('JSON without "communicators" or "event"', 'an answer of the RAS service');
  return decoding.result();
}

function documents(decoding: Decoding, text: string): readonly JsonObject[] {
  if (nestsTooDeep(text)) throw notDecodable('JSON nested too deep', 'an answer of the RAS service');
  const whole = objectOf(parsedJson(text)) ?? objectOf(parsedJson(repaired(decoding, text)));
  if (whole !== null) return [whole];
  const found: JsonObject[] = [];
  for (const piece of jsonDocuments(text)) {
    const object = 'value' in piece ? objectOf(piece.value) : null;
    if (object !== null) found.push(object);
    else decoding.warn('LW-DECODE-LINE', quoted('bad' in piece ? piece.bad : 'not an object'));
  }
  if (found.length === 0) throw notDecodable('the JSON is cut off or malformed', 'an answer of the RAS service');
  return found;
}

/** Puts the comma between a line that ends in a number and a line that begins with `"status":`. Nothing else. */
function repaired(decoding: Decoding, text: string): string {
  let repairs = 0;
  const fixed = text.replace(/("nvml_dev": {0,4}-?\d{1,9})(\s{1,200}"status":)/g, (_, value: string, key: string) => {
    repairs++;
    return `${value},${key}`;
  });
  if (repairs > 0 && parsedJson(fixed) !== null)
    decoding.warn('LW-DECODE-REPAIRED', `${repairs} missing commas before "status" (NCCL 2.28.9)`);
  return fixed;
}

function decodeDocument(decoding: Decoding, document: JsonObject): boolean {
  if (Array.isArray(document['communicators'])) {
    decodeStatus(decoding, document);
    return true;
  }
  if (typeof document['event'] !== 'string') return false;
  const peer = objectOf(document['peer']) ?? {};
  const lists = Object.entries({ 'gpu.cuda': 'cuda_devs', gpu: 'nvml_devs' }).flatMap(([attribute, field]) => {
    const devices = peer[field];
    return Array.isArray(devices) ? [[attribute, devices.slice(0, 64).map(String).join(',')] as const] : [];
  });
  decoding.sample('nccl.event', 1, {
    ...attributesOf(document, { event: 'event', 'event.group': 'group', 'nccl.time': 'timestamp' }),
    ...attributesOf(peer, { 'host.name': 'host', 'process.pid': 'pid' }),
    ...Object.fromEntries(lists),
  });
  return true;
}

function decodeStatus(decoding: Decoding, document: JsonObject): void {
  const version = attributesOf(document, { 'nccl.version': 'nccl_version' });
  const communicators = objectsOf(document['communicators'], COMMUNICATORS_MAX);
  const announced = numberOf(document['communicators_count']);
  if (announced !== null && announced !== communicators.length)
    decoding.warn('LW-DECODE-TRUNCATED', `communicators_count says ${announced}, ${communicators.length} are listed`);
  put(decoding, 'nccl.communicators', document['communicators_count'], version);
  for (const communicator of communicators) decodeCommunicator(decoding, communicator);
  const ras = objectOf(document['ras']);
  if (ras === null) return;
  put(decoding, 'nccl.ras.duration', ras['collection_time_sec'], {});
  put(decoding, 'nccl.ras.timeouts', ras['timeouts_count'], {});
}

function decodeCommunicator(decoding: Decoding, communicator: JsonObject): void {
  const of = attributesOf(communicator, {
    'nccl.communicator': 'hash',
    'nccl.communicator.secondary': 'secondary_hash',
  });
  const [size, present, missing] = ['size', 'ranks_count', 'missing_ranks_count'].map((field) =>
    numberOf(communicator[field]),
  );
  if (size !== null && present !== null && missing !== null && (present ?? 0) + (missing ?? 0) !== size)
    decoding.warn('LW-DECODE-IMPLAUSIBLE', `${of['nccl.communicator']}: ${present} + ${missing} ranks are not ${size}`);
  put(decoding, 'nccl.communicator.size', communicator['size'], of);
  put(decoding, 'nccl.ranks.present', communicator['ranks_count'], of);
  put(decoding, 'nccl.ranks.missing', communicator['missing_ranks_count'], of);
  const operations = new Set<string>();
  for (const rank of objectsOf(communicator['ranks'], RANKS_MAX)) decodeRank(decoding, rank, of, operations);
  for (const rank of objectsOf(communicator['missing_ranks'], RANKS_MAX)) decodeMissing(decoding, rank, of, operations);
}

const RANK_FIELDS = {
  rank: 'rank',
  'host.name': 'host',
  'process.pid': 'pid',
  gpu: 'nvml_dev',
  'gpu.cuda': 'cuda_dev',
};

function decodeRank(decoding: Decoding, rank: JsonObject, communicator: Attributes, operations: Set<string>): void {
  const of = { ...communicator, ...attributesOf(rank, RANK_FIELDS) };
  const status = objectOf(rank['status']) ?? {};
  put(decoding, 'nccl.rank.init_state', status['init_state'], of);
  put(decoding, 'nccl.rank.async_error', status['async_error'], of);
  put(decoding, 'nccl.rank.finalizing', status['finalize_called'], of);
  put(decoding, 'nccl.rank.destroying', status['destroy_flag'], of);
  put(decoding, 'nccl.rank.aborting', status['abort_flag'], of);
  const counts = objectOf(rank['collective_counts']);
  if (counts === null) return decoding.absent('nccl.rank.collective_count', of, 'lost');
  for (const [operation, count] of Object.entries(counts).slice(0, 64)) {
    operations.add(operation);
    put(decoding, 'nccl.rank.collective_count', count, { ...of, 'nccl.op': operation });
  }
}

function decodeMissing(
  decoding: Decoding,
  rank: JsonObject,
  communicator: Attributes,
  operations: ReadonlySet<string>,
): void {
  const of = { ...communicator, ...attributesOf(rank, RANK_FIELDS) };
  const status = objectOf(rank['status']) ?? {};
  decoding.sample('nccl.rank.missing', 1, of);
  put(decoding, 'nccl.rank.unresponsive', status['unresponsive'], of);
  put(decoding, 'nccl.rank.considered_dead', status['considered_dead'], of);
  if (operations.size === 0) decoding.absent('nccl.rank.collective_count', of, 'lost');
  for (const operation of operations)
    decoding.absent('nccl.rank.collective_count', { ...of, 'nccl.op': operation }, 'lost');
}

/** A number, a boolean as 0 or 1, nothing at all as `unsupported`, anything else as `parse_error`. */
function put(decoding: Decoding, metric: MetricName, value: unknown, attributes: Attributes): void {
  const number = typeof value === 'boolean' ? Number(value) : numberOf(value);
  if (number !== null) decoding.sample(metric, number, attributes);
  else decoding.absent(metric, attributes, value === undefined ? 'unsupported' : 'parse_error');
  if (number === null && value !== undefined)
    decoding.warn('LW-DECODE-LINE', `${metric}: ${quoted(textOf(value) ?? typeof value)}`);
}
