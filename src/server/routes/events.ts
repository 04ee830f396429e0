import Type from 'typebox';
import { type ErrorCode, LeewayError } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import { parseRecord } from '../../core/parse-record.ts';
import { farAheadReason, isFarAhead } from '../../core/record-clock.ts';
import type { LeewayRecord } from '../../core/records.ts';
import { type BodyLine, splitLines } from '../lines.ts';
import { defineRoute, type Route, type RouteContext } from '../route.ts';
import { batchName } from '../batch-name.ts';
import { BodyRoom } from '../body-room.ts';
import { isLinkMessage, takeLinkMessage } from '../link-intake.ts';
import type { IncomingBatch, RefusedLine } from '../services.ts';

const REJECTION = Type.Object({ line: Type.Integer(), code: Type.String(), reason: Type.String() });
type Rejection = { line: number; code: string; reason: string };

/** Bytes of bodies that may be held at once: eight of the largest. More senders wait for a 503's Retry-After. */
const HELD_BYTES_MAX = 8 * LIMITS.body_bytes_max;

/** What the lines of one body come to. */
type Reading = {
  readonly records: LeewayRecord[];
  readonly rejected: Rejection[];
  readonly counts: Partial<Record<ErrorCode, number>>;
  rejected_count: number;
  readonly set_aside: RefusedLine[];
};

/** Refused lines of one body that are kept; the texts are parts of the body, which is in memory anyway. */
const SET_ASIDE_MAX = 1_000;
const SET_ASIDE_CHARACTERS_MAX = 65_536;

/** `POST /v1/events`: NDJSON, line by line; a wrong line costs only itself, a batch is durable before its answer. */
export function eventRoutes(): readonly Route[] {
  const room = new BodyRoom(HELD_BYTES_MAX);
  return [
    defineRoute({
      method: 'POST',
      path: '/v1/events',
      scope: 'ingest',
      summary: 'Records as NDJSON; answers once they are durable',
      body: 'stream',
      answer: Type.Object({
        accepted: Type.Integer({ minimum: 0 }),
        rejected: Type.Array(REJECTION),
        /** Only where `rejected` lists fewer than there were. */
        rejected_count: Type.Optional(Type.Integer({ minimum: 0 })),
        /** Losses that a message of batches told and that were not written down: tell them again. */
        undeclared_count: Type.Optional(Type.Integer({ minimum: 1 })),
      }),
      run: async (call, context) => {
        if (isLinkMessage(call.headers)) return takeLinkMessage(call, context, room);
        const name = batchName(call.headers);
        const now_ms = context.clock.now_ms();
        const reading = await room.hold(call.bytes, (body) => readLines(body, now_ms));
        count(reading, context);
        refuseUnreadable(reading);
        const { records, counts: rejected, set_aside } = reading;
        const batch: IncomingBatch = { ...name, records, rejected, set_aside };
        await context.services.ingest.events(batch, call.signal);
        const answer = { accepted: reading.records.length, rejected: reading.rejected };
        return reading.rejected_count > reading.rejected.length
          ? { ...answer, rejected_count: reading.rejected_count }
          : answer;
      },
    }),
  ];
}

function readLines(body: Buffer, now_ms: number): Reading {
  const reading: Reading = { records: [], rejected: [], counts: {}, rejected_count: 0, set_aside: [] };
  for (const line of splitLines(body, LIMITS.record_bytes_max)) readLine(line, reading, now_ms);
  return reading;
}

function readLine(line: BodyLine, reading: Reading, now_ms: number): void {
  if ('refused' in line) {
    const [code, reason] =
      line.refused === 'size'
        ? (['LW-RECORD-SIZE', `longer than ${LIMITS.record_bytes_max} bytes`] as const)
        : (['LW-RECORD-JSON', 'not UTF-8'] as const);
    refuse(reading, { line: line.line, code, reason });
    return;
  }
  const parsed = parseRecord(line.text);
  if (parsed.kind !== 'ok') setAside(reading, line, parsed);
  else if (isFarAhead(parsed.value, now_ms))
    setAside(reading, line, { code: 'LW-RECORD-CLOCK', reason: farAheadReason(now_ms) });
  else reading.records.push(parsed.value);
}

/** Refuses a line that could be read, and keeps it. */
function setAside(
  reading: Reading,
  { line, text }: { readonly line: number; readonly text: string },
  { code, reason }: { readonly code: string; readonly reason: string },
): void {
  refuse(reading, { line, code, reason });
  if (reading.set_aside.length < SET_ASIDE_MAX)
    reading.set_aside.push({ code, reason, raw: text.slice(0, SET_ASIDE_CHARACTERS_MAX + 1) });
}

function refuse(reading: Reading, rejection: Rejection): void {
  const code = rejection.code as ErrorCode; // the parse door of records: its codes are of core/errors.ts
  reading.counts[code] = (reading.counts[code] ?? 0) + 1;
  reading.rejected_count++;
  if (reading.rejected.length < LIMITS.rejected_listed_max) reading.rejected.push(rejection);
}

function count(reading: Reading, context: RouteContext): void {
  const received = reading.records.length + reading.rejected_count;
  context.metrics.recordsReceived({ source_kind: 'sender' }, received);
  for (const [code, amount] of Object.entries(reading.counts)) context.metrics.recordsRejected({ code }, amount);
}

/** 400 only when nothing could be read: no line at all, or none that is even JSON. */
function refuseUnreadable(reading: Reading): void {
  const readable = reading.rejected_count - (reading.counts['LW-RECORD-JSON'] ?? 0);
  if (reading.records.length > 0 || readable > 0) return;
  const errors = reading.rejected.map((item) => ({
    path: `line ${item.line}`,
    got: item.reason,
    expected: 'one JSON object on a line',
  }));
  const what = reading.rejected_count === 0 ? 'the body holds no record' : 'no line of the body is a JSON object';
  throw new LeewayError('LW-BODY', `${what}; send NDJSON, one record a line`, { errors });
}
