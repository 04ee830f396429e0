import type { ErrorCode } from '../core/errors.ts';
import type { Outcome } from '../core/outcome.ts';
import type { LeewayRecord } from '../core/records.ts';
import type { DecodedSamples, SampleTarget } from '../formats/decoded-samples.ts';
import type { LinkGap } from '../formats/link-batch.ts';
import type { AlertMessage } from '../incident/external-message.ts';
import type { Position } from './cursor.ts';
import type { DecisionDetail, DecisionItem, RetrainRunItem, RunStatus } from './shapes/decision.ts';
import type { IncidentDetail, IncidentItem, NotificationItem, SilenceItem, SilenceRequest } from './shapes/incident.ts';
import type { AuditEntry, Costs, Overview, Readiness, RuleItem, SinkItem, SinkTest } from './shapes/operation.ts';
import type { ExemplarItem, HistogramItem, SampleItem, SeriesItem } from './shapes/series.ts';
import type {
  DeliveryItem,
  JobDetail,
  JobItem,
  ModelDetail,
  ModelDrift,
  ModelItem,
  ModelQuality,
  SourceItem,
  StepItem,
} from './shapes/telemetry.ts';

/**
 * What the HTTP server needs of the rest: read models and actions, one small object a subject. compose.ts builds
 * them; tests build them in memory. Failures are LeewayError: LW-NOT-FOUND for an unknown id, LW-CONFLICT for a
 * closed one, LW-SPOOL-FULL or LW-STORE-GONE for overload.
 */
export type Services = {
  readonly ingest: IngestService;
  readonly read: ReadService;
  readonly operate: OperateService;
  readonly stream: StreamService;
  readonly system: SystemService;
};

/** The name of a batch (contract: api.md "Idempotency"); a repeat is acknowledged and stores nothing new. */
export type BatchIdentity = { readonly source: string; readonly epoch: number; readonly sequence: number };

export type IncomingBatch = {
  /** All three headers were given. */
  readonly identity: BatchIdentity | null;
  /** `X-Leeway-Source` where it was given alone; else null: the sender has no name. */
  readonly source: string | null;
  /** Valid records in the order of their lines; may be empty (all were rejected): sequence and counts still move. */
  readonly records: readonly LeewayRecord[];
  /** Lines refused at the door, by code. */
  readonly rejected: Readonly<Partial<Record<ErrorCode, number>>>;
  /** The refused lines that are kept for a person, as they came. */
  readonly set_aside: readonly RefusedLine[];
};

export type RefusedLine = { readonly code: string; readonly reason: string; readonly raw: string };

export type IncomingSamples = {
  readonly identity: BatchIdentity | null;
  readonly source: string;
  readonly decode: (target: SampleTarget) => Outcome<DecodedSamples>;
};

export interface IngestService {
  /** Resolves when the records are durable. Throws LW-SPOOL-FULL (503 + Retry-After) or LW-BUSY (503). */
  events(batch: IncomingBatch, signal: AbortSignal): Promise<{ readonly repeated: boolean }>;
  /** Resolves when it is durable that senders gave these records up, with the number of gaps that found no room. */
  declare(gaps: readonly LinkGap[]): Promise<number>;
  /** Resolves when what `decode` takes of a body is durable. Throws as `events`, LW-BODY and LW-BODY-SIZE for the body. */
  samples(batch: IncomingSamples, signal: AbortSignal): Promise<DecodedSamples>;
  /** Resolves when the alerts are durable; `refused` of them are new while as many are remembered as there may be. */
  alerts(messages: readonly AlertMessage[]): Promise<{ readonly refused: number }>;
}

/** A page of a list and where the next one starts; null = no more. */
export type Page<Item> = { readonly items: readonly Item[]; readonly next: Position | null };

/** What every list takes: how many items at most (1..500) and the position after which to go on. */
export type Paging = { readonly limit: number; readonly after: Position | null };

/** Half-open interval of time, Unix ms. */
export type Interval = { readonly from?: number; readonly to?: number };

export type JobFilter = Interval & { job?: string; state?: string; team?: string; model?: string };
export type StepFilter = {
  readonly from_step?: number;
  /** Exclusive. */
  readonly to_step?: number;
  /** Empty = every rank. */
  readonly ranks: readonly number[];
  readonly attempt?: number;
};
export type SeriesFilter = { readonly metric?: string; readonly id?: string };
export type SampleFilter = Interval;
export type ModelFilter = { readonly model?: string; readonly status?: string };
export type ModelWindow = Interval & { readonly version?: string; readonly limit?: number };
export type IncidentFilter = Interval & {
  readonly status?: readonly string[];
  readonly state?: string;
  readonly kind?: string;
  readonly severity?: string;
  readonly job?: string;
  readonly model?: string;
  readonly version?: string;
  readonly cause?: string;
  readonly rule?: string;
};
export type DecisionFilter = Interval & {
  readonly state?: readonly string[];
  readonly model?: string;
  readonly version?: string;
  readonly policy?: string;
  readonly incident_id?: string;
};
export type RunFilter = Interval & {
  readonly state?: string;
  readonly model?: string;
  readonly decision_id?: string;
};
export type CostQuery = Interval & {
  /** Tenant keys; empty = one row a category. */
  readonly group_by: readonly string[];
  readonly period?: 'hour' | 'day' | 'month';
};
export type AuditFilter = Interval & { readonly actor?: string; readonly action?: string; readonly subject?: string };

