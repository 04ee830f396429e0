// An HTTP server that speaks as much of ClickHouse's HTTP interface as the store's client uses, in front of a private chdb
// engine. Started by clickhouse-double.ts with a directory; sends its port. Not a ClickHouse server: `input()` is replaced
// by file() of the body, users and quorum are imitated, there are no replicas.
import { writeFileSync, unlinkSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import type { Session as ChdbSession } from 'chdb';
import type { DoubleRequest, Fault } from './clickhouse-double.ts';

const die = (): void => void process.kill(process.pid, 'SIGKILL'); // the engine's teardown can hang
process.on('disconnect', die);
process.on('SIGTERM', die);

const [, , directory = ''] = process.argv;
const { Session } = createRequire(import.meta.url)('chdb') as { Session: new (path: string) => ChdbSession };

/** URL parameters of the interface that are no settings. */
const RESERVED = new Set(['query', 'query_id', 'session_id', 'session_timeout', 'wait_end_of_query', 'default_format']);
const DRIP_MS = 5;

let passwords: Record<string, string> = { writer: 'w', reader: 'r' };
let faults: Fault[] = [];
let statements: string[] = [];
let files = 0;
const sessions = new Map<string, { engine: ChdbSession; busy: boolean }>();

class Refusal extends Error {
  readonly code: number;
  readonly status: number;
  constructor(code: number, message: string, status = 500) {
    super(`Code: ${code}. DB::Exception: ${message}`);
    this.code = code;
    this.status = status;
  }
}

function sessionOf(name: string): { engine: ChdbSession; busy: boolean } {
  const known = sessions.get(name) ?? { engine: new Session(directory), busy: false };
  sessions.set(name, known);
  return known;
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  return request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body;
}

function userOf(request: IncomingMessage): string {
  const [, encoded = ''] = (request.headers.authorization ?? '').split(' ');
  const [user = '', password] = Buffer.from(encoded, 'base64').toString().split(':');
  if (passwords[user] === undefined || passwords[user] !== password)
    throw new Refusal(516, `${user}: Authentication failed: password is incorrect. (AUTHENTICATION_FAILED)`, 403);
  return user;
}

/** The value of a query parameter as the server would read it from its text. */
function parameter(type: string, text: string): unknown {
  const plain = (escaped: string): string =>
    escaped.replaceAll(/\\(.)/g, (_, char: string) => ({ n: '\n', t: '\t', r: '\r' })[char] ?? char);
  if (type === 'Array(String)') return [...text.matchAll(/'((?:[^'\\]|\\.)*)'/g)].map(([, item = '']) => plain(item));
  if (/^U?Int64$/.test(type)) return BigInt(text);
  return /Int|Float/.test(type) ? Number(text) : plain(text);
}

async function execute(user: string, url: URL, body: Buffer): Promise<string> {
  const inUrl = url.searchParams.get('query');
  const sql = (inUrl ?? body.toString()).trim();
  statements.push(sql);
  const settings = [...url.searchParams].filter(([name]) => !RESERVED.has(name) && !name.startsWith('param_'));
  const reads = /^(SELECT|WITH|EXPLAIN)\b/i.test(sql);
  if (user === 'reader' && (settings.length > 0 || !reads))
    throw new Refusal(164, 'reader: cannot execute query in readonly mode. (READONLY)');
  const session = sessionOf(url.searchParams.get('session_id') ?? user);
  if (session.busy && url.searchParams.has('session_id'))
    throw new Refusal(373, 'Session is locked by a concurrent client. (SESSION_IS_LOCKED)');
  session.busy = true;
  try {
    if (user === 'reader') session.engine.query('SET output_format_json_quote_64bit_integers = 1');
    for (const [name, value] of settings) session.engine.query(`SET ${name} = '${value.replaceAll("'", "\\'")}'`);
    return await run(session.engine, sql, inUrl === null ? null : body, url);
  } finally {
    session.busy = false;
  }
}

