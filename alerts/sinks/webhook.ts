import Type from 'typebox';
import { defineSink } from '../../src/core/define.ts';
import { classifyHttp } from '../../src/formats/http-outcome.ts';
import { webhookRequest } from '../../src/formats/webhook-request.ts';

/** Types that are for one kind of sink only and no part of the webhook contract. */
const NOT_OURS = new Set(['leeway.incident.acknowledged']);

/** Any HTTPS endpoint: one signed POST (see formats/webhook-request.ts). */
export const webhook = defineSink({
  name: 'webhook',
  about: 'POST to an address of yours, signed by Standard Webhooks and readable as a CloudEvent.',
  config: Type.Object(
    {
      url: Type.String({ pattern: '^https?://[^\\s]+$', maxLength: 2048 }),
      /** A file with `whsec_` + base64; a second line is the next secret during a rotation. */
      secret_file: Type.Optional(Type.String({ minLength: 1 })),
    },
    { additionalProperties: false },
  ),
  accepts: (type) => !NOT_OURS.has(type),
  render: webhookRequest,
  classify: classifyHttp,
});
