import type { Agent } from 'node:http';
import { randomBytes } from 'node:crypto';
import type { LeewayRecord } from '../src/core/records.ts';
import { type Message, numberIn, type Parent, runChild, textIn } from './child.ts';
import { loadDigits } from './digits.ts';
import { type DriftKind, isDriftKind } from './drifts.ts';
import { openEmitter } from './emitter.ts';
import { type LabelledRow, writeRows } from './model-files.ts';
import { openAgent, postPredict, type Prediction, type PredictRequest } from './predict-request.ts';
import type { LeewayTarget } from './event-transport.ts';
import type { SenderAccount } from './sender.ts';
import { unixNow_ms } from './timeline.ts';
import { TrafficSource } from './traffic-source.ts';

export type ClientConfig = {
  readonly model: string;
  /** Address of the model server, http. */
  readonly base_url: string;
  readonly requests_per_second: number;
  /** Time from answer to true label. */
  readonly label_delay_ms: number;
  /** Labelled rows kept for retraining. */
  readonly recent_rows_max: number;
  readonly evaluation_rows: number;
  readonly seed: number;
  /** Classes that training left out; needed for the drift `class-mix`. */
  readonly left_out_classes: readonly number[];
  readonly leeway: LeewayTarget | null;
};

/** Settings of the demo: 60 requests a second, labels after 2 s, the last 4,000 rows kept. */
export const CLIENT_DEFAULTS = {
  requests_per_second: 60,
  label_delay_ms: 2_000,
  recent_rows_max: 4_000,
  evaluation_rows: 1_500,
} as const;

/** Counts since the start. sent = answered + failed + still open. */
export type TrafficCount = {
  readonly sent: number;
  readonly answered: number;
  readonly failed: number;
  readonly retried: number;
  /** Requests that were due but not sent: the process was stalled, or too many were open. */
  readonly skipped: number;
  readonly labelled: number;
  readonly last_error: string | null;
};

/** Each second to the parent. `accuracy_recent` is over the last 500 labelled answers, null before the first. */
export type TrafficStatus = TrafficCount & {
  readonly drift: DriftKind | null;
  readonly accuracy_recent: number | null;
};
export type ClientResult = TrafficCount & { readonly account: SenderAccount };

/** The fixed hold-out through the server. `answered` by `version`; answers of other versions and failures are counted apart. */
export type Evaluation = {
  readonly version: string;
  readonly drift: DriftKind | null;
  readonly answered: number;
  readonly correct: number;
  readonly accuracy: number | null;
  readonly other_version: number;
  readonly failed: number;
};

/** A stalled process catches up on 2 s of requests at most; the rest is counted as skipped. */
const BEHIND_MS_MAX = 2_000;
const OPEN_MAX = 256;
const ACCURACY_ROWS = 500;
const EVALUATION_LANES = 4;
const REPORT_MS = 1_000;
const FLUSH_MS_MAX = 5_000;

type Pending = {
  readonly due_ms: number;
  readonly request_id: string;
  readonly row: LabelledRow;
  readonly correct: boolean;
};
type Count = { -readonly [Key in keyof TrafficCount]: TrafficCount[Key] };

/** What the client works with. */
type Client = {
  readonly config: ClientConfig;
  readonly emit: (record: LeewayRecord) => void;
  readonly agent: Agent;
  readonly source: TrafficSource;
  readonly count: Count;
  /** Part of every request id, so that two runs never share one. */
  readonly run: string;
  /** Answered, waiting for their label; ordered by time. At most rate × delay = 120. */
  readonly pending: Pending[];
  readonly recent: LabelledRow[];
  readonly hits: boolean[];
  open: number;
};

async function main(config: ClientConfig, parent: Parent): Promise<void> {
  const emitter = openEmitter(config.leeway, parent);
  const client = openClient(config, (record) => emitter.emit(record));
  const stop = new AbortController();
  parent.ending.addEventListener('abort', () => stop.abort());
  parent.receive((message) => obey(client, parent, stop, message));
  const timer = setInterval(() => void parent.send({ traffic: statusOf(client) }), REPORT_MS);
  await parent.send({ ready: true });
  await sendTraffic(client, stop.signal);
  clearInterval(timer);
  sendLabels(client, Infinity);
  const account = await emitter.close(FLUSH_MS_MAX);
  client.agent.destroy();
  const done: ClientResult = { ...client.count, account };
  await parent.send({ done });
}

function openClient(config: ClientConfig, emit: (record: LeewayRecord) => void): Client {
  return {
    config,
    emit,
    agent: openAgent(),
    source: new TrafficSource(loadDigits('t10k'), config),
    count: { sent: 0, answered: 0, failed: 0, retried: 0, skipped: 0, labelled: 0, last_error: null },
    run: randomBytes(6).toString('hex'),
    pending: [],
    recent: [],
    hits: [],
    open: 0,
  };
}

