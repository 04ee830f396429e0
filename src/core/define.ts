import type { Static, TObject } from 'typebox';
import type { Clock } from './clock.ts';
import type { Outcome } from './outcome.ts';
import type { LeewayRecord } from './records.ts';

/**
 * How Leeway is extended: a file in a known folder exports one definition made here. Discovery imports the folder,
 * checks that `name` equals the file's name, and the configuration's schema, the reference pages and the contract
 * suite pick it up. No registry to edit.
 */

/** Severity of what is told: `warn` can wait for the morning, `page` cannot. */
export type NotificationSeverity = 'page' | 'warn';

/** One thing to tell one destination. `id` is the same on every retry (webhook-id, ce-id, idempotency key). */
export type Notification = {
  readonly id: string;
  /** `leeway.incident.opened`, … (contract: api.md "Webhooks that Leeway sends"). */
  readonly type: string;
  /** What it is about: `incident/<id>`, `decision/<id>`; also the unit of order at a destination. */
  readonly subject: string;
  /** When it happened (Unix ms), not when it is sent. */
  readonly at_ms: number;
  readonly severity: NotificationSeverity | null;
  readonly data: Readonly<Record<string, unknown>>;
};

/** The request that tells it. Bodies are text; the http door adds nothing but the host and the length. */
export type SinkRequest = {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
};

/** The answer as far as a sink may see it: header names in lower case, at most LIMITS.response_bytes_max of body. */
export type SinkResponse = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** The body stalled or broke off: the status stands, and what is missing of the body says nothing. Absent = whole. */
  readonly body_cut?: true;
};

/** What a sink is rendered with. `secrets` maps each `…_file` key of its configuration to the file's lines. */
export type SinkContext<Settings> = {
  readonly settings: Settings;
  readonly secrets: Readonly<Record<string, readonly string[]>>;
  readonly installation: string;
  readonly now_ms: number;
  readonly sign: Sign;
};

/** The `webhook-signature` of a body: one signature a secret, the id and the time of the attempt signed with it. */
export type Sign = (
  secrets: readonly string[],
  message: { readonly id: string; readonly timestamp_s: number; readonly body: string },
) => string;

/** The door to other people's servers, behind the egress guard. ok = an answer came, whatever its status. */
export type PostDoor = {
  /** LW-EGRESS (reject) when the address is not allowed, LW-UNREACHABLE or LW-TIMEOUT (retry) when no answer came. */
  readonly post: (request: SinkRequest, signal: AbortSignal) => Promise<Outcome<SinkResponse>>;
};

/**
 * A destination of notifications: alerts/sinks/<name>.ts. Pure: it renders a request and reads the answer; sending,
 * egress, retries and the record of attempts are the pipeline's.
 */
export type SinkDefinition<Schema extends TObject = TObject> = {
  /** The `kind` in the configuration and the name of the file. */
  readonly name: string;
  readonly about: string;
  /** Its own keys of a `sinks` entry, beside id, kind, types and min_severity. Keys ending in `_file` hold secrets. */
  readonly config: Schema;
  /** Whether this kind of destination can say that type at all. */
  readonly accepts: (type: string) => boolean;
  /** The request for one notification. Throws LeewayError LW-CONFIG when a secret is missing or malformed. */
  readonly render: (notification: Notification, context: SinkContext<Static<Schema>>) => SinkRequest;
  /** ok = delivered; retry; reject = final, with code LW-SINK-GONE when the destination asks not to be told again. */
  readonly classify: (response: SinkResponse, now_ms: number) => Outcome;
  /** A destination that forgets (Alertmanager): open incidents are told again this often. Absent = once is enough. */
  readonly resend_ms?: (settings: Static<Schema>) => number;
};

/** A sink with its schema forgotten, as discovery and the pipeline hold it: settings are checked against `config` first. */
export type AnySink = Omit<SinkDefinition, 'render' | 'resend_ms'> & {
  readonly resend_ms?: (settings: Readonly<Record<string, unknown>>) => number;
  readonly render: (notification: Notification, context: SinkContext<Readonly<Record<string, unknown>>>) => SinkRequest;
};

/** Makes a sink. The name must equal the file's name in alerts/sinks/. */
export function defineSink<const Schema extends TObject>(definition: SinkDefinition<Schema>): AnySink {
  return definition as unknown as AnySink; // the parse door: the configuration is checked against `config` before render
}

/**
 * A place that runs retraining: src/retrain/targets/<name>.ts. Same shape as a sink, since a run is started by one
 * idempotent request; `dispatch_key` in the notification's data is the idempotency key of the run.
 */
export type AnyTarget = AnySink;

/** Makes a retraining target. The name must equal the file's name in src/retrain/targets/. */
export function defineTarget<const Schema extends TObject>(definition: SinkDefinition<Schema>): AnyTarget {
  return defineSink(definition);
}

/** What a collector may use. `node` names this machine in its records. */
export type CollectorContext<Settings> = {
  readonly settings: Settings;
  readonly clock: Clock;
  readonly node: string;
};

/** A source that is open. `collect` reads it once; retry = not now, reject = never on this machine (absent). */
export type OpenCollector = AsyncDisposable & {
  readonly collect: (signal: AbortSignal) => Promise<Outcome<readonly LeewayRecord[]>>;
  /** Records that this source refused so far, by code: what `GET /api/v1/sources` shows. */
  readonly rejected?: () => Readonly<Record<string, number>>;
};

/** A source of records: collectors/<name>.ts. */
export type CollectorDefinition<Schema extends TObject = TObject> = {
  readonly name: string;
  readonly about: string;
  /** Its entry under `collectors` in the configuration; `enabled` and `interval_ms` are added to every one. */
  readonly config: Schema;
  readonly open: (context: CollectorContext<Static<Schema>>) => Promise<OpenCollector>;
};

/** A collector with its schema forgotten, as discovery holds it. */
export type AnyCollector = Omit<CollectorDefinition, 'open'> & {
  readonly open: (context: CollectorContext<Readonly<Record<string, unknown>>>) => Promise<OpenCollector>;
};

/** Makes a collector. The name must equal the file's name in collectors/. */
export function defineCollector<const Schema extends TObject>(definition: CollectorDefinition<Schema>): AnyCollector {
  return definition as unknown as AnyCollector; // the parse door: the configuration is checked against `config` before open
}
