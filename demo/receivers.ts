import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { verifyWebhook } from '../src/transport/webhook-signature.ts';

/** A request for retraining whose signature was right. */
export type RetrainRequest = {
  readonly dispatch_key: string;
  readonly model: string;
  readonly status_url: string;
  readonly decision_id: string;
};

export type Receivers = {
  readonly port: number;
  /** Requests received by path, for the demo's own account. */
  readonly received: ReadonlyMap<string, number>;
  readonly refused: () => number;
  readonly close: () => Promise<void>;
};

const BODY_BYTES_MAX = 65_536;

/**
 * The other side of every notification: a signed webhook, a Slack-like, a PagerDuty-like and an Alertmanager-like
 * endpoint, and the retraining pipeline's door, which verifies the signature and starts one run a dispatch key.
 */
export async function openReceivers(
  secrets: { readonly webhook: string; readonly target: string },
  onRetrain: (request: RetrainRequest) => void,
): Promise<Receivers> {
  const received = new Map<string, number>();
  const started = new Set<string>();
  let refused = 0;
  const server = createServer((request, response) => {
    void readBody(request).then((body) => {
      const path = request.url ?? '/';
      const secret = path === '/retrain' ? secrets.target : path === '/webhook' ? secrets.webhook : null;
      const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
      const genuine = secret === null || verifyWebhook([secret], { headers, body }, Date.now());
      if (!genuine) {
        refused++;
        response.writeHead(401).end();
        return;
      }
      received.set(path, (received.get(path) ?? 0) + 1);
      response.writeHead(path === '/v2/enqueue' ? 202 : 200, { 'content-type': 'text/plain' }).end('ok');
      const asked = path === '/retrain' ? retrainRequest(body) : null;
      if (asked === null || started.has(asked.dispatch_key)) return; // the same key never starts a second run
      started.add(asked.dispatch_key);
      onRetrain(asked);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // a TCP server's address is never a text
  return { port, received, refused: () => refused, close: () => close(server) };
}

async function readBody(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request.setEncoding('utf8')) {
    text += String(chunk);
    if (text.length > BODY_BYTES_MAX) break;
  }
  return text;
}

function retrainRequest(body: string): RetrainRequest | null {
  const message: unknown = JSON.parse(body);
  if (typeof message !== 'object' || message === null || Reflect.get(message, 'type') !== 'leeway.retrain.requested')
    return null;
  return Reflect.get(message, 'data') as RetrainRequest; // the parse door: the signature was right, the contract says its shape
}

function close(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}
