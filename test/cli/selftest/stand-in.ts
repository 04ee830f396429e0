import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

type Row = Record<string, unknown>;
type Sample = { readonly part: string; readonly at_ms: number; readonly value: number | string };
type Account = Record<string, unknown>;

/** What a stand-in does wrong; without any of it the service is honest. */
export type Vice = {
  /** Answers this many requests of ingest with the status before it takes anything. */
  readonly busy?: { readonly times: number; readonly status: number };
  /** Steps as they are given back. */
  readonly steps?: (rows: readonly Row[]) => readonly Row[];
  /** Values of samples as they are given back. */
  readonly samples?: (samples: readonly Sample[]) => readonly Sample[];
  readonly series?: (parts: readonly string[]) => readonly string[];
  /** The line of the account as it is given back. */
  readonly account?: (line: Account) => Account;
  /** Lines of each body of records that are refused. */
  readonly refuse?: number;
  /** A repeat is taken for news. */
  readonly forgetful?: boolean;
};

/** A service in memory that speaks the routes of the selftest: what a proof must see through, planted. */
export type StandIn = AsyncDisposable & { readonly url: string; readonly requests: string[] };

type OtlpBody = {
  resourceMetrics: { scopeMetrics: { metrics: { gauge: { dataPoints: Point[] } }[] }[] }[];
};
type Point = {
  attributes: { key: string; value: { stringValue: string } }[];
  timeUnixNano: string;
  asDouble: number | string;
};

/** Starts a stand-in on a free port. */
export async function startStandIn(vice: Vice = {}): Promise<StandIn> {
  const state = new State(vice);
  const requests: string[] = [];
  const server = createServer((request, response) => {
    void textOf(request).then((body) => {
      requests.push(`${request.method} ${request.url}`);
      const { status, answer } = state.answer(request, body);
      response.writeHead(status, {
        'content-type': 'application/json',
        ...(status === 503 ? { 'retry-after': '0' } : {}),
      });
      response.end(JSON.stringify(answer));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // a TCP server's address is never a text
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer); // a request without an encoding yields buffers
  return Buffer.concat(chunks).toString('utf8');
}

type Answer = { readonly status: number; readonly answer: unknown };

class State {
  readonly #vice: Vice;
  readonly #records = new Map<string, Row>();
  readonly #samples = new Map<string, Sample>();
  readonly #sequences = new Set<number>();
  #run = '';
  #epoch = '';
  #extra = 0;
  #busy: number;

  constructor(vice: Vice) {
    this.#vice = vice;
    this.#busy = vice.busy?.times ?? 0;
  }

  answer({ url = '', headers, method }: IncomingMessage, body: string): Answer {
    const { pathname } = new URL(url, 'http://stand-in');
    if (method === 'POST') return this.#take(pathname, headers, body);
    if (pathname === '/healthz') return { status: 200, answer: { ok: true } };
    if (pathname === '/api/v1/delivery') return list(this.#epoch === '' ? [] : [this.#account()]);
    if (pathname.endsWith('/steps')) {
      const steps = [...this.#records.values()].filter(({ type }) => type === 'step');
      return list((this.#vice.steps ?? same)(steps));
    }
    const parts = [...new Set([...this.#samples.values()].map(({ part }) => part))];
    if (pathname === '/api/v1/series')
      return list(
        (this.#vice.series ?? same)(parts).map((part) => ({
          id: part,
          metric: 'leeway_selftest',
          labels: { leeway_selftest_run: this.#run, part },
        })),
      );
    const [, part] = /^\/api\/v1\/series\/(\w+)\/samples$/.exec(pathname) ?? [];
    if (part === undefined) return { status: 404, answer: { detail: 'no such thing' } };
    const own = [...this.#samples.values()].filter((sample) => sample.part === part);
    return list((this.#vice.samples ?? same)(own).map(({ at_ms, value }) => ({ at_ms, value })));
  }

  #take(path: string, headers: IncomingMessage['headers'], body: string): Answer {
    if (this.#busy-- > 0) return { status: this.#vice.busy?.status ?? 503, answer: { detail: 'come again' } };
    this.#epoch = String(headers['x-leeway-epoch']);
    const sequence = Number(headers['x-leeway-sequence']);
    const known = this.#sequences.has(sequence);
    this.#sequences.add(sequence);
    const refused = path === '/v1/events' ? (this.#vice.refuse ?? 0) : 0;
    const rows = path === '/v1/events' ? this.#records_of(body, refused) : this.#samplesOf(body);
    if (known && this.#vice.forgetful === true) this.#extra += rows;
    const rejected = Array.from({ length: refused }, () => ({ line: 1, code: 'LW-RECORD-FIELD', reason: 'planted' }));
    return { status: 200, answer: path === '/v1/events' ? { accepted: rows, rejected } : {} };
  }

  #records_of(body: string, refused: number): number {
    const lines = body.trim().split('\n').slice(refused);
    for (const line of lines) this.#records.set(line, JSON.parse(line) as Row); // equal records have equal lines
    return lines.length;
  }

  #samplesOf(body: string): number {
    const { resourceMetrics } = JSON.parse(body) as OtlpBody; // as marked-batch.ts writes it
    const points = resourceMetrics[0]?.scopeMetrics[0]?.metrics[0]?.gauge.dataPoints ?? [];
    for (const { attributes, timeUnixNano, asDouble } of points) {
      const label = (name: string): string => attributes.find(({ key }) => key === name)?.value.stringValue ?? '';
      this.#run = label('leeway_selftest_run');
      const sample = { part: label('part'), at_ms: Number(timeUnixNano.slice(0, -6)), value: asDouble };
      this.#samples.set(`${sample.part}/${sample.at_ms}`, sample);
    }
    return points.length;
  }

  #account(): Account {
    const parts = new Set([...this.#samples.values()].map(({ part }) => part));
    const stored = this.#records.size + this.#samples.size + parts.size + this.#extra;
    const line = {
      source: 'selftest',
      epoch: this.#epoch,
      emitted: stored,
      stored,
      in_flight: 0,
      declared_loss: {},
      duplicates_absorbed: 0,
      sequence_min: Math.min(...this.#sequences),
      sequence_max: Math.max(...this.#sequences),
      sequences_missing: 0,
    };
    return (this.#vice.account ?? ((own: Account) => own))(line);
  }
}

function same<Item>(items: readonly Item[]): readonly Item[] {
  return items;
}

function list(items: readonly unknown[]): Answer {
  return { status: 200, answer: { items, next_cursor: null } };
}
