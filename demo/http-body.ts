import type { IncomingMessage, ServerResponse } from 'node:http';
import { ERRORS, LeewayError } from '../src/core/errors.ts';

/**
 * The whole body of a request or answer. Rejects with LW-BODY-SIZE as soon as it passes `bytes_max` (the rest is read and
 * dropped, so that an answer can still be sent), and with LW-BODY when the peer breaks off.
 */
export function readBody(incoming: IncomingMessage, bytes_max: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let length = 0;
    incoming.on('data', (part: Buffer) => {
      length += part.length;
      if (length <= bytes_max) parts.push(part);
      else reject(new LeewayError('LW-BODY-SIZE', `body of more than ${bytes_max} bytes`));
    });
    incoming.once('end', () => resolve(Buffer.concat(parts)));
    incoming.once('error', (cause) => reject(new LeewayError('LW-BODY', 'body broken off', { cause })));
    incoming.once('close', () => reject(new LeewayError('LW-BODY', 'body broken off')));
  });
}

/** Answers with JSON. */
export function answer(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

/** Answers a failure with the status of its code, as problem+json; what is no LeewayError is 500 without detail. */
export function answerFailure(response: ServerResponse, error: unknown): void {
  const code = error instanceof LeewayError ? error.code : 'LW-INTERNAL';
  const { status, title } = ERRORS[code];
  const detail = error instanceof LeewayError ? error.message : title;
  response.writeHead(status, { 'content-type': 'application/problem+json' });
  response.end(JSON.stringify({ type: `urn:leeway:error:${code}`, title, status, detail, code }));
}
