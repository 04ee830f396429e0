import { LeewayError } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import type { Outcome } from '../../core/outcome.ts';
import type { SampleRejection } from '../../core/samples.ts';
import type { DecodedSamples, SampleTarget } from '../../formats/decoded-samples.ts';
import { decodeRemoteWrite } from '../../formats/remote-write.ts';
import { decodeRemoteWrite2 } from '../../formats/remote-write-2.ts';
import { SnappyBlock } from '../../formats/snappy-block.ts';
import { batchName } from '../batch-name.ts';
import { BodyRoom } from '../body-room.ts';
import { collectBody } from '../body.ts';
import { Answer, type Call, defineRoute, type Route, type RouteContext } from '../route.ts';

/** Bytes of bodies that may be held at once, until their samples are durable. More senders hear 429. */
const HELD_BYTES_MAX = 4 * LIMITS.body_bytes_max;
/** Senders that give no name share this one. */
const UNNAMED = 'remote-write';

type Decoder = (body: Uint8Array, target: SampleTarget) => Outcome<DecodedSamples>;

/** `POST /api/v1/write`: Prometheus remote write 1.0 and 2.0, told apart by the content type. */
export function sampleRoutes(): readonly Route[] {
  const room = new BodyRoom(HELD_BYTES_MAX);
  const snappy = new SnappyBlock(LIMITS.body_bytes_max);
  return [
    defineRoute({
      method: 'POST',
      path: '/api/v1/write',
      scope: 'ingest',
      summary: 'Prometheus remote write 1.0 and 2.0; answers once the samples are durable',
      body: 'stream',
      unpacks: ['snappy'],
      status: 204,
      answer: 'text/plain',
      run: async (call, context) => {
        const message = messageOf(call.headers);
        const decoder = MESSAGES[message];
        return room.hold(call.bytes, async (chunks) => {
          const packed = await collectBody(chunks);
          const decode = (target: SampleTarget): Outcome<DecodedSamples> => {
            // unpacked into a buffer that the next body overwrites: decoded before anything else can run
            const body = snappy.decompress(packed);
            return body.kind === 'ok' ? decoder(body.value, target) : body;
          };
          const { identity, source } = batchName(call.headers);
          const batch = { identity, source: source ?? UNNAMED, decode };
          const decoded = await context.services.ingest.samples(batch, call.signal);
          count(decoded, context);
          return written(decoded, message);
        });
      },
    }),
  ];
}

const MESSAGES = {
  'prometheus.WriteRequest': decodeRemoteWrite,
  'io.prometheus.write.v2.Request': decodeRemoteWrite2,
} as const satisfies Readonly<Record<string, Decoder>>;
type Message = keyof typeof MESSAGES;

function isMessage(name: string): name is Message {
  return Object.hasOwn(MESSAGES, name);
}

/** Judges the headers before the body is touched. Throws LW-MEDIA-TYPE (415). */
function messageOf(headers: Call<unknown, unknown, unknown>['headers']): Message {
  const given = String(headers['content-type'] ?? '');
  const [type = '', ...parameters] = given.split(';').map((part) => part.trim());
  const proto = parameters.find((parameter) => /^proto=/i.test(parameter))?.slice('proto='.length);
  const message = proto ?? 'prometheus.WriteRequest';
  const errors = [];
  if (type.toLowerCase() !== 'application/x-protobuf' || !isMessage(message))
    errors.push({
      path: 'content-type',
      got: given === '' ? 'nothing' : given.slice(0, 200),
      expected: `application/x-protobuf, proto one of ${Object.keys(MESSAGES).join(', ')}`,
    });
  const encoding = String(headers['content-encoding'] ?? '');
  if (encoding.trim().toLowerCase() !== 'snappy')
    errors.push({
      path: 'content-encoding',
      got: encoding === '' ? 'nothing' : encoding.slice(0, 100),
      expected: 'snappy',
    });
  if (errors.length > 0 || !isMessage(message))
    throw new LeewayError('LW-MEDIA-TYPE', 'this is not remote write as 1.0 or 2.0 define it', { errors });
  return message;
}

function count({ samples_count, histograms, rejections }: DecodedSamples, { metrics }: RouteContext): void {
  const refused = rejections.reduce((sum, rejection) => sum + rejection.count, 0);
  metrics.recordsReceived({ source_kind: 'sender' }, samples_count + histograms.length + refused);
  if (refused > 0) metrics.recordsRejected({ code: 'LW-SAMPLE' }, refused);
}

/** 204, or 400 where a part was refused; 2.0 demands the counts of what was taken beside either. */
function written({ samples_count, histograms, exemplars, rejections }: DecodedSamples, message: Message): Answer {
  const counts: Record<string, string> =
    message === 'prometheus.WriteRequest'
      ? {}
      : {
          'x-prometheus-remote-write-samples-written': String(samples_count),
          'x-prometheus-remote-write-histograms-written': String(histograms.length),
          'x-prometheus-remote-write-exemplars-written': String(exemplars.length),
        };
  if (rejections.length === 0) return new Answer(204, counts, null);
  const reasons = rejections.map(sentence).join('\n');
  return new Answer(400, { ...counts, 'content-type': 'text/plain; charset=utf-8' }, `${reasons}\n`);
}

function sentence({ code, count, reason }: SampleRejection): string {
  return `${count} refused (${code}): ${reason}`;
}
