import { LeewayError } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import type { DecodedSamples } from '../../formats/decoded-samples.ts';
import { decodeRemoteWrite } from '../../formats/remote-write.ts';
import { decodeRemoteWrite2 } from '../../formats/remote-write-2.ts';
import { SnappyBlock } from '../../formats/snappy-block.ts';
import { Answer, type Call, defineRoute, type Route } from '../route.ts';
import type { SampleDecoder, SampleIntake } from '../sample-intake.ts';

/** `POST /api/v1/write`: Prometheus remote write 1.0 and 2.0, told apart by the content type. */
export function remoteWriteRoutes(intake: SampleIntake): readonly Route[] {
  const snappy = new SnappyBlock(LIMITS.body_bytes_max);
  const unpacking =
    (decoder: SampleDecoder): SampleDecoder =>
    (packed, target) => {
      // into a buffer that the next body overwrites: it is decoded before anything else can run
      const body = snappy.decompress(packed);
      return body.kind === 'ok' ? decoder(body.value, target) : body;
    };
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
        const decoder = unpacking(MESSAGES[message]);
        return written(await intake.take(call, context, { decoder, unnamed: 'remote-write' }), message);
      },
    }),
  ];
}

const MESSAGES = {
  'prometheus.WriteRequest': decodeRemoteWrite,
  'io.prometheus.write.v2.Request': decodeRemoteWrite2,
} as const satisfies Readonly<Record<string, SampleDecoder>>;
type Message = keyof typeof MESSAGES;

function isMessage(name: string): name is Message {
  return Object.hasOwn(MESSAGES, name);
}

/** Judges the headers before the body is touched. Throws LW-MEDIA-TYPE (415). */
function messageOf(headers: Call<unknown, unknown, unknown>['headers']): Message {
  const given = String(headers['content-type'] ?? '');
  const [type = '', ...parameters] = given.split(';').map((part) => part.trim());
  const proto = parameters
    .find((parameter) => /^proto=/i.test(parameter))
    ?.slice('proto='.length)
    .replace(/^"(.*)"$/, '$1');
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
  const reasons = rejections.map(({ code, count, reason }) => `${count} refused (${code}): ${reason}`).join('\n');
  return new Answer(400, { ...counts, 'content-type': 'text/plain; charset=utf-8' }, `${reasons}\n`);
}
