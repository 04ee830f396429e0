import Type from 'typebox';
import { defineTarget } from '../../core/define.ts';
import { classifyHttp } from '../../formats/http-outcome.ts';
import { webhookRequest } from '../../formats/webhook-request.ts';

/**
 * A pipeline behind an HTTPS endpoint: `leeway.retrain.requested` with `dispatch_key` as the idempotency key of the
 * run; the pipeline answers through `status_url`. Airflow, Argo Events, GitHub Actions and Kubeflow take it as it is.
 */
export const webhook = defineTarget({
  name: 'webhook',
  about: 'Starts a retraining pipeline with one signed POST.',
  config: Type.Object(
    {
      url: Type.String({ pattern: '^https?://[^\\s]+$', maxLength: 2048 }),
      secret_file: Type.Optional(Type.String({ minLength: 1 })),
    },
    { additionalProperties: false },
  ),
  accepts: (type) => type.startsWith('leeway.retrain.') || type.startsWith('leeway.rollback.'),
  render: webhookRequest,
  classify: classifyHttp,
});
