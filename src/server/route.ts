import type { Readable } from 'node:stream';
import type { Static, TObject, TSchema } from 'typebox';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { ServiceMetrics } from '../telemetry/metrics.ts';
import type { Services } from './services.ts';

/** Scopes of tokens (contract: api.md "Auth"); a scope opens its own routes only, `admin` all. */
export const SCOPES = ['ingest', 'read', 'operate', 'approve', 'admin'] as const;
export type Scope = (typeof SCOPES)[number];

/** What routes may use. */
export type RouteContext = {
  readonly services: Services;
  readonly logger: Logger;
  readonly metrics: ServiceMetrics;
  readonly clock: Clock;
  /** Aborted when the server closes. */
  readonly signal: AbortSignal;
};

/** Reads a body, unpacked and capped, once; `onBytes` is told of bytes while they arrive, and refuses the body by throwing. */
export type BodyReader = (onBytes?: (bytes: number) => void) => Promise<Buffer>;

/** One request as a route sees it: parsed, authorised, with its body as the route's `body` says. */
export type Call<Query, Params, Body> = {
  readonly query: Query;
  readonly params: Params;
  /** JSON bodies: the checked value. Bodies of bytes: undefined, see `bytes`. */
  readonly body: Body;
  readonly bytes: BodyReader;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly actor: string;
  /** The path asked for, without the query. */
  readonly path: string;
  /** Aborted when the client goes away or the server closes. */
  readonly signal: AbortSignal;
};

/** An answer that is not plain JSON with the route's own status. */
export class Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly content: string | Buffer | Readable | null;

  constructor(status: number, headers: Readonly<Record<string, string>>, content: string | Buffer | Readable | null) {
    this.status = status;
    this.headers = headers;
    this.content = content;
  }
}

/**
 * A route as data: method, path with `{id}` parameters, scope (null = open to all), schemas and what it runs. The
 * same object registers the route, validates its requests, documents it in OpenAPI and is what tests enumerate.
 */
export type Route = {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly scope: Scope | null;
  readonly summary: string;
  readonly query: TObject | null;
  readonly params: TObject | null;
  /** `stream`: bytes for the route itself, up to the ingest caps. A schema: JSON, closed, up to 1 MiB. */
  readonly body: TObject | 'stream' | null;
  /** Values of `content-encoding` that the route unpacks itself. */
  readonly unpacks: readonly string[];
  /** Stream bodies that are one JSON document: what it looks like; null = lines of JSON. */
  readonly document: TSchema | null;
  /** A present `webhook-signature` replaces the bearer token, and must then be right. */
  readonly signed: boolean;
  /** False for the console's files: they are no API. */
  readonly documented: boolean;
  readonly status: number;
  /** The JSON answer's schema, or its media type where it is not JSON. */
  readonly answer: TSchema | string;
  readonly run: (call: Call<unknown, unknown, unknown>, context: RouteContext) => Promise<unknown>;
};

type Shape<Schema> = Schema extends TSchema ? Static<Schema> : undefined;

/** Makes a route; absent parts default to none, the status to 200. The answer's type is checked against its schema. */
export function defineRoute<
  const Query extends TObject | null = null,
  const Params extends TObject | null = null,
  const Body extends TObject | 'stream' | null = null,
  const Reply extends TSchema | string = string,
>(definition: {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly scope: Scope | null;
  readonly summary: string;
  readonly query?: Query;
  readonly params?: Params;
  readonly body?: Body;
  readonly unpacks?: readonly string[];
  readonly document?: TSchema;
  readonly signed?: boolean;
  readonly documented?: boolean;
  readonly status?: number;
  readonly answer: Reply;
  readonly run: (
    call: Call<Shape<Query>, Shape<Params>, Shape<Body>>,
    context: RouteContext,
  ) => Promise<Answer | (Reply extends TSchema ? Static<Reply> : never)>;
}): Route {
  return {
    query: null,
    params: null,
    body: null,
    unpacks: [],
    document: null,
    signed: false,
    documented: true,
    status: 200,
    ...definition,
    run: definition.run as Route['run'], // the parse door: the server checks each part against its schema before `run`
  };
}
