import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Clock, ManualClock, systemClock } from '../../src/core/clock.ts';
import type { Route } from '../../src/server/route.ts';
import { createServer, type HttpServer } from '../../src/server/server.ts';
import { openTokens, type TokenBook } from '../../src/server/tokens.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { createServiceMetrics } from '../../src/telemetry/metrics.ts';
import { createMemory, type Memory, NOW_MS } from './memory.ts';

/** A directory that is gone when the test is. */
export async function temporaryDirectory(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'leeway-test-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** A line of a tokens file for `secret`, as `leeway token create` writes it. */
export function tokenLine(id: string, secret: string, scopes: readonly string[], expires_at_ms?: number): string {
  const sha256 = createHash('sha256').update(secret).digest('hex');
  return `${JSON.stringify({ id, sha256, scopes, ...(expires_at_ms === undefined ? {} : { expires_at_ms }) })}\n`;
}

/** Tokens `lw_<scope>_s3cret-<scope>`, one a scope, and one that is over. */
export async function tokensOfEveryScope(clock: Clock): Promise<TokenBook> {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, 'tokens.ndjson');
  const lines = ['ingest', 'read', 'operate', 'approve', 'admin'].map((scope) =>
    tokenLine(scope, `s3cret-${scope}`, [scope]),
  );
  await writeFile(path, [...lines, tokenLine('over', 's3cret-over', ['admin'], NOW_MS - 1)].join(''));
  return openTokens(path, clock);
}

export type Fixture = HttpServer & {
  readonly memory: Memory;
  readonly logged: string[];
  readonly clock: ManualClock;
} & AsyncDisposable;

/** A server over in-memory services; answers are held against their schemas. */
export async function createFixture(
  options: {
    tokens?: boolean;
    installation?: string;
    public_url?: string;
    clock?: Clock;
    serves?: (route: Route) => boolean;
  } = {},
): Promise<Fixture> {
  const memory = createMemory();
  const clock = new ManualClock(NOW_MS);
  const logged: string[] = [];
  const server = await createServer({
    settings: {
      host: '127.0.0.1',
      port: 0,
      public_url: options.public_url ?? null,
      tls: { cert_file: null, key_file: null },
    },
    services: memory.services,
    logger: createLogger({
      level: 'debug',
      format: 'json',
      isTerminal: false,
      color: false,
      write: (line) => void logged.push(line),
    }),
    metrics: createServiceMetrics('0.0.0-test'),
    tokens: options.tokens === true ? await tokensOfEveryScope(clock) : await openTokens(null, systemClock),
    version: '0.0.0-test',
    installation: options.installation ?? null,
    clock: options.clock ?? clock,
    checkAnswers: true,
    ...(options.serves && { serves: options.serves }),
  });
  return { ...server, memory, logged, clock, [Symbol.asyncDispose]: () => server.app.close() };
}

/** The header of the token of one scope. */
export function bearer(scope: string): { authorization: string } {
  return { authorization: `Bearer lw_${scope}_s3cret-${scope}` };
}

/** A step record as one line. */
export function stepLine(step: number): string {
  return JSON.stringify({
    type: 'step',
    job: 'digits',
    rank: 0,
    step,
    at_ms: NOW_MS + step,
    duration_ms: 100,
    compute_ms: 80,
    data_ms: 5,
    phase: 'train',
  });
}
