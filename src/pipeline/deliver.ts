import { type Clock, every } from '../core/clock.ts';
import { type DeliveryAttempt, OUTBOX, type OutboxRow, SINK_STATES, type SinkState } from '../control/collections.ts';
import type { AnySink, Notification, PostDoor, Sign, SinkRequest } from '../core/define.ts';
import { LeewayError } from '../core/errors.ts';
import type { Severity } from '../core/incident.ts';
import type { Outcome } from '../core/outcome.ts';
import type { Control, ControlTransaction, Document } from '../core/ports.ts';
import type { Random } from '../core/random.ts';
import { hash64 } from '../incident/identity.ts';
import { appendAudit } from './audit.ts';
import { backoffMs, type RetryPolicy } from './backoff.ts';
import type { Actor } from './operate.ts';
import type { Recipient } from './outbox.ts';
import { claimNext, type Claimed, isGone, noteSinkState, openlyTold, recordAttempt } from './outbox-lease.ts';
import { pruneOutbox } from './outbox-retention.ts';
import { assertWanted } from './retrain-dispatch.ts';

/** A configured sink, or a retraining target under the id `target:<policy>`. */
export type Destination = {
  readonly id: string;
  readonly definition: AnySink;
  /** Its entry in the configuration, checked against `definition.config`. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly types: readonly string[];
  readonly min_severity: Severity;
};

/** The destination as the desk chooses by it. */
export function recipientOf({ id, types, min_severity, definition }: Destination): Recipient {
  return { id, types, min_severity, accepts: definition.accepts };
}

export type CourierOptions = {
  readonly control: Control;
  readonly clock: Clock;
  readonly random: Random;
  readonly door: PostDoor;
  readonly destinations: readonly Destination[];
  /** The lines of a secret file; read at every attempt, so that rotating a secret needs no restart. */
  readonly readSecret: (path: string) => Promise<readonly string[]>;
  readonly sign: Sign;
  readonly installation: string;
  readonly policy: RetryPolicy;
  /** After every attempt: metrics and the event stream. */
  readonly onAttempt: (done: Delivered) => void;
  /** A row failed for good, in the transaction that says so: whatever waits for it ends with it. */
  readonly onFailed?: (tx: ControlTransaction, row: OutboxRow) => Promise<void>;
  /** A destination answered 410: somebody must hear of it elsewhere. */
  readonly onDisabled: (sink: string, reason: string) => Promise<void>;
  /** A test reached the destination: it is open again if it was disabled. */
  readonly onEnabled?: (sink: string) => Promise<void>;
  readonly onError: (error: unknown) => void;
};

/** An attempt and the row as it stands after it. */
export type Delivered = { readonly id: string; readonly row: OutboxRow; readonly attempt: DeliveryAttempt };

/** What a test of a sink answers; nothing in it depends on whether a forbidden address listens. */
export type TestResult = {
  readonly outcome: DeliveryAttempt['outcome'];
  readonly http_status: number | null;
  readonly reason: string;
};

export type Courier = {
  /** One worker loop a destination until aborted: a slow one delays no other. */
  readonly run: (signal: AbortSignal) => Promise<void>;
  /** Delivers the next due row of one destination; null when none is due. What `run` repeats. */
  readonly deliverNext: (sink: string, signal: AbortSignal) => Promise<Delivered | null>;
  /** There is something new: do not wait for the next look. */
  readonly wake: () => void;
  /** Tells a destination that forgets of every open incident again; returns how many. `run` does it by its rhythm. */
  readonly resend: (sink: string, signal: AbortSignal) => Promise<number>;
  /** Sends a `leeway.watchdog` on the real path with the real signature; a success re-enables a disabled sink. */
  readonly test: (sink: string, by: Actor, signal: AbortSignal) => Promise<TestResult>;
  /** Puts a notification back to its first attempt, under the same id. Throws LW-NOT-FOUND, LW-CONFLICT. */
  readonly replay: (notification: string, by: Actor) => Promise<void>;
  readonly reload: (destinations: readonly Destination[]) => void;
};

/** Rows are looked for this often where nothing wakes the worker (another process enqueued): one indexed read a sink. */
const LOOK_MS = 500;
/** What is older than its retention is removed this often. */
const TIDY_MS = 3_600_000;

/** Makes the courier; nothing is sent before `run` or `deliverNext`. */
export function createCourier(options: CourierOptions): Courier {
  let destinations = new Map(options.destinations.map((item) => [item.id, item]));
  const wakers = new Set<() => void>();
  const wake = (): void => {
    for (const waker of wakers) waker();
    wakers.clear();
  };
  const destination = (sink: string): Destination => {
    const known = destinations.get(sink);
    if (known !== undefined) return known;
    throw new LeewayError('LW-NOT-FOUND', `no sink ${sink}; list them with GET /api/v1/sinks`);
  };
  const rest = async (signal: AbortSignal): Promise<void> => {
    const stop = new AbortController();
    const waken = (): void => stop.abort();
    wakers.add(waken);
    await options.clock.sleep(LOOK_MS, AbortSignal.any([signal, stop.signal])).catch(() => undefined); // aborted: awake
    wakers.delete(waken);
  };
  const reminded_ms = new Map<string, number>();
  const remind = async (sink: string, signal: AbortSignal): Promise<void> => {
    const { definition, settings } = destination(sink);
    const now_ms = options.clock.elapsed_ms();
    const since_ms = now_ms - (reminded_ms.get(sink) ?? Number.NEGATIVE_INFINITY);
    if (definition.resend_ms === undefined || since_ms < definition.resend_ms(settings)) return;
    reminded_ms.set(sink, now_ms);
    await resend(options, destination(sink), signal);
  };
  return {
    wake,
    deliverNext: async (sink, signal) => deliverNext(options, destination(sink), signal),
    run: (signal) =>
      runWorkers(
        options,
        {
          list: () => [...destinations.keys()],
          deliver: (sink) => deliverNext(options, destination(sink), signal),
          remind: (sink) => remind(sink, signal),
          rest,
        },
        signal,
      ),
    resend: async (sink, signal) => resend(options, destination(sink), signal),
    test: async (sink, by, signal) => testSink(options, destination(sink), by, signal),
    replay: async (notification, by) => {
      await replay(options, notification, by);
      wake();
    },
    reload: (next) => {
      destinations = new Map(next.map((item) => [item.id, item]));
      wake();
    },
  };
}

type Workers = {
  readonly list: () => readonly string[];
  readonly deliver: (sink: string) => Promise<Delivered | null>;
  readonly remind: (sink: string) => Promise<void>;
  readonly rest: (signal: AbortSignal) => Promise<void>;
};

async function runWorkers(options: CourierOptions, workers: Workers, signal: AbortSignal): Promise<void> {
  const running = new Map<string, Promise<void>>();
  const work = async (sink: string): Promise<void> => {
    while (!signal.aborted && workers.list().includes(sink)) {
      try {
        if ((await workers.deliver(sink)) !== null) continue;
        await workers.remind(sink);
      } catch (error) {
        if (signal.aborted) return;
        options.onError(error);
      }
      await workers.rest(signal);
    }
  };
  const attend = async (): Promise<void> => {
    for (const sink of workers.list())
      if (!running.has(sink))
        running.set(
          sink,
          work(sink).finally(() => running.delete(sink)),
        );
  };
  const tidy = async (): Promise<void> => {
    while (!signal.aborted && (await pruneOutbox(options.control, options.clock.now_ms())) > 0);
  };
  await Promise.all([
    every(options.clock, LOOK_MS, attend, { signal, onError: options.onError }),
    every(options.clock, TIDY_MS, tidy, { signal, onError: options.onError }),
  ]);
  await Promise.allSettled(running.values());
}

async function deliverNext(
  options: CourierOptions,
  destination: Destination,
  signal: AbortSignal,
): Promise<Delivered | null> {
  const claimed = await claimNext(options.control, destination.id, {
    now_ms: options.clock.now_ms(),
    // a crash gives the row back after twice the time that an attempt may take
    lease_ms: 2 * options.policy.timeout_ms + 1000,
  });
  if (claimed === null) return null;
  if (claimed.kind === 'expired')
    return finish(
      options,
      claimed,
      { outcome: 'failed', http_status: null, reason: 'expired before it could be sent' },
      0,
    );
  const started_ms = options.clock.elapsed_ms();
  const sent = await send(options, destination, notificationOf(claimed.document), signal);
  // stopped without an answer: the lease ends by itself and the same id is sent again
  if (signal.aborted && sent.http_status === null) return null;
  const delivered = await finish(options, claimed, sent, Math.round(options.clock.elapsed_ms() - started_ms));
  if (sent.gone === true) await options.onDisabled(destination.id, sent.reason);
  return delivered;
}

/** What one attempt came to. `after_ms`: the other side asked for at least that much patience. */
type Sent = TestResult & { readonly after_ms?: number | null; readonly gone?: boolean };

async function send(
  options: CourierOptions,
  destination: Destination,
  notification: Notification,
  signal: AbortSignal,
): Promise<Sent> {
  let request: SinkRequest;
  try {
    request = await rendered(options, destination, notification);
  } catch (error) {
    if (!(error instanceof LeewayError)) throw error;
    return { outcome: 'retry', http_status: null, reason: `${error.code}: ${error.message}` };
  }
  const answered = await options.door.post(request, signal);
  if (answered.kind !== 'ok') return told(answered, null);
  return told(destination.definition.classify(answered.value, options.clock.now_ms()), answered.value.status);
}

function told(outcome: Outcome<unknown>, http_status: number | null): Sent {
  if (outcome.kind === 'ok') return { outcome: 'delivered', http_status, reason: 'accepted' };
  if (outcome.kind === 'retry')
    return { outcome: 'retry', http_status, reason: outcome.reason, after_ms: outcome.after_ms };
  if (outcome.code === 'LW-EGRESS') return { outcome: 'blocked', http_status, reason: outcome.reason };
  return { outcome: 'failed', http_status, reason: outcome.reason, gone: isGone(outcome) };
}

async function rendered(
  options: CourierOptions,
  destination: Destination,
  notification: Notification,
): Promise<SinkRequest> {
  const secrets: Record<string, readonly string[]> = {};
  for (const [key, path] of Object.entries(destination.settings))
    if (key.endsWith('_file') && typeof path === 'string') secrets[key] = await options.readSecret(path);
  return destination.definition.render(notification, {
    settings: destination.settings,
    secrets,
    installation: options.installation,
    sign: options.sign,
    now_ms: options.clock.now_ms(),
  });
}

function notificationOf({ id, body }: Document<OutboxRow>): Notification {
  const { type, subject, at_ms, severity, data } = body;
  return { id, type, subject, at_ms, severity, data };
}

async function finish(options: CourierOptions, claimed: Claimed, sent: Sent, duration_ms: number): Promise<Delivered> {
  const now_ms = options.clock.now_ms();
  const { id, body } = claimed.document;
  const attempt: DeliveryAttempt = {
    notification_id: id,
    sink: body.sink,
    at_ms: now_ms,
    outcome: sent.outcome,
    http_status: sent.http_status,
    reason: sent.reason.slice(0, 512),
    duration_ms,
  };
  const row = after(body, attempt, { options, now_ms, after_ms: sent.after_ms ?? null });
  await options.control.transaction(async (tx) => {
    const written = await recordAttempt(tx, claimed.document, row, attempt);
    if (written && row.state === 'failed') await options.onFailed?.(tx, row);
    await noteSinkState(tx, body.sink, sinkStateAfter(attempt, sent.gone === true));
  });
  const delivered = { id, row, attempt };
  options.onAttempt(delivered);
  return delivered;
}

/** The row after an attempt: `blocked` goes on being tried like `retry`, since an operator may open the address. */
function after(
  row: OutboxRow,
  attempt: DeliveryAttempt,
  at: { readonly options: CourierOptions; readonly now_ms: number; readonly after_ms: number | null },
): OutboxRow {
  const ended = { ...row, lease_until_ms: 0, next_attempt_at_ms: null };
  if (attempt.outcome === 'delivered')
    return { ...ended, state: 'delivered', reason: null, delivered_at_ms: at.now_ms };
  if (attempt.outcome === 'failed') return { ...ended, state: 'failed', reason: attempt.reason };
  const { policy, random } = at.options;
  const next_ms = at.now_ms + backoffMs(policy, row.attempts - row.retry_from_attempt, at.after_ms, random);
  const end_ms = Math.min(row.retry_from_ms + policy.retry_for_ms, row.expires_at_ms ?? Number.POSITIVE_INFINITY);
  if (next_ms > end_ms)
    return { ...ended, state: 'failed', reason: `given up after ${row.attempts} attempts: ${attempt.reason}` };
  const state = attempt.outcome === 'blocked' ? 'blocked' : 'retrying';
  return { ...row, lease_until_ms: 0, state, reason: attempt.reason, next_attempt_at_ms: next_ms };
}

function sinkStateAfter(attempt: DeliveryAttempt, gone: boolean): SinkState {
  const { at_ms: updated_at_ms, outcome, reason } = attempt;
  if (gone) return { state: 'disabled', reason, updated_at_ms };
  if (outcome === 'blocked') return { state: 'blocked', reason, updated_at_ms };
  if (outcome === 'retry') return { state: 'retrying', reason, updated_at_ms };
  return { state: 'ok', reason: outcome === 'failed' ? reason : null, updated_at_ms };
}

/** Tells again what is open, outside the outbox: a miss is made good by the next round, so that nothing is recorded. */
async function resend(options: CourierOptions, destination: Destination, signal: AbortSignal): Promise<number> {
  const rows = await openlyTold(options.control, destination.id);
  for (const row of rows) {
    const sent = await send(options, destination, notificationOf(row), signal);
    if (sent.outcome !== 'delivered') break;
  }
  return rows.length;
}

async function testSink(
  options: CourierOptions,
  destination: Destination,
  by: Actor,
  signal: AbortSignal,
): Promise<TestResult> {
  const now_ms = options.clock.now_ms();
  const subject = `sink/${destination.id}`;
  const id = await options.control.transaction(async (tx) => {
    const detail = { note: by.note };
    const entry = await appendAudit(tx, { at_ms: now_ms, actor: by.actor, action: 'sink.test', subject, detail });
    return `msg_${hash64(`${subject}/${entry}`)}${hash64(`${entry}/${now_ms}`)}`;
  });
  const data = { at_ms: now_ms };
  const notification: Notification = { id, type: 'leeway.watchdog', subject, at_ms: now_ms, severity: null, data };
  const { outcome, http_status, reason, gone } = await send(options, destination, notification, signal);
  const attempt = {
    notification_id: id,
    sink: destination.id,
    at_ms: now_ms,
    outcome,
    http_status,
    reason,
    duration_ms: 0,
  };
  await options.control.transaction((tx) =>
    noteSinkState(tx, destination.id, sinkStateAfter(attempt, gone === true), true),
  );
  if (outcome === 'delivered') await options.onEnabled?.(destination.id);
  return { outcome, http_status, reason };
}

async function replay(options: CourierOptions, notification: string, by: Actor): Promise<void> {
  const now_ms = options.clock.now_ms();
  await options.control.transaction(async (tx) => {
    const stored = await tx.get(OUTBOX, notification);
    if (stored === null)
      throw new LeewayError('LW-NOT-FOUND', `no notification ${notification}; they are listed with their incident`);
    await assertWanted(tx, stored);
    await tx.update(OUTBOX, notification, stored.revision, {
      ...stored.body,
      state: 'retrying',
      reason: null,
      next_attempt_at_ms: now_ms,
      retry_from_ms: now_ms,
      retry_from_attempt: stored.body.attempts,
      lease_until_ms: 0,
    });
    const subject = `notification/${notification}`;
    await appendAudit(tx, {
      at_ms: now_ms,
      actor: by.actor,
      action: 'notification.replay',
      subject,
      detail: { note: by.note },
    });
  });
}

/** The state of every destination, for lists; a sink that was never used is ok. */
export async function sinkStates(control: Control): Promise<ReadonlyMap<string, SinkState>> {
  const states = await control.transaction((tx) => tx.list(SINK_STATES, {}));
  return new Map(states.map(({ id, body }) => [id, body]));
}