async function run(engine: ChdbSession, sql: string, body: Buffer | null, url: URL): Promise<string> {
  if (body === null) {
    const bound: Record<string, unknown> = {};
    for (const [, name = '', type = ''] of sql.matchAll(/\{(\w+):\s*([^}]+)\}/g))
      bound[name] = parameter(type, url.searchParams.get(`param_${name}`) ?? '');
    const names = Object.keys(bound);
    if (names.length === 0) return (await engine.queryAsync(sql)).text();
    return (await engine.queryBindAsync(sql, bound as never)).text();
  }
  if (!sql.endsWith('FORMAT Native')) return (await engine.queryAsync(`${sql}\n${body.toString()}`)).text();
  const file = path.join(directory, '..', `body-${files++}.native`);
  writeFileSync(file, body);
  try {
    const read = sql
      .replace(/FORMAT Native$/, '')
      .replace(/\binput\(('(?:[^'\\]|\\.)*')\)/, (_, structure: string) => `file('${file}', Native, ${structure})`);
    return (await engine.queryAsync(read)).text();
  } finally {
    unlinkSync(file);
  }
}

function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  const message = error instanceof Error ? error.message : String(error);
  const code = Number(/Code: (\d+)/.exec(message)?.[1] ?? 1002);
  return new Refusal(code, message.replace(/^[^]*?DB::Exception: /, ''));
}

function faultFor(sql: string): Fault | undefined {
  const fault = faults.find(({ match, after = 0 }) => sql.includes(match ?? '') && after === 0);
  for (const other of faults) if (sql.includes(other.match ?? '')) other.after = Math.max(0, (other.after ?? 0) - 1);
  if (fault !== undefined && --fault.times === 0) faults = faults.filter((other) => other !== fault);
  return fault;
}

async function drip(response: ServerResponse, text: string): Promise<void> {
  response.writeHead(200);
  for (const char of text.split('')) {
    response.write(char);
    await new Promise((resolve) => setTimeout(resolve, DRIP_MS));
  }
  response.end();
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://double');
  if (url.pathname === '/ping') return void response.end('Ok.\n');
  const body = await bodyOf(request);
  const sql = url.searchParams.get('query') ?? body.toString();
  const fault = faultFor(sql);
  if (fault?.kind === 'hang') return;
  if (fault?.kind === 'reset_before') return void request.socket.destroy();
  if (fault?.kind === 'page') return void response.writeHead(502).end('<html>Bad Gateway</html>');
  try {
    if (fault?.kind === 'exception') throw new Refusal(fault.code ?? 1002, `planted fault. (PLANTED)`);
    const text = await execute(userOf(request), url, body);
    if (fault?.kind === 'reset_after') return void request.socket.destroy();
    if (fault?.kind === 'hang_after') return;
    if (fault?.kind === 'drip') return await drip(response, text);
    response.writeHead(200, { 'X-ClickHouse-Summary': '{"read_rows":"0","written_rows":"0"}' }).end(text);
  } catch (error) {
    const { code, status, message } = refusalOf(error);
    response.writeHead(status, { 'X-ClickHouse-Exception-Code': String(code) }).end(message);
  }
}

const server = createServer(
  (request, response) => void answer(request, response).catch(() => request.socket.destroy()),
);
server.listen(0, '127.0.0.1', () => process.send?.({ id: 0, port: (server.address() as AddressInfo).port }));

process.on('message', (message: DoubleRequest) => {
  const reply = (value: unknown): void => void process.send?.({ id: message.id, value });
  if (message.kind === 'faults') faults = [...message.faults];
  if (message.kind === 'passwords') passwords = message.passwords;
  if (message.kind === 'statements') {
    reply(statements);
    statements = [];
    return;
  }
  if (message.kind === 'sql') {
    const { engine } = sessionOf('administrator');
    engine.query('SET output_format_json_quote_64bit_integers = 1');
    engine.queryAsync(message.sql, { format: 'JSONEachRow' }).then(
      (result) => reply(result.text()),
      (error: unknown) => reply(refusalOf(error).message),
    );
    return;
  }
  reply(null);
});
