import { LeewayError } from '../../core/errors.ts';
import { decodeOtlpMetrics } from '../../formats/otlp-metrics.ts';
import { decodeOtlpMetricsJson } from '../../formats/otlp-metrics-json.ts';
import {
  encodeOtlpResponse,
  encodeOtlpResponseJson,
  type OtlpPartialSuccess,
  partialSuccessOf,
} from '../../formats/otlp-response.ts';
import { Answer, type Call, defineRoute, type Route } from '../route.ts';
import type { SampleDecoder, SampleIntake } from '../sample-intake.ts';

type Encoding = {
  readonly type: string;
  readonly decoder: SampleDecoder;
  readonly answer: (partial: OtlpPartialSuccess) => string | Uint8Array;
};

const ENCODINGS: readonly Encoding[] = [
  { type: 'application/x-protobuf', decoder: decodeOtlpMetrics, answer: encodeOtlpResponse },
  { type: 'application/json', decoder: decodeOtlpMetricsJson, answer: encodeOtlpResponseJson },
];

/** `POST /v1/metrics`: OTLP/HTTP, protobuf or JSON, packed with gzip, zstd or not at all. */
export function otlpRoutes(intake: SampleIntake): readonly Route[] {
  return [
    defineRoute({
      method: 'POST',
      path: '/v1/metrics',
      scope: 'ingest',
      summary: 'OTLP metrics as protobuf or JSON; answers once they are durable, with what was refused',
      body: 'stream',
      answer: 'application/x-protobuf',
      run: async (call, context) => {
        const { type, decoder, answer } = encodingOf(call.headers);
        const decoded = await intake.take(call, context, { decoder, unnamed: 'otlp' });
        return new Answer(200, { 'content-type': type }, Buffer.from(answer(partialSuccessOf(decoded))));
      },
    }),
  ];
}

function encodingOf(headers: Call<unknown, unknown, unknown>['headers']): Encoding {
  const given = String(headers['content-type'] ?? '');
  const type = given.split(';')[0]?.trim().toLowerCase();
  const encoding = ENCODINGS.find((one) => one.type === type);
  if (encoding !== undefined) return encoding;
  const expected = ENCODINGS.map((one) => one.type).join(' or ');
  const errors = [{ path: 'content-type', got: given === '' ? 'nothing' : given.slice(0, 200), expected }];
  throw new LeewayError('LW-MEDIA-TYPE', 'this is not OTLP over HTTP', { errors });
}
