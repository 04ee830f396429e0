import { readFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { fastify, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import Type, { type TSchema } from 'typebox';
import Value from 'typebox/value';
import { assert } from '../core/assert.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { type ErrorCode, ERRORS, LeewayError, systemCode } from '../core/errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { ServiceMetrics } from '../telemetry/metrics.ts';
import { type Admission, createGuard, type Guard } from './guard.ts';
import { CONTROL_CAPS, INGEST_CAPS, readBody } from './body.ts';
import { openApi } from './openapi.ts';
import { problemFrom, problemHeaders, problemOf } from './problem.ts';
import { parseBody, parseParams, parseQuery } from './request.ts';
import { Answer, type BodyReader, type Call, defineRoute, type Route, type RouteContext } from './route.ts';
import { alertRoutes } from './routes/alerts.ts';
import { costRoutes } from './routes/costs.ts';
import { decisionRoutes } from './routes/decisions.ts';
import { deliveryRoutes } from './routes/delivery.ts';
import { eventRoutes } from './routes/events.ts';
import { incidentRoutes } from './routes/incidents.ts';
import { jobRoutes } from './routes/jobs.ts';
import { modelRoutes } from './routes/models.ts';
import { otlpRoutes } from './routes/otlp.ts';
import { remoteWriteRoutes } from './routes/remote-write.ts';
import { seriesRoutes } from './routes/series.ts';
import { streamRoutes, systemRoutes } from './routes/system.ts';
import type { Services } from './services.ts';
import { SampleIntake } from './sample-intake.ts';
import { contentSecurityPolicy, fileAnswer, loadStatic, type StaticFile, staticRoutes } from './static.ts';
import type { TokenBook } from './tokens.ts';

/** `server` of the configuration. */
export type ServerSettings = {
  readonly host: string;
  readonly port: number;
  readonly public_url: string | null;
  readonly tls: { readonly cert_file: string | null; readonly key_file: string | null };
};

export type ServerOptions = {
  readonly settings: ServerSettings;
  readonly services: Services;
  readonly logger: Logger;
  readonly metrics: ServiceMetrics;
  readonly tokens: TokenBook;
  /** The version in package.json. */
  readonly version: string;
  /** The root that `web/` and `node_modules/` are in; null = no console. */
  readonly installation: string | null;
  /** Which of the routes this process answers. Default: all. */
  readonly serves?: (route: Route) => boolean;
  readonly clock?: Clock;
  /** Tests: an answer that does not fit its schema is a failure. */
  readonly checkAnswers?: boolean;
};

/** A server that is made and not yet listening. `inject` serves a request without a socket. */
export type HttpServer = {
  readonly app: FastifyInstance;
  /** Everything that it serves, as data. */
  readonly routes: readonly Route[];
};

/** Clients behind a load balancer of 60 s idle time must never see us close first. */
const KEEP_ALIVE_MS = 65_000;
/** A body of 16 MiB over 1.2 Mbit/s. Slower or silent senders lose their connection. */
const REQUEST_MS = 120_000;
/** Headers are a few hundred bytes: a connection that says nothing or trickles them does not keep its place. */
const HEADERS_MS = 20_000;
/** An idle or slow connection holds about 17 KiB: 170 MB at most. Files of the spool and the store need descriptors, too. */
const CONNECTIONS_MAX = 10_000;
/** Requests under way at a stop are let finish; a body that never ends or a silent connection must not outlast 10 s. */
const DRAIN_MS = 3_000;

/**
 * Makes the HTTP server: console, API and ingest. Nothing listens yet (see listen.ts). Closing `app` ends streams and
 * idle connections. Throws LW-CONFIG when the TLS files cannot be read.
 */
export async function createServer(options: ServerOptions): Promise<HttpServer> {
  const closing = new AbortController();
  const clock = options.clock ?? systemClock;
  const context: RouteContext = { ...options, clock, signal: closing.signal };
  const files = options.installation === null ? [] : await loadStatic(options.installation);
  const routes = allRoutes(context, files, options.version).filter(options.serves ?? (() => true));
  const guard = createGuard({ tokens: options.tokens, public_url: options.settings.public_url });
  const app = fastify({
    ...(await protocolOptions(options.settings.tls)),
    logger: false,
    bodyLimit: INGEST_CAPS.sent_max,
    keepAliveTimeout: KEEP_ALIVE_MS,
    requestTimeout: REQUEST_MS,
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: 1024 },
    clientErrorHandler: answerClientError,
    frameworkErrors: (_error, request, reply) =>
      sendProblem(reply, new LeewayError('LW-HTTP', 'the address of the request is malformed'), request.url),
  });
  app.server.headersTimeout = HEADERS_MS;
  app.server.maxConnections = CONNECTIONS_MAX;
  secure(app, options);
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, _payload, done) => done(null));
  app.addHook('preClose', async () => {
    closing.abort(new LeewayError('LW-BUSY', 'the service is ending; send this again'));
    if (app.server.listening) cutOff(app.server, clock);
  });
  app.setErrorHandler((error, request, reply) => {
    const known = knownError(error);
    report(options.logger, known, request);
    return sendProblem(reply, known, pathOf(request));
  });
  for (const route of routes) register(app, { route, guard, context, checkAnswers: options.checkAnswers === true });
  app.setNotFoundHandler((request, reply) => answerUnknown(request, reply, { routes, guard, files }));
  await app.ready();
  return { app, routes };
}