function obey(client: Client, parent: Parent, stop: AbortController, message: Message): void {
  const { source } = client;
  const drift = message['drift'];
  if (drift === null) source.drift = null;
  else if (typeof drift === 'string' && isDriftKind(drift)) source.drift = drift;
  const pool = textIn(message, 'pool');
  if (pool === 'traffic' || pool === 'reference') source.pool = pool;
  const path = textIn(message, 'write_recent');
  if (path !== null) void writeRecent(client, parent, path, numberIn(message, 'rows') ?? Infinity);
  const version = textIn(message, 'evaluate');
  if (version !== null) void evaluate(client, version).then((evaluation) => parent.send({ evaluation }));
  if (message['stop'] === true) stop.abort();
}

/** Open loop: requests leave by the clock, whether or not earlier ones were answered. Resolves when all are answered. */
async function sendTraffic(client: Client, stop: AbortSignal): Promise<void> {
  const interval_ms = 1_000 / client.config.requests_per_second;
  let next_ms = performance.now();
  while (!stop.aborted) {
    const behind = Math.floor((performance.now() - next_ms - BEHIND_MS_MAX) / interval_ms);
    if (behind > 0) {
      client.count.skipped += behind;
      next_ms += behind * interval_ms;
    }
    for (; next_ms <= performance.now(); next_ms += interval_ms) sendOne(client);
    sendLabels(client, performance.now());
    await new Promise((resolve) => setTimeout(resolve, Math.max(1, next_ms - performance.now())));
  }
  while (client.open > 0) await new Promise((resolve) => setTimeout(resolve, 10)); // each request has its time-out
}

function sendOne(client: Client): void {
  if (client.open >= OPEN_MAX) {
    client.count.skipped++;
    return;
  }
  const row = client.source.next();
  const request_id = `${client.run}-${++client.count.sent}`;
  client.open++;
  void ask(client, { request_id, pixels: row.pixels, evaluation: false }).then((prediction) => {
    client.open--;
    if (prediction === null) client.count.failed++;
    else {
      client.count.answered++;
      const due_ms = performance.now() + client.config.label_delay_ms;
      client.pending.push({ due_ms, request_id, row, correct: prediction.label === row.label });
    }
  });
}

/** Asks once, and once more under the same id when the first attempt broke off; null when both failed. */
async function ask(client: Client, sent: PredictRequest): Promise<Prediction | null> {
  for (const attempt of [1, 2]) {
    const outcome = await postPredict(client.config.base_url, client.agent, sent);
    if (outcome.kind === 'ok') return outcome.value;
    client.count.last_error = `${outcome.code}: ${outcome.reason}`;
    if (outcome.kind === 'reject') return null;
    if (attempt === 1) client.count.retried++;
  }
  return null;
}

/** Sends the true classes that are due by `now_ms` of the monotonic clock, and keeps their rows for retraining. */
function sendLabels({ config, pending, recent, hits, count, emit }: Client, now_ms: number): void {
  for (let next = pending[0]; next !== undefined && next.due_ms <= now_ms; next = pending[0]) {
    pending.shift();
    const { request_id, row, correct } = next;
    emit({ type: 'label', model: config.model, request_id, at_ms: unixNow_ms(), label: row.label });
    count.labelled++;
    if (recent.push(row) > config.recent_rows_max) recent.shift();
    if (hits.push(correct) > ACCURACY_ROWS) hits.shift();
  }
}

/** Answers `{recent: {path, rows, error}}`: rows 0 with an error when the file could not be written. */
async function writeRecent({ recent }: Client, parent: Parent, path: string, rows: number): Promise<void> {
  const chosen = recent.slice(-Math.min(rows, recent.length));
  try {
    await writeRows(path, chosen);
    await parent.send({ recent: { path, rows: chosen.length, error: null } });
  } catch (error) {
    await parent.send({ recent: { path, rows: 0, error: error instanceof Error ? error.message : String(error) } });
  }
}

async function evaluate(client: Client, version: string): Promise<Evaluation> {
  const { drift } = client.source;
  const rows = client.source.holdout(client.config.evaluation_rows);
  const count = { answered: 0, correct: 0, other_version: 0, failed: 0 };
  const work = rows.entries();
  const lane = async (): Promise<void> => {
    for (const [index, { pixels, label }] of work) {
      const request_id = `${client.run}-evaluation-${index}`;
      const prediction = await ask(client, { request_id, pixels, evaluation: true });
      if (prediction === null) count.failed++;
      else if (prediction.version !== version) count.other_version++;
      else {
        count.answered++;
        if (prediction.label === label) count.correct++;
      }
    }
  };
  await Promise.all(Array.from({ length: EVALUATION_LANES }, lane));
  const accuracy = count.answered === 0 ? null : count.correct / count.answered;
  return { version, drift, ...count, accuracy };
}

function statusOf({ count, source, hits }: Client): TrafficStatus {
  const accuracy_recent = hits.length === 0 ? null : hits.filter(Boolean).length / hits.length;
  return { ...count, drift: source.drift, accuracy_recent };
}

if (import.meta.main) runChild(main);
