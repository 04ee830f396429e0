import { LeewayError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import type { SeriesKind } from '../core/samples.ts';
import { fieldsOf, textField } from './message-fields.ts';
import { readAttributes } from './otlp-attributes.ts';
import { ProtobufReader } from './protobuf-reader.ts';
import { type SeriesBook, type SeriesContext, UNDESCRIBED } from './series-book.ts';
import { canonicalLabels, cutText, type LabelFault, type LabelPair, NAME_LABEL, utf8Text } from './series-labels.ts';

/** Contexts of the book's keys from 16 on are metrics of OTLP. */
const KEY_CONTEXT_FIRST = 16;
/** Sixteen numbers for each context: 0 to 14 the kinds of metrics in it, 15 the scopes in it. */
const CONTEXT_STEP = 16;
const SCOPE_STEP = 15;
const RESOURCE_CONTEXT = -1;

/** Resource attributes that become job and instance. */
const IDENTITY = ['service.name', 'service.namespace', 'service.instance.id'];

/** What a metric's data says of its kind; the index is part of the context. */
export const OTLP_KINDS: readonly SeriesKind[] = [
  'gauge',
  'counter',
  'counter_delta',
  'up_down_delta',
  'histogram',
  'histogram_delta',
  'summary',
];

/** Where a metric's name, description and unit lie in the bytes. */
export type MetricHeader = {
  name_start: number;
  name_end: number;
  help_start: number;
  help_end: number;
  unit_start: number;
  unit_end: number;
};

/**
 * From OTLP's three levels to series. Resource, scope and metric are interned as contexts, each under the one above;
 * a series is its metric's context and its raw attribute bytes. Labels follow OpenTelemetry's "Prometheus and
 * OpenMetrics compatibility": `job` is service.namespace/service.name, `instance` service.instance.id, scopes are
 * `otel_scope_name`, `otel_scope_version` and `otel_scope_<attribute>`. Differently from it, names stay as they are
 * (dots, no unit, no `_total`), so that they match the semantic conventions, and all other resource attributes are
 * labels too instead of a `target_info` series: two resources without an instance id must not become one series.
 * A point's own attribute goes before a resource attribute of its name, not before job and instance.
 */
export class OtlpSeries {
  readonly #reader: ProtobufReader;
  readonly #book: SeriesBook;

  constructor(reader: ProtobufReader, book: SeriesBook) {
    this.#reader = reader;
    this.#book = book;
  }

  /** The context of a Resource message's bytes. */
  resource(start: number, end: number): number {
    return this.#context(RESOURCE_CONTEXT, start, end, () => resourceContext(this.#reader.bytes.subarray(start, end)));
  }

  /** The context of an InstrumentationScope message's bytes in a resource. */
  scope(resource: number, start: number, end: number): number {
    return this.#context(resource * CONTEXT_STEP + SCOPE_STEP, start, end, () =>
      scopeContext(this.#reader.bytes.subarray(start, end), this.of(resource)),
    );
  }

  /** The context of a metric in a scope; `kind` is an index of OTLP_KINDS. */
  metric(scope: number, kind: number, header: MetricHeader): number {
    return this.#context(scope * CONTEXT_STEP + kind, header.name_start, header.name_end, () =>
      metricContext(this.#reader.bytes, header, { scope: this.of(scope), kind: OTLP_KINDS[kind] ?? 'unknown' }),
    );
  }

  /** What a context number stands for. */
  of(context: number): SeriesContext {
    return this.#book.context_data[context] ?? { labels: [], description: UNDESCRIBED, fault: null };
  }

  /** The context of the keys of a metric's series. */
  keyContext(metric: number): number {
    return metric + KEY_CONTEXT_FIRST;
  }

  /** The series of raw attribute fields in a metric, by hash, else parsed. */
  find(metric: number, view: DataView, at: number, length: number): number | LabelFault {
    const book = this.#book;
    const { keys } = book;
    const context = this.keyContext(metric);
    let key = keys.find(context, view, at, length);
    if (key < 0) {
      const { labels, description, fault } = this.of(metric);
      if (fault !== null) return fault;
      const own = readAttributes(new Uint8Array(view.buffer, view.byteOffset + at, length));
      if ('code' in own) return own;
      const canonical = canonicalLabels(merged(labels, own));
      if ('fault' in canonical) return canonical.fault;
      const series = book.resolve(canonical.labels, description);
      key = book.remember(series, context, { view, at, length });
      if (key < 0) return series;
    }
    keys.next[book.last_key] = key;
    book.last_key = key;
    const series = book.key_series[key] as number; // key is an entry of the table
    book.seen[series] = 1;
    return series;
  }

  /** A further series of a metric, with a suffix to its name and a label more: the parts of a summary. */
  part(metric: number, attributes: readonly LabelPair[], suffix: string): number | LabelFault {
    const { labels, description } = this.of(metric);
    const named = labels.map(([name, value]): LabelPair => [name, name === NAME_LABEL ? value + suffix : value]);
    const canonical = canonicalLabels(merged(named, attributes));
    return 'fault' in canonical ? canonical.fault : this.#book.resolve(canonical.labels, description);
  }

  #context(parent: number, start: number, end: number, make: () => SeriesContext): number {
    const { contexts } = this.#book;
    const { view } = this.#reader;
    const length = end - start;
    const next = contexts.next[this.#book.last_context] as number; // last_context is an entry of the table
    let context = next;
    if (next < 0 || contexts.lengths[next] !== length || !contexts.foretells(next, parent, view, start)) {
      context = contexts.find(parent, view, start, length);
      if (context < 0) {
        if (!contexts.hasRoom(length)) throw new LeewayError('LW-BODY-SIZE', 'OTLP: too many metrics in one body');
        this.#book.context_data[contexts.count] = make();
        context = contexts.add(parent, view, start, length);
      }
      contexts.next[this.#book.last_context] = context;
    }
    this.#book.last_context = context;
    return context;
  }
}

/** A point's attributes and its context's labels; the metric's name, job and instance are the context's alone. */
function merged(context: readonly LabelPair[], own: readonly LabelPair[]): LabelPair[] {
  const names = new Set(own.map(([name]) => name));
  const fixed = new Set<string>(
    context.map(([name]) => name).filter((name) => name === NAME_LABEL || name === 'job' || name === 'instance'),
  );
  return [
    ...context.filter(([name]) => fixed.has(name) || !names.has(name)),
    ...own.filter(([name]) => !fixed.has(name)),
  ];
}

function context(labels: readonly LabelPair[], fault: LabelFault | null = null): SeriesContext {
  return { labels, description: UNDESCRIBED, fault };
}

/** Resource { repeated KeyValue attributes = 1 }. */
function resourceContext(bytes: Uint8Array): SeriesContext {
  const reader = new ProtobufReader();
  reader.reset(bytes);
  const attributes = readAttributes(fieldsOf(reader, { start: 0, end: bytes.length }, (tag) => tag === 10));
  if ('code' in attributes) return context([], attributes);
  const value = (wanted: string): string => attributes.find(([name]) => name === wanted)?.[1] ?? '';
  const [service, namespace] = [value('service.name'), value('service.namespace')];
  const instance = value('service.instance.id');
  const labels: LabelPair[] = [];
  if (service !== '') labels.push(['job', namespace === '' ? service : `${namespace}/${service}`]);
  if (instance !== '') labels.push(['instance', instance]);
  const taken = new Set<string>([...labels.map(([name]) => name), ...IDENTITY, NAME_LABEL]);
  if (service === '') taken.delete('service.namespace');
  return context([...labels, ...attributes.filter(([name]) => !taken.has(name))].map(fitting));
}

/** What a process says of itself may be long, its command line above all: that refuses none of its points. */
function fitting([name, value]: LabelPair): LabelPair {
  return [name, cutText(value, LIMITS.label_value_bytes_max)];
}

/** InstrumentationScope { string name = 1; string version = 2; repeated KeyValue attributes = 3 }. */
function scopeContext(bytes: Uint8Array, resource: SeriesContext): SeriesContext {
  const reader = new ProtobufReader();
  reader.reset(bytes);
  const attributes = readAttributes(fieldsOf(reader, { start: 0, end: bytes.length }, (tag) => tag === 26));
  if (resource.fault !== null) return resource;
  if ('code' in attributes) return context([], attributes);
  let name: string | null = '';
  let version: string | null = '';
  while (reader.at < bytes.length) {
    const tag = reader.tag();
    if (tag === 10) name = textField(reader, bytes.length);
    else if (tag === 18) version = textField(reader, bytes.length);
    else reader.skip(tag, bytes.length);
  }
  if (name === null || version === null)
    return context([], { code: 'utf8', reason: 'a scope that is not valid UTF-8' });
  const own: LabelPair[] = attributes.map(([attribute, value]) => fitting([`otel_scope_${attribute}`, value]));
  const scope: LabelPair[] = [['otel_scope_name', name], ['otel_scope_version', version], ...own];
  return context(merged(resource.labels, scope));
}

function metricContext(
  bytes: Uint8Array,
  header: MetricHeader,
  { scope, kind }: { readonly scope: SeriesContext; readonly kind: SeriesKind },
): SeriesContext {
  if (scope.fault !== null) return scope;
  const name = utf8Text(bytes.subarray(header.name_start, header.name_end));
  const help = utf8Text(bytes.subarray(header.help_start, header.help_end)) ?? '';
  const unit = utf8Text(bytes.subarray(header.unit_start, header.unit_end)) ?? '';
  if (name === null) return context([], { code: 'utf8', reason: 'a metric name that is not valid UTF-8' });
  return { labels: [[NAME_LABEL, name], ...scope.labels], description: { kind, unit, help }, fault: null };
}
