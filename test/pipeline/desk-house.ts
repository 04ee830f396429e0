import { webhook } from '../../alerts/sinks/webhook.ts';
import { INCIDENT_EVENTS, INCIDENTS, OUTBOX, type OutboxRow } from '../../src/control/collections.ts';
import { openSqliteControl } from '../../src/control/sqlite.ts';
import { ManualClock } from '../../src/core/clock.ts';
import type { PostDoor, SinkRequest, SinkResponse } from '../../src/core/define.ts';
import type { Incident } from '../../src/core/incident.ts';
import { ok, type Outcome } from '../../src/core/outcome.ts';
import type { Control, Document } from '../../src/core/ports.ts';
import { seededRandom } from '../../src/core/random.ts';
import type { Rule } from '../../src/incident/rules.ts';
import { createDesk, type Desk, type DeskEvent } from '../../src/pipeline/decide.ts';
import {
  type Courier,
  type CourierOptions,
  createCourier,
  type Destination,
  recipientOf,
} from '../../src/pipeline/deliver.ts';
import { signWebhook } from '../../src/transport/webhook-signature.ts';
import { ruleOf } from '../incident/fixtures.ts';

export const SECRET = `whsec_${Buffer.from('a secret of thirty-two bytes: 32').toString('base64')}`;
export const POLICY = { timeout_ms: 10_000, retry_base_ms: 5000, retry_max_ms: 60_000, retry_for_ms: 600_000 };

/** A webhook destination that hears everything unless told otherwise. */
export function destinationOf(id: string, changes: Partial<Destination> = {}): Destination {
  const settings = { url: `https://${id}.example/hook`, secret_file: 'secret' };
  return { id, definition: webhook, settings, types: ['leeway.*'], min_severity: 'warn', ...changes };
}

/** A door that answers by script: each request takes the next answer of its host, the last one for ever. */
export class ScriptedDoor implements PostDoor {
  readonly requests: SinkRequest[] = [];
  readonly answers = new Map<string, (Outcome<SinkResponse> | 'hang')[]>();

  post(request: SinkRequest, signal: AbortSignal): Promise<Outcome<SinkResponse>> {
    this.requests.push(request);
    const host = new URL(request.url).hostname.split('.')[0] ?? '';
    const script = this.answers.get(host) ?? [];
    const answer = (script.length > 1 ? script.shift() : script[0]) ?? ok({ status: 204, headers: {}, body: '' });
    if (answer !== 'hang') return Promise.resolve(answer);
    return new Promise((_resolve, reject) => {
      if (signal.aborted) reject(signal.reason);
      signal.addEventListener('abort', () => reject(signal.reason));
    });
  }

  /** Requests of one sink as id and type. */
  told(host: string): { id: string; type: string }[] {
    return this.requests
      .filter(({ url }) => url.includes(`//${host}.`))
      .map(({ headers }) => ({ id: headers['webhook-id'] ?? '', type: headers['ce-type'] ?? '' }));
  }
}

export function answer(status: number, headers: Record<string, string> = {}): Outcome<SinkResponse> {
  return ok({ status, headers, body: '' });
}

export type House = AsyncDisposable & {
  readonly clock: ManualClock;
  readonly control: Control;
  readonly desk: Desk;
  readonly courier: Courier;
  readonly door: ScriptedDoor;
  readonly events: DeskEvent[];
  readonly disabled: string[];
  readonly incidents: () => Promise<Incident[]>;
  readonly history: (id: string) => Promise<string[]>;
  readonly outbox: () => Promise<Document<OutboxRow>[]>;
};

/** Control store in memory, desk and courier with a scripted door, under a clock that moves when told. */
export async function openHouse(
  given: {
    readonly rules?: readonly Rule[];
    readonly destinations?: readonly Destination[];
    readonly onFailed?: CourierOptions['onFailed'];
  } = {},
): Promise<House> {
  const clock = new ManualClock();
  const control = await openSqliteControl({ data_dir: ':memory:', clock });
  const destinations = given.destinations ?? [destinationOf('ops')];
  const events: DeskEvent[] = [];
  const disabled: string[] = [];
  const door = new ScriptedDoor();
  const desk = createDesk({
    control,
    clock,
    rules: given.rules ?? [ruleOf()],
    recipients: destinations.map(recipientOf),
    public_url: () => 'http://leeway.test',
    onEvent: (event) => events.push(event),
  });
  const options: CourierOptions = {
    control,
    clock,
    destinations,
    door,
    random: seededRandom(1),
    readSecret: async () => [SECRET],
    sign: signWebhook,
    installation: 'test',
    policy: POLICY,
    onAttempt: () => undefined,
    onDisabled: async (sink) => {
      disabled.push(sink);
    },
    onFailed: async (tx, row) => given.onFailed?.(tx, row),
    onError: (error) => {
      throw error;
    },
  };
  return {
    clock,
    control,
    desk,
    door,
    events,
    disabled,
    courier: createCourier(options),
    incidents: async () => (await control.transaction((tx) => tx.list(INCIDENTS, {}))).map(({ body }) => body),
    history: async (id) => {
      const where = [{ field: 'incident_id', is: '=', value: id } as const];
      return (await control.transaction((tx) => tx.list(INCIDENT_EVENTS, { where }))).map(({ body }) => body.kind);
    },
    outbox: () => control.transaction((tx) => tx.list(OUTBOX, { order: { field: 'sequence', descending: false } })),
    [Symbol.asyncDispose]: () => control[Symbol.asyncDispose](),
  };
}
