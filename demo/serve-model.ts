import { timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { LeewayError } from '../src/core/errors.ts';
import type { LeewayRecord } from '../src/core/records.ts';
import { type Parent, runChild } from './child.ts';
import { PIXELS } from './digits.ts';
import { type ClaimOf, claimSlices, openEmitter } from './emitter.ts';
import { answer, answerFailure, readBody } from './http-body.ts';
import { instrument } from './instrument.ts';
import { LiveModel } from './live-model.ts';
import { argmax } from './network.ts';
import { inputOf, probabilitiesOf } from './onnx-session.ts';
import type { LeewayTarget } from './event-transport.ts';
import type { SenderAccount } from './sender.ts';
import { unixNow_ms } from './timeline.ts';

export type ServeConfig = {
  readonly model: string;
  readonly replica: string;
  /** Port on 127.0.0.1; 0 takes a free one. */
  readonly port: number;
  /** Bearer secret of `POST /models/{version}`. */
  readonly deploy_secret: string;
  readonly claim: ClaimOf;
  readonly leeway: LeewayTarget | null;
};

/** What the server tells each second and at its end. */
export type ServeStatus = {
  readonly version: string | null;
  readonly requests: number;
  readonly errors: number;
  readonly deployments: number;
};
export type ServeResult = ServeStatus & { readonly account: SenderAccount };

/** The largest model of the demo is 204 KB; 16 MiB leaves room to try others. */
const MODEL_BYTES_MAX = 16 * 1_048_576;
/** Longer than any client's pause: a server that closes idle connections after 5 s lost 40 of 40 requests of a stalled client. */
const KEEP_ALIVE_MS = 65_000;
const REPORT_MS = 1_000;
const FLUSH_MS_MAX = 5_000;
const DRAIN_MS_MAX = 2_000;
const LOOPBACK = /^(127\.|::1$|::ffff:127\.)/;
const VERSION = /^\/models\/([A-Za-z0-9._-]{1,64})$/;
const REQUEST_ID = /^[\x21-\x7e]{1,200}$/;

/** What the handlers share. */
type Service = {
  readonly config: ServeConfig;
  readonly live: LiveModel;
  readonly emit: (record: LeewayRecord) => void;
  readonly count: { requests: number; errors: number; deployments: number };
};

async function main(config: ServeConfig, parent: Parent): Promise<void> {
  const emitter = openEmitter(config.leeway, parent);
  const service = openService(config, (record) => emitter.emit(record));
  const server = openServer(service);
  server.listen(config.port, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // a TCP server's address is never a text
  const report = openReport(service, parent);
  const timer = setInterval(report, REPORT_MS);
  await parent.send({ listening: { port } });
  await stopped(parent);
  await closeServer(server);
  clearInterval(timer);
  report();
  const account = await emitter.close(FLUSH_MS_MAX);
  const done: ServeResult = { ...statusOf(service), account };
  await parent.send({ done });
}

function openService(config: ServeConfig, emit: (record: LeewayRecord) => void): Service {
  const { model, replica } = config;
  const live = new LiveModel((session, version) => instrument(session, { model, version, replica }, emit));
  return { config, live, emit, count: { requests: 0, errors: 0, deployments: 0 } };
}

function openServer(service: Service): Server {
  const server = createServer((request, response) => {
    route(service, request, response).catch((error: unknown) => {
      service.count.errors++;
      if (!response.headersSent) answerFailure(response, error);
      else response.destroy();
    });
  });
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  server.headersTimeout = KEEP_ALIVE_MS + 1_000;
  return server;
}

async function route(service: Service, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = request.url ?? '';
  const version = VERSION.exec(path)?.[1];
  if (request.method === 'POST' && path === '/predict') await handlePredict(service, request, response);
  else if (request.method === 'POST' && version !== undefined) await handleDeploy(service, request, response, version);
  else if (request.method === 'GET' && path === '/healthz') answer(response, 200, statusOf(service));
  else throw new LeewayError('LW-NOT-FOUND', `${request.method} ${path}: no such route`);
}

/** 784 bytes in, class and scores out. The header x-evaluation marks requests that monitoring must not see. */
async function handlePredict(
  { live, count }: Service,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const request_id = String(request.headers['x-request-id'] ?? '');
  if (!REQUEST_ID.test(request_id))
    throw new LeewayError('LW-BODY', 'header x-request-id: expected 1 to 200 visible characters');
  const pixels = await readBody(request, PIXELS);
  if (pixels.length !== PIXELS) throw new LeewayError('LW-BODY', `body of ${pixels.length} bytes, expected ${PIXELS}`);
  const evaluation = request.headers['x-evaluation'] !== undefined;
  const { version, scores } = await live.use(async ({ version, session, instrumented }) => {
    const input = inputOf(pixels);
    const outputs = evaluation ? await session.run(input) : await instrumented.run(input, { request_id });
    return { version, scores: probabilitiesOf(outputs) };
  });
  if (!evaluation) count.requests++;
  answer(response, 200, { request_id, version, label: argmax(scores), scores: Array.from(scores) });
}

/** Loads an ONNX file as `version`; only from this machine and with the secret. `?` parameters are not accepted. */
async function handleDeploy(
  { config, live, emit, count }: Service,
  request: IncomingMessage,
  response: ServerResponse,
  version: string,
): Promise<void> {
  if (!LOOPBACK.test(request.socket.remoteAddress ?? ''))
    throw new LeewayError('LW-FORBIDDEN', 'models are loaded from loopback only');
  if (!isSecret(request.headers.authorization ?? '', config.deploy_secret))
    throw new LeewayError('LW-UNAUTHENTICATED', 'authorization: expected the deployment secret as bearer token');
  const began_ms = performance.now();
  const previous = await live.deploy(version, await readBody(request, MODEL_BYTES_MAX));
  const action = request.headers['x-deploy-action'] === 'rollback' ? 'rollback' : 'deploy';
  const before = previous === null ? {} : { previous };
  emit({ type: 'deploy', model: config.model, version, at_ms: unixNow_ms(), ...before, action });
  count.deployments++;
  answer(response, 200, { version, previous, duration_ms: performance.now() - began_ms });
}

function isSecret(header: string, secret: string): boolean {
  const given = Buffer.from(header);
  const expected = Buffer.from(`Bearer ${secret}`);
  return given.length === expected.length && timingSafeEqual(given, expected);
}

/** Each second: what the session measured, a claim of the machine, the requests it served, and the status to the parent. */
function openReport(service: Service, parent: Parent): () => void {
  const { config, live, emit, count } = service;
  const claim = claimSlices(config.claim, emit);
  let reported = 0;
  return () => {
    live.flush();
    const slice = claim();
    if (slice !== null) {
      const { asset, tenant } = config.claim;
      emit({
        type: 'served',
        model: config.model,
        tenant: { ...tenant },
        asset,
        ...slice,
        requests: count.requests - reported,
      });
      reported = count.requests;
    }
    void parent.send({ serving: statusOf(service) });
  };
}

function statusOf({ live, count }: Service): ServeStatus {
  return { version: live.version, ...count };
}

function stopped(parent: Parent): Promise<void> {
  return new Promise((resolve) => {
    parent.ending.addEventListener('abort', () => resolve());
    parent.receive((message) => {
      if (message['stop'] === true) resolve();
    });
  });
}

/** Lets running requests end, then closes kept connections; cuts off what is left after 2 s. */
async function closeServer(server: Server): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  server.closeIdleConnections();
  const limit = setTimeout(() => server.closeAllConnections(), DRAIN_MS_MAX);
  await closed;
  clearTimeout(limit);
}

if (import.meta.main) runChild(main);
