import { type ErrorCode, LeewayError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { ok, type Outcome, reject } from '../core/outcome.ts';
import { validateRecord } from '../core/parse-record.ts';
import { farAheadReason, isFarAhead } from '../core/record-clock.ts';
import type { LeewayRecord } from '../core/records.ts';
import { decodeLink, LINK_FAULT_PATH, LINK_VERSIONS, type LinkFrame, type LinkMessage } from '../formats/link-batch.ts';
import type { BodyRoom } from './body-room.ts';
import type { Call, RouteContext } from './route.ts';
import type { IncomingBatch, RefusedLine, Services } from './services.ts';

const TYPE = /^application\/vnd\.leeway\.batch\.v(\d{1,6})$/;
/** No record of a smaller message can pass its own cap: each byte of one is there, and numbers grow threefold at most. */
const SURELY_SMALL_BYTES = LIMITS.record_bytes_max / 8;

/** Refused records of one batch that are kept for a person, and characters of each. */
const SET_ASIDE_MAX = 100;
const SET_ASIDE_CHARACTERS_MAX = 65_536;

type Ingest = Call<unknown, unknown, unknown>;
type Rejection = { readonly line: number; readonly code: string; readonly reason: string };
type Taken = {
  readonly accepted: number;
  readonly rejected: Rejection[];
  readonly rejected_count?: number;
  readonly undeclared_count?: number;
};

/** Whether a body is a message of batches. Throws LW-MEDIA-TYPE (415) for one of a version that is not understood. */
export function isLinkMessage(headers: Ingest['headers']): boolean {
  const given = String(headers['content-type'] ?? '');
  const version = TYPE.exec(given.split(';')[0]?.trim().toLowerCase() ?? '')?.[1];
  if (version === undefined) return false;
  if (LINK_VERSIONS.includes(Number(version))) return true;
  const expected = LINK_VERSIONS.map((known) => `application/vnd.leeway.batch.v${known}`).join(' or ');
  throw new LeewayError(
    'LW-MEDIA-TYPE',
    `batches of version ${version} are not understood; send ${expected} or NDJSON`,
    {
      errors: [{ path: 'content-type', got: given.slice(0, 100), expected }],
    },
  );
}

/**
 * Takes a message from a collector: its batches under their own names, each durable or known before the answer, and what its
 * sender gave up. A wrong record costs only itself; `line` counts the records of the message from 1.
 */
export async function takeLinkMessage(call: Ingest, context: RouteContext, room: BodyRoom): Promise<Taken> {
  const now_ms = context.clock.now_ms();
  const { ingest } = context.services;
  const message = await room.hold(call.bytes, (body) => readMessage(body, now_ms));
  const rejected = message.frames.flatMap((frame) => frame.rejected);
  const accepted = message.frames.reduce((sum, { records }) => sum + records.length, 0);
  context.metrics.recordsReceived({ source_kind: 'sender' }, accepted + rejected.length);
  for (const { code } of rejected) context.metrics.recordsRejected({ code }, 1);
  await Promise.all(message.frames.map((frame) => ingest.events(batchOf(frame), call.signal)));
  const undeclared_count = await declared(message, ingest);
  return {
    accepted,
    rejected: rejected.slice(0, LIMITS.rejected_listed_max),
    ...(rejected.length > LIMITS.rejected_listed_max ? { rejected_count: rejected.length } : {}),
    ...(undeclared_count > 0 ? { undeclared_count } : {}),
  };
}

/** Declares what the sender gave up; returns how much of it must be told again. Records that are taken do not wait for it. */
async function declared(
  { frames, gaps }: Pick<LinkMessage, 'gaps'> & { readonly frames: readonly unknown[] },
  ingest: Services['ingest'],
): Promise<number> {
  if (gaps.length === 0) return 0;
  try {
    return await ingest.declare(gaps);
  } catch (error) {
    if (!(error instanceof LeewayError) || frames.length === 0) throw error;
    return gaps.length;
  }
}

type ReadFrame = Pick<LinkFrame, 'source' | 'epoch' | 'sequence'> & {
  readonly records: LeewayRecord[];
  readonly rejected: Rejection[];
  readonly set_aside: RefusedLine[];
};

function readMessage(
  body: Buffer,
  now_ms: number,
): { readonly frames: ReadFrame[]; readonly gaps: LinkMessage['gaps'] } {
  const decoded = decodeLink(body);
  if (decoded.kind === 'reject') {
    const errors = [{ path: LINK_FAULT_PATH, got: decoded.reason, expected: 'a message of batches' }];
    throw new LeewayError(codeOf(decoded.code), decoded.reason, { errors });
  }
  if (decoded.kind === 'retry') throw new LeewayError('LW-BUSY', decoded.reason);
  const weigh = body.length > SURELY_SMALL_BYTES;
  let line = 0;
  const frames = decoded.value.frames.map(({ records, ...name }) => {
    const frame: ReadFrame = { ...name, records: [], rejected: [], set_aside: [] };
    for (const record of records) {
      line++;
      const outcome = judged(record, now_ms, weigh);
      if (outcome.kind === 'ok') {
        frame.records.push(outcome.value);
        continue;
      }
      const { code, reason } = outcome;
      frame.rejected.push({ line, code, reason });
      if (frame.set_aside.length < SET_ASIDE_MAX)
        frame.set_aside.push({ code, reason, raw: JSON.stringify(record).slice(0, SET_ASIDE_CHARACTERS_MAX + 1) });
    }
    return frame;
  });
  return { frames, gaps: decoded.value.gaps };
}

function judged(record: object, now_ms: number, weigh: boolean): Outcome<LeewayRecord> {
  if (weigh && Buffer.byteLength(JSON.stringify(record)) > LIMITS.record_bytes_max)
    return reject('LW-RECORD-SIZE', `longer than ${LIMITS.record_bytes_max} bytes`);
  const outcome = validateRecord(record);
  if (outcome.kind !== 'ok') return outcome;
  return isFarAhead(outcome.value, now_ms) ? reject('LW-RECORD-CLOCK', farAheadReason(now_ms)) : ok(outcome.value);
}

function batchOf({ source, epoch, sequence, records, rejected, set_aside }: ReadFrame): IncomingBatch {
  const counts: Partial<Record<ErrorCode, number>> = {};
  for (const rejection of rejected) {
    const code = rejection.code as ErrorCode; // the parse door of records: its codes are of core/errors.ts
    counts[code] = (counts[code] ?? 0) + 1;
  }
  return { identity: { source, epoch, sequence }, source, records, rejected: counts, set_aside };
}

/** Codes of the decoder are those of bodies. */
function codeOf(code: string): 'LW-MEDIA-TYPE' | 'LW-BODY' | 'LW-BODY-SIZE' {
  return code === 'LW-MEDIA-TYPE' || code === 'LW-BODY-SIZE' ? code : 'LW-BODY';
}