/** Ends every connection that is still there DRAIN_MS after the stop. */
function cutOff(server: FastifyInstance['server'], clock: Clock): void {
  const closed = new AbortController();
  server.once('close', () => closed.abort());
  clock.sleep(DRAIN_MS, closed.signal).then(
    () => server.closeAllConnections(),
    () => undefined, // all had ended by themselves
  );
}

function allRoutes(context: RouteContext, files: readonly StaticFile[], version: string): readonly Route[] {
  const intake = new SampleIntake();
  const routes: Route[] = [
    ...eventRoutes(),
    ...alertRoutes(),
    ...remoteWriteRoutes(intake),
    ...otlpRoutes(intake),
    ...seriesRoutes,
    ...jobRoutes,
    ...modelRoutes,
    ...incidentRoutes,
    ...decisionRoutes,
    ...costRoutes,
    ...deliveryRoutes,
    ...systemRoutes,
    ...streamRoutes(context),
  ];
  const description = defineRoute({
    method: 'GET',
    path: '/openapi.json',
    scope: 'read',
    summary: 'This description, generated from the schemas that validate requests',
    answer: Type.Object({ openapi: Type.Literal('3.1.0') }),
    run: async () => new Answer(200, { 'content-type': 'application/json' }, document),
  });
  routes.push(description);
  const document = JSON.stringify(openApi(routes, version));
  return [...routes, ...staticRoutes(files)];
}

/** A missing Host header is answered by the guard, as a problem, not by Node's bare 400. */
const HTTP_OPTIONS = { requireHostHeader: false };

async function protocolOptions(tls: ServerSettings['tls']) {
  if (tls.cert_file === null || tls.key_file === null) return { http: HTTP_OPTIONS };
  const read = (path: string): Promise<Buffer> =>
    readFile(path).catch((error: unknown) => {
      const reason = systemCode(error) ?? 'unknown reason';
      throw new LeewayError('LW-CONFIG', `server.tls: ${path} cannot be read (${reason})`, { cause: error });
    });
  return { https: { ...HTTP_OPTIONS, cert: await read(tls.cert_file), key: await read(tls.key_file) } };
}

const API_POLICY = "default-src 'none'; frame-ancestors 'none'";

function secure(app: FastifyInstance, options: ServerOptions): void {
  app.addHook('onSend', async (_request, reply) => {
    const headers: Record<string, string> = {
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer',
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-resource-policy': 'same-origin',
      'permissions-policy': 'camera=(), geolocation=(), microphone=()',
    };
    if (options.settings.tls.cert_file !== null) headers['strict-transport-security'] = 'max-age=31536000';
    if (!reply.hasHeader('content-security-policy')) headers['content-security-policy'] = API_POLICY;
    if (!reply.hasHeader('cache-control')) headers['cache-control'] = 'no-store';
    reply.headers(headers);
  });
  app.addHook('onResponse', async (request, reply) => {
    options.logger.debug(
      { method: request.method, path: pathOf(request), status: reply.statusCode, duration_ms: reply.elapsedTime },
      'request',
    );
  });
}

