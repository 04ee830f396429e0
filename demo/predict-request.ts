import { Agent, request } from 'node:http';
import { systemCode } from '../src/core/errors.ts';
import { ok, type Outcome, reject, retry } from '../src/core/outcome.ts';
import { readBody } from './http-body.ts';

/** What the model server answers to one image. */
export type Prediction = { readonly version: string; readonly label: number };

export type PredictRequest = {
  readonly request_id: string;
  readonly pixels: Uint8Array;
  /** Kept out of monitoring. */
  readonly evaluation: boolean;
};

const REQUEST_MS_MAX = 10_000;
const ANSWER_BYTES_MAX = 65_536;

/** Connections to the model server: 16 at 1 ms a request carry far more than 60 requests a second. */
export function openAgent(): Agent {
  return new Agent({ keepAlive: true, maxSockets: 16 });
}

/** One attempt at `POST {base_url}/predict`. Retry: network errors, time-out and 5xx; reject: other statuses. */
export function postPredict(base_url: string, agent: Agent, sent: PredictRequest): Promise<Outcome<Prediction>> {
  return new Promise((resolve) => {
    const failed = (error: unknown): void => resolve(retry('LW-UNREACHABLE', systemCode(error) ?? 'broken off'));
    const headers: Record<string, string> = {
      'content-length': String(sent.pixels.length),
      'x-request-id': sent.request_id,
    };
    if (sent.evaluation) headers['x-evaluation'] = '1';
    const outgoing = request(`${base_url}/predict`, { method: 'POST', agent, headers }, (incoming) => {
      readBody(incoming, ANSWER_BYTES_MAX).then((body) => resolve(outcomeOf(incoming.statusCode ?? 0, body)), failed);
    });
    outgoing.once('error', failed);
    outgoing.setTimeout(REQUEST_MS_MAX, () => outgoing.destroy());
    outgoing.end(sent.pixels);
  });
}

function outcomeOf(status: number, body: Buffer): Outcome<Prediction> {
  const text = body.toString('utf8');
  if (status >= 500) return retry('LW-DELIVERY', `status ${status} ${text.slice(0, 200)}`);
  if (status !== 200) return reject('LW-DELIVERY', `status ${status} ${text.slice(0, 200)}`);
  const answer = JSON.parse(text) as Partial<Prediction>; // the parse door: checked on the next line
  if (typeof answer.version !== 'string' || typeof answer.label !== 'number')
    return reject('LW-DELIVERY', `answer without version and label: ${text.slice(0, 200)}`);
  return ok({ version: answer.version, label: answer.label });
}
