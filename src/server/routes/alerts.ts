import Type from 'typebox';
import { LeewayError } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import { ExternalAlertSchema, parseAlerts } from '../../incident/external-message.ts';
import { BodyRoom } from '../body-room.ts';
import { parseJsonBody } from '../request.ts';
import { type BodyReader, defineRoute, type Route } from '../route.ts';

/** Bytes of bodies that may be held at once: eight of the largest. More senders wait for a 503's Retry-After. */
const HELD_BYTES_MAX = 8 * LIMITS.external_alerts_body_bytes_max;
/** Wrong alerts that one answer lists; the message counts them all. */
const ERRORS_MAX = 100;

/**
 * `POST /api/v2/alerts`, as Alertmanager's: what is valid is taken, and durable before the answer, even where other
 * alerts of the request are wrong (400) or more than can be remembered (429).
 */
export function alertRoutes(): readonly Route[] {
  const room = new BodyRoom(HELD_BYTES_MAX);
  return [
    defineRoute({
      method: 'POST',
      path: '/api/v2/alerts',
      scope: 'ingest',
      summary:
        'Alerts of Prometheus and whatever else speaks to an Alertmanager; they become incidents of kind external',
      body: 'stream',
      document: Type.Array(ExternalAlertSchema, { maxItems: LIMITS.external_alerts_request_max }),
      answer: Type.Object({}),
      run: async (call, { services }) => {
        const bytes = await room.hold(readAlerts(call.bytes), (body) => body);
        const type = call.headers['content-type'];
        const { messages, errors } = parseAlerts(parseJsonBody(bytes, type === undefined ? undefined : String(type)));
        const { refused } = await services.ingest.alerts(messages);
        if (refused > 0) throw tooMany(refused);
        const [first] = errors;
        if (first === undefined) return {};
        const taken = messages.length === 0 ? 'none was taken' : `the other ${messages.length} were taken`;
        throw new LeewayError(
          'LW-BODY',
          `${first.path}: got ${first.got}, expected ${first.expected}; alerts that cannot be read: ${errors.length}, ${taken}`,
          { errors: errors.slice(0, ERRORS_MAX) },
        );
      },
    }),
  ];
}

function tooMany(refused: number): LeewayError {
  const max = LIMITS.external_alerts_max;
  return new LeewayError(
    'LW-OVERLOADED',
    `${refused} new alerts were refused: ${max} are remembered, at most ${max}; resolve some, or group them at their source`,
  );
}

/** Reads a body of alerts, which may be smaller than others. */
function readAlerts(read: BodyReader): BodyReader {
  return (onBytes) => {
    let own = 0;
    return read((bytes) => {
      own += bytes;
      if (own > LIMITS.external_alerts_body_bytes_max) throw tooLarge();
      onBytes?.(bytes);
    });
  };
}

function tooLarge(): LeewayError {
  const max = LIMITS.external_alerts_body_bytes_max;
  return new LeewayError('LW-BODY-SIZE', `body too large: more than ${max} bytes of alerts; send fewer at once`);
}