type Registration = {
  readonly route: Route;
  readonly guard: Guard;
  readonly context: RouteContext;
  readonly checkAnswers: boolean;
};

function register(app: FastifyInstance, registration: Registration): void {
  const { route, guard } = registration;
  const admissions = new WeakMap<FastifyRequest, Admission>();
  app.route({
    method: methodsOf(route),
    url: route.path.replaceAll(/\{(\w+)\}/g, ':$1'),
    onRequest: async (request) => {
      admissions.set(request, await guard.admit(route, request.headers));
    },
    handler: async (request, reply) => {
      const admission = admissions.get(request);
      assert(admission !== undefined, 'every request passes the guard before its handler');
      const call = await callOf(request, reply, admission, registration);
      return send(reply, await route.run(call, registration.context), registration);
    },
  });
}

/** HEAD goes with GET, but for an answer that never ends. */
function methodsOf({ method, answer }: Route): (Route['method'] | 'HEAD')[] {
  return method === 'GET' && answer !== 'text/event-stream' ? ['GET', 'HEAD'] : [method];
}

type Parts = Call<unknown, unknown, unknown>;

async function callOf(
  request: FastifyRequest,
  reply: FastifyReply,
  admission: Admission,
  { route, context }: Registration,
): Promise<Parts> {
  const query = parseQuery(route.query, Object(request.query));
  const params = parseParams(route.params, request.params);
  const caps = route.body === 'stream' ? INGEST_CAPS : CONTROL_CAPS;
  const { headers } = request;
  const bytes: BodyReader = (onBytes) =>
    readBody(request.raw, headers, { caps, asItIs: route.unpacks, ...(onBytes === undefined ? {} : { onBytes }) });
  let actor = admission.actor;
  let body: unknown;
  if (route.body !== null && route.body !== 'stream') {
    const raw = await bytes();
    if (admission.signature !== null) {
      const id = idOf(params);
      const signed = { headers: admission.signature, body: raw };
      if (!(await context.services.operate.verifyRunSignature(id, signed)))
        throw new LeewayError('LW-SIGNATURE', 'the webhook signature does not fit this run, its body or its time');
      actor = `webhook:${id}`;
    }
    body = parseBody(route.body, raw, headers['content-type']);
  }
  let signal: AbortSignal | undefined;
  return {
    query,
    params,
    body,
    bytes,
    headers,
    actor,
    path: pathOf(request),
    get signal() {
      return (signal ??= signalOf(reply, context)); // most calls are over before anybody asks
    },
  };
}

function signalOf(reply: FastifyReply, context: RouteContext): AbortSignal {
  const gone = new AbortController();
  // a reason with a code: a sender whose time is over is no failure of ours
  const abort = (): void => gone.abort(new LeewayError('LW-HTTP-TIMEOUT', 'the client went away unanswered'));
  if (reply.raw.destroyed) abort();
  reply.raw.once('close', abort);
  return AbortSignal.any([gone.signal, context.signal]);
}

function idOf(params: unknown): string {
  return typeof params === 'object' && params !== null ? String(Reflect.get(params, 'id')) : '';
}

function send(reply: FastifyReply, result: unknown, { route, checkAnswers }: Registration): FastifyReply {
  // Bytes, not text: the framework adds a charset to the media type of texts.
  if (result instanceof Answer) {
    const content = typeof result.content === 'string' ? Buffer.from(result.content) : result.content;
    return reply.code(result.status).headers(result.headers).send(content);
  }
  if (checkAnswers && typeof route.answer !== 'string') requireFit(route, route.answer, result);
  return reply
    .code(route.status)
    .header('content-type', 'application/json')
    .send(Buffer.from(JSON.stringify(result)));
}

function requireFit(route: Route, schema: TSchema, result: unknown): void {
  const [first] = Value.Errors(schema, result);
  assert(first === undefined, `${route.method} ${route.path} answers as its schema says: ${JSON.stringify(first)}`);
}