/** Reading; every method rejects with LW-NOT-FOUND where an id names nothing. */
export interface ReadService {
  overview(signal: AbortSignal): Promise<Overview>;
  sources(filter: { source?: string; kind?: string; state?: string }, paging: Paging): Promise<Page<SourceItem>>;
  jobs(filter: JobFilter, paging: Paging): Promise<Page<JobItem>>;
  job(id: string): Promise<JobDetail>;
  steps(job: string, filter: StepFilter, paging: Paging): Promise<Page<StepItem>>;
  series(filter: SeriesFilter, paging: Paging): Promise<Page<SeriesItem>>;
  samples(series: string, filter: SampleFilter, paging: Paging): Promise<Page<SampleItem>>;
  histograms(series: string, filter: SampleFilter, paging: Paging): Promise<Page<HistogramItem>>;
  exemplars(series: string, filter: SampleFilter, paging: Paging): Promise<Page<ExemplarItem>>;
  models(filter: ModelFilter, paging: Paging): Promise<Page<ModelItem>>;
  model(name: string): Promise<ModelDetail>;
  drift(name: string, window: ModelWindow): Promise<ModelDrift>;
  quality(name: string, window: ModelWindow): Promise<ModelQuality>;
  incidents(filter: IncidentFilter, paging: Paging): Promise<Page<IncidentItem>>;
  incident(id: string): Promise<IncidentDetail>;
  decisions(filter: DecisionFilter, paging: Paging): Promise<Page<DecisionItem>>;
  decision(id: string): Promise<DecisionDetail>;
  runs(filter: RunFilter, paging: Paging): Promise<Page<RetrainRunItem>>;
  costs(query: CostQuery): Promise<Costs>;
  explainCost(query: { asset: string; hour?: number; tenant?: string }): Promise<Record<string, unknown>>;
  delivery(filter: { source?: string }, paging: Paging): Promise<Page<DeliveryItem>>;
  rules(paging: Paging): Promise<Page<RuleItem>>;
  sinks(paging: Paging): Promise<Page<SinkItem>>;
  audit(filter: AuditFilter, paging: Paging): Promise<Page<AuditEntry>>;
}

/** Who acts, for the audit log: `token:<id>`, `local` (auth off) or `webhook:<run id>`. */
export type Actor = string;
export type Action = { readonly id: string; readonly actor: Actor; readonly note: string | null };

/** Changes by people and tokens. Each one writes its audit entry in the transaction of the change. */
export interface OperateService {
  acknowledge(action: Action): Promise<IncidentItem>;
  snooze(action: Action & { readonly until_ms: number }): Promise<IncidentItem>;
  resolve(action: Action): Promise<IncidentItem>;
  silence(request: SilenceRequest, actor: Actor): Promise<SilenceItem>;
  approve(action: Action): Promise<DecisionItem>;
  reject(action: Action): Promise<DecisionItem>;
  cancel(action: Action): Promise<DecisionItem>;
  mute(action: Action): Promise<RuleItem>;
  unmute(action: Action): Promise<RuleItem>;
  testSink(action: Action): Promise<SinkTest>;
  replay(action: Action): Promise<NotificationItem>;
  runStatus(id: string, status: RunStatus, actor: Actor): Promise<RetrainRunItem>;
  /** Whether a Standard Webhooks signature over `body` is that of the run's own target; false for an unknown run. */
  verifyRunSignature(id: string, signed: SignedBody): Promise<boolean>;
  /** Loads a valid configuration atomically and answers the difference; throws LW-CONFIG and changes nothing. */
  reload(actor: Actor): Promise<readonly Change[]>;
}

/** One value that differs from what was in force, secrets masked; null = absent. It is in force now, or `needs_restart`. */
export type Change = {
  readonly path: string;
  readonly from: unknown;
  readonly to: unknown;
  readonly needs_restart: boolean;
};

/** What a Standard Webhooks signature covers. */
export type SignedBody = {
  readonly headers: {
    readonly 'webhook-id': string;
    readonly 'webhook-timestamp': string;
    readonly 'webhook-signature': string;
  };
  readonly body: Buffer;
};

/** One thing that happened, for `GET /api/v1/stream`; `data.id` names the object. */
export type StreamEvent = {
  readonly event: 'incident' | 'finding' | 'decision' | 'delivery';
  readonly data: { readonly id: string } & Readonly<Record<string, unknown>>;
};

export interface StreamService {
  /** Calls `listener` for each event until the returned function is called. The listener never throws or waits. */
  subscribe(listener: (event: StreamEvent) => void): () => void;
}

export interface SystemService {
  readiness(): Promise<Readiness>;
}
