import { LIMITS } from '../core/limits.ts';
import type { Outcome } from '../core/outcome.ts';
import type { DecodedSamples, SampleTarget } from '../formats/decoded-samples.ts';
import { batchName } from './batch-name.ts';
import { BodyRoom } from './body-room.ts';
import type { Call, RouteContext } from './route.ts';

/** Bytes of bodies that may be held at once, until their samples are durable. More senders hear 503. */
const HELD_BYTES_MAX = 4 * LIMITS.body_bytes_max;

/** Puts what it takes of a body into the target; what it returns for bytes that it cannot read refuses the body. */
export type SampleDecoder = (body: Uint8Array, target: SampleTarget) => Outcome<DecodedSamples>;

/** How bodies of samples come in, whatever their format: room for them, decoded, durable, counted. */
export class SampleIntake {
  readonly #room = new BodyRoom(HELD_BYTES_MAX);

  /** `unnamed`: the source of senders that give none. Throws as IngestService.samples, LW-BUSY without room. */
  take(
    call: Pick<Call<unknown, unknown, unknown>, 'bytes' | 'headers'>,
    { services, metrics, signal }: RouteContext,
    { decoder, unnamed }: { readonly decoder: SampleDecoder; readonly unnamed: string },
  ): Promise<DecodedSamples> {
    const { identity, source } = batchName(call.headers);
    return this.#room.hold(call.bytes, async (body) => {
      const decode = (target: SampleTarget): Outcome<DecodedSamples> => decoder(body, target);
      const decoded = await services.ingest.samples({ identity, source: source ?? unnamed, decode }, signal);
      const refused = decoded.rejections.reduce((sum, rejection) => sum + rejection.count, 0);
      const taken = decoded.samples_count + decoded.histograms.length;
      metrics.recordsReceived({ source_kind: 'sender' }, taken + refused);
      if (refused > 0) metrics.recordsRejected({ code: 'LW-SAMPLE' }, refused);
      return decoded;
    });
  }
}
