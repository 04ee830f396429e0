/**
 * What the receiver suite leaves out: everything that was answered with 2xx is read back and compared, and of what was
 * answered with 4xx as much is there as the written-counts say. A proxy records what goes over the wire; it is decoded
 * here a second time, generically and slowly, apart from the decoders that are judged.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { bitsOfExact } from '../src/formats/exact-number.ts';
import { unsnappy } from '../test/fuzz/reference-snappy.ts';

/** One request as it went through, and its answer. */
export type Exchange = {
  readonly type: string;
  readonly body: Uint8Array;
  readonly status: number;
  /** Written-counts of the answer: samples, histograms, exemplars. */
  readonly written: readonly [number, number, number];
};

/** Forwards to `target` and remembers. */
export async function recordingProxy(
  target: string,
): Promise<AsyncDisposable & { readonly url: string; readonly exchanges: readonly Exchange[] }> {
  const exchanges: Exchange[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(Buffer.from(chunk));
    const body = Buffer.concat(chunks);
    const { 'content-type': type = '', 'content-encoding': encoding = '' } = request.headers;
    const answer = await fetch(target + (request.url ?? ''), {
      method: 'POST',
      headers: { 'content-type': type, 'content-encoding': encoding },
      body,
    });
    const count = (name: string): number =>
      Number(answer.headers.get(`x-prometheus-remote-write-${name}-written`) ?? '0');
    exchanges.push({
      type,
      body,
      status: answer.status,
      written: [count('samples'), count('histograms'), count('exemplars')],
    });
    for (const [name, value] of answer.headers)
      if (name.startsWith('x-prometheus-') || name === 'content-type') response.setHeader(name, value);
    response.writeHead(answer.status).end(Buffer.from(await answer.arrayBuffer()));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // a TCP address, since it listens on a port
  return {
    url: `http://127.0.0.1:${port}`,
    exchanges,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

type Labels = Readonly<Record<string, string>>;
/** A thing that was sent: what it is, whose, when, and its value in one canonical text. */
type Sent = { readonly kind: 'sample' | 'histogram' | 'exemplar'; readonly series: string; readonly text: string };
type Described = { readonly series: string; readonly text: string };
type Request = { readonly sent: readonly Sent[]; readonly described: readonly Described[] };

type Field = { readonly number: number; readonly value: bigint; readonly bytes: Uint8Array };

/** Every field of a message: fixed and varint values in `value`, the bytes of the others. */
function fieldsOf(message: Uint8Array): Field[] {
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  const fields: Field[] = [];
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = view.getUint8(at++);
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asUintN(64, value);
    }
  };
  while (at < message.length) {
    const tag = Number(varint());
    const [number, wire] = [tag >>> 3, tag & 7];
    if (wire === 0) fields.push({ number, value: varint(), bytes: new Uint8Array() });
    else if (wire === 2) {
      const length = Number(varint());
      fields.push({ number, value: 0n, bytes: message.subarray(at, at + length) });
      at += length;
    } else {
      fields.push({ number, value: view.getBigUint64(at, true), bytes: new Uint8Array() });
      at += 8;
    }
  }
  return fields;
}

/** Numbers of a packed field. */
function packed(fields: readonly Field[], number: number, wire: 'varint' | 'fixed'): bigint[] {
  const values: bigint[] = [];
  for (const { bytes } of fields.filter((field) => field.number === number)) {
    if (wire === 'varint') {
      let value = 0n;
      let shift = 0n;
      for (const byte of bytes) {
        value |= BigInt(byte & 127) << shift;
        shift += 7n;
        if (byte >= 128) continue;
        values.push(BigInt.asUintN(64, value));
        value = 0n;
        shift = 0n;
      }
    } else {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      for (let at = 0; at < bytes.length; at += 8) values.push(view.getBigUint64(at, true));
    }
  }
  return values;
}

const zigzag = (value: bigint): bigint => (value >> 1n) ^ -(value & 1n);
const one = (fields: readonly Field[], number: number): bigint =>
  fields.findLast((field) => field.number === number)?.value ?? 0n;
const messages = (fields: readonly Field[], number: number): Field[][] =>
  fields.filter((field) => field.number === number).map(({ bytes }) => fieldsOf(bytes));
const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** One name for a label set, whatever the order of its labels. */
function seriesName(labels: Labels): string {
  return JSON.stringify(Object.entries(labels).toSorted(([left], [right]) => (left < right ? -1 : 1)));
}

const KINDS = ['unknown', 'counter', 'gauge', 'histogram', 'gauge_histogram', 'summary', 'info', 'state_set'];
const HINTS = ['unknown', 'yes', 'no', 'gauge'];

/** The canonical text of a remote-write Histogram: counts instead of deltas, everything by its bits. */
function histogramText(fields: readonly Field[], series_created: bigint): string {
  const isFloat = fields.some(({ number }) => number === 2);
  const buckets = (deltas: number, counts: number): bigint[] => {
    if (isFloat) return packed(fields, counts, 'fixed');
    let total = 0n;
    return packed(fields, deltas, 'varint').map((delta) => (total += zigzag(delta)));
  };
  const spans = (number: number): string =>
    messages(fields, number)
      .map((span) => `${zigzag(one(span, 1))}+${one(span, 2)}`)
      .join(' ');
  const created = one(fields, 17) === 0n ? series_created : one(fields, 17);
  return [
    one(fields, 15),
    isFloat,
    isFloat ? one(fields, 2) : one(fields, 1),
    one(fields, 3),
    zigzag(one(fields, 4)),
    one(fields, 5),
    isFloat ? one(fields, 7) : one(fields, 6),
    spans(11),
    buckets(12, 13),
    spans(8),
    buckets(9, 10),
    packed(fields, 16, 'fixed'),
    HINTS[Number(one(fields, 14))],
    created,
  ].join('|');
}

function decode2(body: Uint8Array): Request {
  const fields = fieldsOf(unsnappy(body));
  const symbols = fields.filter(({ number }) => number === 4).map(({ bytes }) => textOf(bytes));
  const labelsOf = (refs: readonly bigint[]): Labels => {
    const texts = refs.map((ref) => symbols[Number(ref)] ?? '');
    return Object.fromEntries(texts.flatMap((name, at) => (at % 2 === 0 ? [[name, texts[at + 1] ?? '']] : [])));
  };
  const sent: Sent[] = [];
  const described: Described[] = [];
  for (const series_fields of messages(fields, 5)) {
    const series = seriesName(labelsOf(packed(series_fields, 1, 'varint')));
    for (const sample of messages(series_fields, 2))
      sent.push({ kind: 'sample', series, text: `${one(sample, 2)}|${one(sample, 1)}` });
    for (const histogram of messages(series_fields, 3))
      sent.push({ kind: 'histogram', series, text: histogramText(histogram, one(series_fields, 6)) });
    for (const exemplar of messages(series_fields, 4)) {
      const labels = seriesName(labelsOf(packed(exemplar, 1, 'varint')));
      sent.push({ kind: 'exemplar', series, text: `${one(exemplar, 3)}|${one(exemplar, 2)}|${labels}` });
    }
    for (const metadata of messages(series_fields, 5)) {
      const [type, help, unit] = [one(metadata, 1), one(metadata, 3), one(metadata, 4)];
      if (type + help + unit > 0n)
        described.push({
          series,
          text: [KINDS[Number(type)], symbols[Number(unit)], symbols[Number(help)]].join('|'),
        });
    }
  }
  return { sent, described };
}

function decode1(body: Uint8Array): Request {
  const sent: Sent[] = [];
  for (const series_fields of messages(fieldsOf(unsnappy(body)), 1)) {
    const labels = messages(series_fields, 1).map((label) => label.map(({ bytes }) => textOf(bytes)));
    const series = seriesName(Object.fromEntries(labels));
    for (const sample of messages(series_fields, 2))
      sent.push({ kind: 'sample', series, text: `${one(sample, 2)}|${one(sample, 1)}` });
  }
  return { sent, described: [] };
}

type Json = Readonly<Record<string, unknown>>;

async function list(url: string, path: string): Promise<Json[]> {
  const items: Json[] = [];
  for (let cursor: string | null = null; ; ) {
    const joint = path.includes('?') ? '&' : '?';
    const response = await fetch(`${url}${path}${joint}limit=500${cursor === null ? '' : `&cursor=${cursor}`}`);
    const page = (await response.json()) as { items: Json[]; next_cursor: string | null }; // as the API's contract says
    items.push(...page.items);
    if (page.next_cursor === null) return items;
    cursor = encodeURIComponent(page.next_cursor);
  }
}

const bits = (value: unknown): bigint => bitsOfExact(value as number | string); // the API's exact numbers
const span = (value: unknown): string =>
  (value as { offset: number; length: number }[]).map(({ offset, length }) => `${offset}+${length}`).join(' '); // likewise

function storedHistogram(row: Json): string {
  const count = (value: unknown): bigint => (row['is_float'] === true ? bits(value) : BigInt(String(value)));
  const counts = (values: unknown): bigint[] => (values as unknown[]).map(count);
  return [
    row['at_ms'],
    row['is_float'],
    count(row['count']),
    bits(row['sum']),
    row['schema'],
    bits(row['zero_threshold']),
    count(row['zero_count']),
    span(row['positive_spans']),
    counts(row['positive_buckets']),
    span(row['negative_spans']),
    counts(row['negative_buckets']),
    (row['custom_values'] as unknown[]).map(bits),
    row['reset_hint'],
    row['start_ms'],
  ].join('|');
}

type StoredSeries = { readonly parts: Readonly<Record<Sent['kind'], ReadonlySet<string>>>; readonly text: string };

/** Everything that the API knows, by label set. */
async function readAll(url: string): Promise<Map<string, StoredSeries>> {
  const stored = new Map<string, StoredSeries>();
  for (const row of await list(url, '/api/v1/series')) {
    const rows = (what: string) => list(url, `/api/v1/series/${String(row['id'])}/${what}`);
    const parts = {
      sample: new Set((await rows('samples')).map((item) => `${String(item['at_ms'])}|${bits(item['value'])}`)),
      histogram: new Set((await rows('histograms')).map(storedHistogram)),
      exemplar: new Set(
        (await rows('exemplars')).map(
          (item) => `${String(item['at_ms'])}|${bits(item['value'])}|${seriesName(item['labels'] as Labels)}`, // as above
        ),
      ),
    };
    const text = [row['kind'], row['unit'], row['help']].join('|');
    stored.set(seriesName(row['labels'] as Labels), { parts, text }); // as above
  }
  return stored;
}

/** What was found: how much of each kind was compared, and what differs in words. */
export type ReadBack = {
  readonly compared: Readonly<Record<Sent['kind'] | 'metadata', number>>;
  readonly requests: Readonly<Record<number, number>>;
  readonly differences: readonly string[];
};

/** Compares what went through the proxy with what the service at `url` answers. */
export async function readBack(url: string, exchanges: readonly Exchange[]): Promise<ReadBack> {
  const stored = await readAll(url);
  const compared = { sample: 0, histogram: 0, exemplar: 0, metadata: 0 };
  const requests: Record<number, number> = {};
  const differences: string[] = [];
  const newest = new Map<string, string>();
  for (const { type, body, status, written } of exchanges) {
    requests[status] = (requests[status] ?? 0) + 1;
    const taken = written.reduce((sum, count) => sum + count, 0);
    const isTaken = status >= 200 && status < 300;
    if (!isTaken && taken === 0) continue;
    const isSecond = type.includes('write.v2');
    const { sent, described } = isSecond ? decode2(body) : decode1(body);
    let found = 0;
    for (const { kind, series, text } of sent) {
      const isThere = stored.get(series)?.parts[kind].has(text) === true;
      if (isThere) found++;
      if (isTaken) compared[kind]++;
      if (isTaken && !isThere) differences.push(`${kind} of ${series}: ${text} was sent and is not there`);
    }
    if (isTaken && isSecond && taken !== sent.length)
      differences.push(`${taken} written by the headers, ${sent.length} sent: ${JSON.stringify(written)}`);
    if (!isTaken && found < taken)
      differences.push(`answered ${status}: ${taken} written by the headers, ${found} there`);
    if (isTaken) for (const { series, text } of described) newest.set(series, text);
  }
  for (const [series, text] of newest) {
    compared.metadata++;
    const found = stored.get(series)?.text;
    if (found !== text) differences.push(`metadata of ${series}: "${text}" was sent, "${String(found)}" is there`);
  }
  return { compared, requests, differences };
}
