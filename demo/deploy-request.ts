import { LeewayError, systemCode } from '../src/core/errors.ts';

export type DeployRequest = {
  readonly base_url: string;
  readonly secret: string;
  readonly version: string;
  readonly onnx: Uint8Array;
  readonly action?: 'deploy' | 'rollback';
};

const DEPLOY_MS_MAX = 30_000;

/** Loads a version into the model server. Throws LW-UNREACHABLE when it does not answer and LW-DELIVERY when it refuses. */
export async function deployModel(options: DeployRequest): Promise<void> {
  const { base_url, secret, version, onnx, action = 'deploy' } = options;
  const url = `${base_url}/models/${encodeURIComponent(version)}`;
  const headers = { authorization: `Bearer ${secret}`, 'x-deploy-action': action };
  const body = Uint8Array.from(onnx);
  const response = await fetch(url, {
    method: 'POST',
    headers,
    body,
    signal: AbortSignal.timeout(DEPLOY_MS_MAX),
  }).catch((cause: unknown) => {
    throw new LeewayError('LW-UNREACHABLE', `${url}: no answer (${systemCode(cause) ?? 'broken off'})`, { cause });
  });
  const text = await response.text();
  if (!response.ok) throw new LeewayError('LW-DELIVERY', `${url}: status ${response.status} ${text.slice(0, 300)}`);
}