type Unknown = { readonly routes: readonly Route[]; readonly guard: Guard; readonly files: readonly StaticFile[] };

/** 405 where the path exists, the console's page where a browser asks for one of its addresses, else 404. */
async function answerUnknown(request: FastifyRequest, reply: FastifyReply, unknown: Unknown): Promise<FastifyReply> {
  const path = pathOf(request);
  const reserved = /^\/(api|v1|-|vendor|openapi\.json|metrics)(\/|$)/.test(path);
  await unknown.guard.admit(
    { scope: reserved ? 'any' : null, path, method: request.method, signed: false },
    request.headers,
  );
  const methods = new Set(unknown.routes.filter((route) => matches(route.path, path)).flatMap(methodsOf));
  if (methods.size > 0) {
    reply.header('allow', [...methods].join(', '));
    throw new LeewayError('LW-METHOD', `${request.method} is not possible here`);
  }
  const page = unknown.files.find((file) => file.path === '/index.html');
  const browser = request.method === 'GET' && String(request.headers.accept ?? '').includes('text/html');
  if (page !== undefined && browser && !reserved && !/\.[a-z0-9]+$/i.test(path)) {
    const answer = fileAnswer(page, contentSecurityPolicy(unknown.files), request.headers['if-none-match']);
    return reply.code(answer.status).headers(answer.headers).send(answer.content);
  }
  throw new LeewayError('LW-NOT-FOUND', 'nothing is served at this path; GET /openapi.json lists what is');
}

function matches(pattern: string, path: string): boolean {
  const [left, right] = [pattern.split('/'), path.split('/')];
  return left.length === right.length && left.every((part, index) => part.startsWith('{') || part === right[index]);
}

function pathOf(request: FastifyRequest): string {
  return request.url.split('?')[0] ?? '';
}

function sendProblem(reply: FastifyReply, error: unknown, instance: string): FastifyReply {
  const problem = problemFrom(error, instance);
  // A body that was not read to its end would go on arriving: its connection ends with the answer.
  if (problem.status === 413 && !reply.request.raw.complete) reply.header('connection', 'close');
  return reply
    .code(problem.status)
    .headers(problemHeaders(problem))
    .send(Buffer.from(JSON.stringify(problem)));
}

/** The framework's own refusals, by their code, in our words. */
function knownError(error: unknown): unknown {
  if (error instanceof LeewayError) return error;
  const code = systemCode(error) ?? '';
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') return new LeewayError('LW-BODY-SIZE', 'the body is too large');
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE')
    return new LeewayError('LW-MEDIA-TYPE', 'the content-type of the body is not supported');
  if (code.startsWith('FST_ERR_CTP_') || code === 'FST_ERR_BAD_URL')
    return new LeewayError('LW-HTTP', 'the request is malformed');
  return error;
}

function report(logger: Logger, error: unknown, request: FastifyRequest): void {
  const fields = { method: request.method, path: pathOf(request) };
  if (!(error instanceof LeewayError))
    logger.error({ ...fields, stack: error instanceof Error ? error.stack : String(error) }, 'request failed');
  else if (ERRORS[error.code].status >= 500)
    logger.warn({ ...fields, code: error.code, reason: error.message }, 'request refused');
}

/** What the HTTP parser refuses never becomes a request: the problem is written to the bare socket. */
function answerClientError(error: Error, socket: Socket): void {
  if (socket.destroyed || !socket.writable) return;
  const kinds: Readonly<Record<string, ErrorCode>> = {
    HPE_HEADER_OVERFLOW: 'LW-HTTP-HEADERS',
    ERR_HTTP_REQUEST_TIMEOUT: 'LW-HTTP-TIMEOUT',
  };
  const code = kinds[systemCode(error) ?? ''] ?? 'LW-HTTP';
  const problem = problemOf(code, 'the request cannot be read as HTTP/1.1', '');
  const body = JSON.stringify(problem);
  const lines = [
    `HTTP/1.1 ${problem.status} ${problem.title}`,
    'content-type: application/problem+json',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
    'x-content-type-options: nosniff',
    'cache-control: no-store',
  ];
  socket.end(`${lines.join('\r\n')}\r\n\r\n${body}`);
}
