import { LeewayError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { ok, type Outcome, reject } from '../core/outcome.ts';
import { TABLES } from '../core/tables.ts';
import { damaged, LinkReader, LinkWriter } from './link-bytes.ts';
import { readColumn, writeColumn } from './link-columns.ts';
import { readIntegers, writeIntegers } from './link-integers.ts';
import { LINK_NAMES_1, linkPlace } from './link-names.ts';
import { setField } from './link-values.ts';

/**
 * Batches of records on their way from a collector to a gateway, version 1. A message stands for itself: nothing of it refers
 * to one before it, so it may be repeated, reordered and taken by any gateway.
 *
 *   byte version · varint groups · of each group:
 *     name table · varint frames · columns source, epoch, sequence, rows of the frames
 *     varint fields · of each field: its name · its column over the rows of all frames
 *   varint gaps · of each: text source · varint epoch · text run, reason · varint records · varint ranges · from, length of each
 *
 * A name is a varint: 0 and a text, or 1 + its place in the list of the version. Columns: link-columns.ts.
 */
export const LINK_VERSION = 1;
/** Versions that this gateway reads. */
export const LINK_VERSIONS: readonly number[] = [1];
/** `errors[0].path` of a gateway's refusal of a message: it knows batches and judged this one. One that reads lines names a line. */
export const LINK_FAULT_PATH = 'batch';

/** Memory of any message, however few its bytes: 5,000 × (64 B + 40 × 16 B) = 3.5 MB. */
const MESSAGE_BYTES = 4 * 1_048_576;
/** What a record costs in memory beside its fields. */
const RECORD_BYTES = 64;

/** Records of one type that are one batch: (source, epoch, sequence) names it for ever. */
export type LinkFrame<Item = object> = {
  readonly source: string;
  readonly epoch: number;
  readonly sequence: number;
  /** Each with its `type`, all the same; at least one. */
  readonly records: readonly Item[];
};

/**
 * Records that a collector's side gave up, as a total that only grows: saying it again changes nothing. `run` tells totals apart
 * that start at 0 with each process; '' of those that outlive it.
 */
export type LinkGap = {
  readonly source: string;
  readonly epoch: number;
  readonly run: string;
  readonly reason: string;
  readonly records: number;
  /** Closed ranges of sequences of which nothing is left, rising. */
  readonly ranges: readonly (readonly [from: number, to: number])[];
};

export type LinkMessage<Item = object> = {
  readonly frames: readonly LinkFrame<Item>[];
  readonly gaps: readonly LinkGap[];
};

/** Encodes a message, not compressed. A gap of more ranges than one may name becomes several of the same name and total. */
export function encodeLink({ frames, gaps }: LinkMessage): Buffer {
  const groups = Map.groupBy(frames, (frame) => String(fieldOf(frame.records[0] ?? {}, 'type')));
  const writer = new LinkWriter(4096);
  writer.byte(LINK_VERSION);
  writer.varint(groups.size);
  for (const [table, members] of groups) writeGroup(writer, table, members);
  const pieces = gaps.flatMap(piecesOf);
  writer.varint(pieces.length);
  for (const gap of pieces) writeGap(writer, gap);
  return writer.take();
}

/**
 * Decodes a message. Records are as they were sent and not validated. Rejects with LW-MEDIA-TYPE (a version that is not
 * understood), LW-BODY (damaged), LW-BODY-SIZE (more rows, frames or memory than a body may have).
 */
export function decodeLink(bytes: Buffer): Outcome<LinkMessage> {
  const reader = new LinkReader(bytes, budgetOf(bytes));
  try {
    const version = reader.byte();
    if (!LINK_VERSIONS.includes(version))
      return reject('LW-MEDIA-TYPE', `version ${version} of the batch; understood: ${LINK_VERSIONS.join(', ')}`);
    const frames: LinkFrame[] = [];
    for (let left = reader.count(reader.rest_bytes, 'groups'); left > 0; left--) frames.push(...readGroup(reader));
    const gaps: LinkGap[] = [];
    for (let left = reader.count(Math.min(reader.rest_bytes, LIMITS.link_gaps_max), 'gaps'); left > 0; left--)
      gaps.push(readGap(reader));
    if (reader.rest_bytes > 0) throw damaged(`${reader.rest_bytes} bytes follow it`);
    return ok({ frames, gaps });
  } catch (error) {
    if (error instanceof LeewayError) return reject(error.code, error.message);
    throw error;
  }
}

/** What a message may take in memory: an honest one of 5,000 records of 40 equal fields, and what its own bytes justify. */
function budgetOf(bytes: Buffer): number {
  return Math.min(LIMITS.body_bytes_max, MESSAGE_BYTES + LIMITS.body_ratio_max * bytes.length);
}

function writeName(writer: LinkWriter, name: string): void {
  const place = linkPlace(name);
  writer.varint(place === undefined ? 0 : place + 1);
  if (place === undefined) writer.text(name);
}

function readName(reader: LinkReader): string {
  const place = reader.varint();
  if (place === 0) return reader.text();
  const name = LINK_NAMES_1[place - 1];
  if (name === undefined) throw damaged(`no name has the number ${place}`);
  return name;
}

function fieldOf(record: object, name: string): unknown {
  return Reflect.get(record, name);
}

function writeGroup(writer: LinkWriter, table: string, frames: readonly LinkFrame[]): void {
  const records = frames.flatMap((frame) => frame.records);
  writeName(writer, table);
  writer.varint(frames.length);
  writeColumn(
    writer,
    frames.map(({ source }) => source),
    0,
  );
  for (const pick of [
    ({ epoch }: LinkFrame) => epoch,
    ({ sequence }: LinkFrame) => sequence,
    (frame: LinkFrame) => frame.records.length,
  ])
    writeIntegers(writer, Float64Array.from(frames, pick), 0);
  const names = new Set<string>();
  for (const record of records)
    for (const name in record) if (name !== 'type' && fieldOf(record, name) !== undefined) names.add(name);
  const period = periodOf(table, records);
  writer.varint(names.size);
  for (const name of names) {
    writeName(writer, name);
    writeColumn(
      writer,
      records.map((record) => (Object.hasOwn(record, name) ? fieldOf(record, name) : undefined)),
      period,
    );
  }
}

/** After how many rows the first row's subject comes again: 8 where 8 GPUs are read in turn. 0: it does not. */
function periodOf(table: string, records: readonly object[]): number {
  const key: readonly string[] = Object.hasOwn(TABLES, table) ? TABLES[table as keyof typeof TABLES].key : []; // just looked up
  const subject = key.filter((name) => name !== 'step' && name !== 'request_id');
  const [first, ...rest] = records;
  if (first === undefined || subject.length === 0) return 0;
  return rest.findIndex((record) => subject.every((name) => fieldOf(record, name) === fieldOf(first, name))) + 1;
}

function readGroup(reader: LinkReader): LinkFrame[] {
  const type = readName(reader);
  const count = reader.count(LIMITS.link_frames_max, 'frames');
  const sources = readColumn(reader, count);
  const [epochs, sequences, sizes] = [0, 1, 2].map(() => readIntegers(reader, count));
  const frames = sources.map((source, index) => ({
    source: typeof source === 'string' ? source : '',
    epoch: epochs?.[index] ?? -1,
    sequence: sequences?.[index] ?? -1,
    rows: sizes?.[index] ?? -1,
  }));
  const rows = frames.reduce((sum, frame) => sum + Math.max(1, frame.rows), 0);
  if (rows > LIMITS.link_rows_max)
    throw new LeewayError('LW-BODY-SIZE', `${rows} records in a batch, at most ${LIMITS.link_rows_max}`);
  if (!frames.every(isNamed)) throw damaged('a frame without source, epoch, sequence or records');
  reader.spend(rows * RECORD_BYTES);
  const records = Array.from({ length: rows }, (): Record<string, unknown> => ({ type }));
  for (let left = reader.count(reader.rest_bytes, 'fields'); left > 0; left--) {
    const name = readName(reader);
    const values = readColumn(reader, rows);
    for (const [index, record] of records.entries())
      if (values[index] !== undefined) setField(record, name, values[index]);
  }
  let next = 0;
  return frames.map(({ rows: size, ...frame }) => {
    next += size;
    return { ...frame, records: records.slice(next - size, next) };
  });
}

type Named = { readonly source: string; readonly epoch: number; readonly sequence: number; readonly rows: number };

function isNamed({ source, epoch, sequence, rows }: Named): boolean {
  const isSource = source !== '' && source.length <= LIMITS.source_name_max && source.isWellFormed();
  return isSource && isCount(epoch, 0) && isCount(sequence, 1) && isCount(rows, 1);
}

function isCount(value: number, least: number): boolean {
  return Number.isSafeInteger(value) && value >= least;
}

function piecesOf(gap: LinkGap): LinkGap[] {
  const { ranges } = gap;
  const count = Math.max(1, Math.ceil(ranges.length / LIMITS.link_ranges_max));
  return Array.from({ length: count }, (_, index) => {
    return { ...gap, ranges: ranges.slice(index * LIMITS.link_ranges_max, (index + 1) * LIMITS.link_ranges_max) };
  });
}

function writeGap(writer: LinkWriter, gap: LinkGap): void {
  writer.text(gap.source);
  writer.varint(gap.epoch);
  writer.text(gap.run);
  writer.text(gap.reason);
  writer.varint(gap.records);
  writer.varint(gap.ranges.length);
  for (const [from, to] of gap.ranges) {
    writer.varint(from);
    writer.varint(to - from);
  }
}

function readGap(reader: LinkReader): LinkGap {
  const source = reader.text();
  const epoch = reader.varint();
  const run = reader.text();
  const reason = reader.text();
  const records = reader.varint();
  const ranges: [number, number][] = [];
  for (let left = reader.count(Math.min(reader.rest_bytes, LIMITS.link_ranges_max), 'ranges'); left > 0; left--) {
    const from = reader.varint();
    ranges.push([from, Math.min(Number.MAX_SAFE_INTEGER, from + reader.varint())]);
    reader.spend(32);
  }
  if (source === '' || source.length > LIMITS.source_name_max || !source.isWellFormed())
    throw damaged('a gap without a source');
  return { source, epoch, run, reason, records, ranges };
}
