import { INCIDENTS, SINK_STATES } from '../control/collections.ts';
import type { Clock } from '../core/clock.ts';
import type { Finding } from '../core/finding.ts';
import type { Control } from '../core/ports.ts';
import type { Desk } from '../pipeline/decide.ts';

/** Disabled sinks are looked for this often; the attempt that was answered 410 tells at once. */
export const SINKS_MS = 10_000;

const FINDING = 'sink.disabled';
const WATCHED_MAX = 10_000;

/** Whose word it is that a sink is off or on. */
type Judge = { readonly desk: Desk; readonly clock: Clock };

/** A destination asked not to be told again (`reason`), or answers again (null): the others hear of it. */
export async function judgeSink({ desk, clock }: Judge, sink: string, reason: string | null): Promise<void> {
  const now_ms = clock.now_ms();
  await desk.judge([sinkFinding({ sink, reason, since_ms: now_ms }, now_ms)], now_ms);
}

/**
 * Makes good what `judgeSink` missed, because its process ended between the answer on record and the incident: every
 * disabled sink has one, and a sink that is open again, or no longer `configured`, has none.
 */
export async function judgeSinks(
  { desk, clock, control }: Judge & { readonly control: Control },
  configured: ReadonlySet<string>,
): Promise<void> {
  const now_ms = clock.now_ms();
  const findings = await control.transaction(async (tx) => {
    const states = new Map((await tx.list(SINK_STATES, {})).map(({ id, body }) => [id, body]));
    const watched = await tx.list(INCIDENTS, {
      where: [{ field: 'watched', is: '=', value: 1 }],
      limit: WATCHED_MAX,
    });
    const told = watched.flatMap(({ body }) => (body.finding === FINDING && body.source !== null ? [body.source] : []));
    const off = [...states].flatMap(([sink, { state }]) =>
      state === 'disabled' && configured.has(sink) ? [sink] : [],
    );
    return [...new Set([...off, ...told])].map((sink) => {
      const { reason = null, updated_at_ms = now_ms } = states.get(sink) ?? {};
      const said = off.includes(sink) ? (reason ?? 'answered 410, gone') : null;
      return sinkFinding({ sink, reason: said, since_ms: updated_at_ms }, now_ms);
    });
  });
  if (findings.length > 0) await desk.judge(findings, now_ms);
}

function sinkFinding(
  { sink, reason, since_ms }: { readonly sink: string; readonly reason: string | null; readonly since_ms: number },
  now_ms: number,
): Finding {
  return {
    name: FINDING,
    key: `sink:${sink}/disabled`,
    scope: { source: sink },
    subjects: [{ type: 'sink', id: sink }],
    cause: 'configuration',
    value: reason === null ? 0 : 1,
    reason: null,
    data_count: 1,
    coverage_ratio: 1,
    window: { from_ms: now_ms, to_ms: now_ms },
    started_at_ms: since_ms,
    gpu_seconds_lost: null,
    usd_lost: null,
    usd_per_hour: null,
    title: reason === null ? `Sink ${sink} answers again` : `Sink ${sink} is disabled: ${reason}`,
    evidence: { reason },
  };
}
