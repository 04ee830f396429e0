import type { LoadedConfig } from '../config.ts';
import { systemRandom } from '../core/random.ts';
import type { Rule } from '../incident/rules.ts';
import { createDesk, type Desk } from '../pipeline/decide.ts';
import { createCourier, type Courier, type Destination, recipientOf } from '../pipeline/deliver.ts';
import { ExternalAlerts } from '../pipeline/external-alerts.ts';
import { Retraining } from '../pipeline/retrain.ts';
import type { RetrainPolicy } from '../retrain/policy.ts';
import { createHttpClient } from '../transport/http-client.ts';
import { signWebhook } from '../transport/webhook-signature.ts';
import { targetId } from './alerting.ts';
import type { Doors, Ground } from './doors.ts';
import type { EventStream } from './event-stream.ts';
import { judgeSink } from './sink-watch.ts';

/** What a reload replaces, and the address once it is known. */
export type Live = {
  url: string;
  loaded: LoadedConfig;
  rules: readonly Rule[];
  destinations: readonly Destination[];
  policies: readonly RetrainPolicy[];
};

/** What decides and tells: incidents, notifications, retraining. */
export type Deciding = {
  readonly desk: Desk;
  readonly alerts: ExternalAlerts;
  readonly courier: Courier;
  readonly retraining: Retraining;
};

/** Makes the desk, the courier and the coordinator of retraining over one control store. */
export function createDeciding(
  ground: Ground,
  doors: Doors,
  { live, stream }: { live: Live; stream: EventStream },
): Deciding {
  const { loaded, clock } = ground;
  const public_url = (): string => loaded.config.server.public_url ?? live.url;
  const { control } = doors;
  const holder: { courier: Courier | null } = { courier: null };
  const desk = createDesk({
    control,
    clock,
    rules: live.rules,
    recipients: live.destinations.map(recipientOf),
    public_url,
    onEvent: (event) => {
      if (event.kind === 'incident') stream.emit({ event: 'incident', data: { id: event.id, change: event.change } });
      else holder.courier?.wake();
    },
  });
  const retraining = retrainingOf(ground, doors, { live, stream, desk, public_url });
  const courier = courierOf(ground, doors, { live, stream, desk, retraining });
  holder.courier = courier;
  return { desk, alerts: new ExternalAlerts(control), courier, retraining };
}

type Telling = { readonly live: Live; readonly stream: EventStream; readonly desk: Desk };

function courierOf(
  { loaded, clock, logger, metrics }: Ground,
  { control, installation }: Doors,
  { live, stream, desk, retraining }: Telling & { readonly retraining: Retraining },
): Courier {
  const { config } = loaded;
  return createCourier({
    control,
    clock,
    random: systemRandom,
    door: createHttpClient({ egress: config.egress, clock, timeout_ms: config.delivery.timeout_ms }),
    destinations: live.destinations,
    readSecret: (path) => loaded.readSecret(path),
    sign: signWebhook,
    installation,
    policy: config.delivery,
    onAttempt: ({ id, row, attempt }) => {
      metrics.notifications({ sink: row.sink, outcome: attempt.outcome });
      stream.emit({ event: 'delivery', data: { id, sink: row.sink, outcome: attempt.outcome } });
    },
    onFailed: (tx, row) => retraining.undelivered(tx, row),
    onDisabled: (sink, reason) => judgeSink({ desk, clock }, sink, reason),
    onEnabled: (sink) => judgeSink({ desk, clock }, sink, null),
    onError: (error) => logger.error({ error: String(error) }, 'delivering failed'),
  });
}

function retrainingOf(
  { loaded, clock, metrics }: Ground,
  { control, installation }: Doors,
  of: Telling & { readonly public_url: () => string },
): Retraining {
  const { live, stream, desk, public_url } = of;
  return new Retraining({
    control,
    clock,
    policies: live.policies,
    installation,
    public_url,
    window_ms: loaded.config.drift.window_ms,
    onDecision: ({ id, state, gates }) => {
      const held = gates.find((gate) => gate.result === 'fail') ?? gates.find((gate) => gate.result === 'defer');
      metrics.retrainDecisions({ outcome: state, gate: held?.gate ?? 'none' });
      stream.emit({ event: 'decision', data: { id, state } });
    },
    tell: async (tx, { to, policy, decision_id, ...message }) => {
      const target = targetId(policy);
      const told = to !== 'sinks' && live.destinations.some(({ id }) => id === target); // without one a person runs it
      const sinks = to !== 'target';
      await desk.enqueue(tx, { ...message, decision_id, event: message.type, sinks, ...(told ? { target } : {}) });
    },
  });
}
