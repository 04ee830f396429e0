/** What an `inference` record says of itself: who served. `provider`: the serving system, since its metrics name no more. */
export type ServingName = {
  readonly model: string;
  readonly version: string;
  readonly replica: string;
  readonly provider: string;
  readonly node: string | null;
};

type Labels = Readonly<Record<string, string>>;

const MODEL = [
  'gen_ai.request.model',
  'gen_ai_request_model',
  'model',
  'model_name',
  'model_id',
  'service_name',
  'job',
] as const;
const VERSION = ['version', 'model_version', 'model_revision', 'service_version', 'service.version'] as const;
const REPLICA = ['instance', 'server.address', 'server_address', 'pod', 'k8s.pod.name', 'k8s_pod_name'] as const;
const NODE = ['host.name', 'host_name', 'node', 'k8s.node.name', 'k8s_node_name', 'Hostname', 'hostname'] as const;

function first(labels: Labels, names: readonly string[]): string | null {
  for (const name of names) {
    const value = labels[name];
    if (value !== undefined && value !== '') return value;
  }
  return null;
}

/**
 * Who a serving series is about; null where no label names a model. A version that nobody names is `unknown`, a replica
 * is its source: absent words, and never another one's.
 */
export function servingName(system: string, labels: Labels, source: string): ServingName | null {
  const model = first(labels, MODEL);
  if (model === null) return null;
  return {
    model: model.slice(0, NAME_MAX),
    version: (first(labels, VERSION) ?? 'unknown').slice(0, NAME_MAX),
    replica: (first(labels, REPLICA) ?? source).slice(0, NAME_MAX),
    provider: system,
    node: machineName(labels),
  };
}

/** Names of records are at most this long (core/records.ts). */
const NAME_MAX = 512;

/** The machine that labels name; null when none does. */
export function machineName(labels: Labels): string | null {
  return first(labels, NODE)?.slice(0, NAME_MAX) ?? null;
}

/** The host part of `instance` (`10.0.0.7:9400`), which is where Prometheus scraped; null without one. */
export function scrapedHost(labels: Labels): string | null {
  const instance = labels['instance'];
  if (instance === undefined || instance === '') return null;
  return (/^(.+):\d{1,5}$/.exec(instance)?.[1] ?? instance).slice(0, NAME_MAX);
}

/** Whether a series counts requests that failed: error.type of OpenTelemetry, vLLM's reason, an HTTP status from 500. */
export function countsFailures(labels: Labels): boolean {
  if ((labels['error.type'] ?? labels['error_type'] ?? '') !== '') return true;
  return labels['finished_reason'] === 'error' || /^5\d\d$/.test(labels['http_response_code'] ?? '');
}
