import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Type from 'typebox';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { collection } from '../../src/control/collections.ts';
import { openPostgresControl, type PostgresControlOptions } from '../../src/control/postgres.ts';
import { systemClock } from '../../src/core/clock.ts';
import { LeewayError } from '../../src/core/errors.ts';
import type { Control } from '../../src/core/ports.ts';
import { integerBelow, seededRandom, systemRandom } from '../../src/core/random.ts';
import { POSTGRES_MISSING, PostgresServer } from '../contract/postgres-server.ts';

const NOTES = collection('notes', Type.Object({ text: Type.String() }), { text: 'text' });
const note = (text: string) => ({ text });

/** What a wire between Leeway and the server does with the next message that holds `text`. */
type Fault =
  | { readonly text: string; readonly what: 'lose request' | 'lose answer' | 'cut before' }
  /** Every connection that is open now breaks when it is next used. */
  | 'stale';

/** A socket in front of the server's own that can break at a chosen message. */
class Wire implements AsyncDisposable {
  readonly #server: Server;
  readonly #folder: string;
  readonly #open = new Set<Socket>();
  readonly #behind = new Set<Socket>();
  readonly #stale = new WeakSet<Socket>();
  #fault: Exclude<Fault, 'stale'> | null = null;
  #watch: (bytes: Buffer) => void = () => undefined;

  private constructor(folder: string, behind: string) {
    this.#folder = folder;
    this.#server = createServer((near) => this.#join(near, new Socket().connect(behind)));
  }

  static async before(server: PostgresServer): Promise<Wire> {
    const folder = await mkdtemp(join(tmpdir(), 'leeway-wire-'));
    const wire = new Wire(folder, server.socket);
    await new Promise<void>((resolve) => wire.#server.listen(join(folder, '.s.PGSQL.5432'), resolve));
    return wire;
  }

  get url(): string {
    return `postgres://leeway@localhost/postgres?host=${this.#folder}`;
  }

  next(fault: Fault): void {
    if (fault !== 'stale') this.#fault = fault;
    else for (const near of this.#open) this.#stale.add(near);
  }

  /** Resolves when `text` has gone to the server `times` more. */
  async seen(text: string, times: number): Promise<void> {
    await new Promise<void>((resolve) => {
      let left = times;
      this.#watch = (bytes) => {
        if (bytes.includes(text) && --left === 0) resolve();
      };
    });
  }

  /** No new connections, as when the server is down. */
  shut(): void {
    this.#server.close();
  }

  #join(near: Socket, far: Socket): void {
    this.#open.add(near);
    this.#behind.add(far);
    near.on('data', (bytes) => {
      this.#watch(bytes);
      if (this.#stale.has(near)) return void near.destroy();
      const fault = this.#fault;
      if (fault === null || !bytes.includes(fault.text)) return void far.write(bytes);
      this.#fault = null;
      if (fault.what === 'lose request') {
        near.destroy();
        return; // the server never learns that we are gone
      }
      near.destroy();
      if (fault.what === 'lose answer') far.write(bytes, () => undefined);
      else far.destroy();
    });
    far.on('data', (bytes) => near.destroyed || near.write(bytes));
    far.on('close', () => near.destroy());
    near.on('end', () => far.end());
    near.on('close', () => this.#open.delete(near));
    far.on('close', () => this.#behind.delete(far));
    for (const socket of [near, far]) socket.on('error', () => socket.destroy());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of [...this.#open, ...this.#behind]) socket.destroy();
    this.#server.close();
    await rm(this.#folder, { recursive: true });
  }
}

describe.skipIf(POSTGRES_MISSING !== null)(`PostgreSQL fails under the control store ${POSTGRES_MISSING ?? ''}`, () => {
  let server: PostgresServer;
  let schemas = 0;
  beforeAll(async () => {
    server = await PostgresServer.start();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  const fresh = (): string => `failing_${++schemas}`;
  const open = (schema: string, more: Partial<PostgresControlOptions> = {}): Promise<Control> =>
    openPostgresControl({ url: server.url, schema, clock: systemClock, random: systemRandom, ...more });
  const ids = async (control: Control): Promise<string[]> =>
    (await control.transaction((tx) => tx.list(NOTES, {}))).map(({ id }) => id);

  describe('the connection breaks during COMMIT', () => {
    test('after the server got it: the transaction is there once, and resolves', async () => {
      await using wire = await Wire.before(server);
      const events: string[] = [];
      const onEvent = ({ kind, reason }: { kind: string; reason: string }) => events.push(`${kind}: ${reason}`);
      await using control = await open(fresh(), { url: wire.url, onEvent });
      let runs = 0;
      const written = control.transaction(async (tx) => {
        await tx.insert(NOTES, 'a', note('x'));
        wire.next({ text: 'COMMIT', what: 'lose answer' });
        return ++runs;
      });
      expect(await written).toBe(1);
      expect(await ids(control)).toEqual(['a']);
      expect(events.filter((event) => /^control_commit_lost: .*committed: true$/.test(event))).toHaveLength(1);
    });

    test.each(['lose request', 'cut before'] as const)(
      'before the server got it (%s): LW-CONTROL-GONE, nothing is there, and the next transaction works',
      async (what) => {
        await using wire = await Wire.before(server);
        await using control = await open(fresh(), { url: wire.url });
        const lost = control.transaction(async (tx) => {
          await tx.insert(NOTES, 'a', note('x'));
          wire.next({ text: 'COMMIT', what });
        });
        await expect(lost).rejects.toMatchObject({
          code: 'LW-CONTROL-GONE',
          message: expect.stringContaining('nothing was written'),
        });
        expect(await ids(control)).toEqual([]);
        await control.transaction((tx) => tx.insert(NOTES, 'a', note('x')));
        expect(await ids(control)).toEqual(['a']);
      },
    );

    test('while the process that has it lives on, nothing is decided', async () => {
      await using wire = await Wire.before(server);
      await using control = await open(fresh(), { url: wire.url });
      const order: string[] = [];
      let process_id = 0;
      const lost = control
        .transaction(async (tx) => {
          await tx.insert(NOTES, 'a', note('x'));
          const inside = `SELECT pid FROM pg_stat_activity WHERE application_name = 'leeway' AND state LIKE 'idle in tr%'`;
          process_id = Number((await server.sql(inside))[0]);
          process.kill(process_id, 'SIGSTOP');
          wire.next({ text: 'COMMIT', what: 'lose answer' });
        })
        .then(
          () => order.push('resolved'),
          (error: unknown) => order.push(error instanceof LeewayError ? error.code : String(error)),
        );
      await Promise.race([wire.seen('pg_terminate_backend', 3), lost]);
      order.push('it goes on');
      process.kill(process_id, 'SIGCONT');
      await lost;
      expect(order).toEqual(['it goes on', 'LW-CONTROL-GONE']);
      expect(await ids(control)).toEqual([]);
    });

    test('and no server comes back for 30 s: LW-CONTROL-DOUBT tells the caller to read first', async () => {
      const schema = fresh();
      let slept_ms = 0;
      const clock = {
        now_ms: () => slept_ms,
        elapsed_ms: () => slept_ms,
        sleep: async (duration_ms: number) => {
          slept_ms += duration_ms;
        },
      };
      await using wire = await Wire.before(server);
      await using control = await open(schema, { url: wire.url, clock });
      const lost = control.transaction(async (tx) => {
        await tx.insert(NOTES, 'a', note('x'));
        wire.next({ text: 'COMMIT', what: 'lose answer' });
        wire.shut();
      });
      await expect(lost).rejects.toMatchObject({
        code: 'LW-CONTROL-DOUBT',
        message: expect.stringContaining('read before you repeat'),
      });
      expect(slept_ms).toBeGreaterThanOrEqual(30_000);
    });

    test('of a transaction that only read: LW-CONTROL-GONE at once', async () => {
      await using wire = await Wire.before(server);
      await using control = await open(fresh(), { url: wire.url });
      const lost = control.transaction(async (tx) => {
        await tx.count(NOTES, []);
        wire.next({ text: 'COMMIT', what: 'lose answer' });
      });
      await expect(lost).rejects.toMatchObject({ code: 'LW-CONTROL-GONE' });
    });
  });

  test('a session that the server ends in the middle: LW-CONTROL-GONE, nothing half-written, also where work hides it', async () => {
    const schema = fresh();
    await using control = await open(schema);
    const end = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'leeway' AND state LIKE 'idle in tr%'`;
    const broken = (hide: boolean) =>
      control.transaction(async (tx) => {
        await tx.insert(NOTES, 'a', note('x'));
        expect(await server.sql(end)).toEqual(['t']);
        const second = tx.insert(NOTES, 'b', note('y'));
        await (hide ? second.catch(() => undefined) : second);
      });
    await expect(broken(false)).rejects.toMatchObject({ code: 'LW-CONTROL-GONE' });
    await expect(broken(true)).rejects.toMatchObject({ code: 'LW-CONTROL-GONE' });
    expect(await ids(control)).toEqual([]);
  });

  test('a statement that the server refuses: LW-CONTROL with its SQLSTATE, all rolled back, also where work hides it', async () => {
    const schema = fresh();
    await using control = await open(schema);
    await control.transaction((tx) => tx.insert(NOTES, 'a', note('x')));
    await server.sql(`ALTER TABLE ${schema}.doc_notes ADD CHECK (id <> 'no')`);
    const refused = control.transaction(async (tx) => {
      await tx.update(NOTES, 'a', 1, note('changed'));
      await tx.insert(NOTES, 'no', note('x')).catch(() => undefined);
    });
    await expect(refused).rejects.toMatchObject({ code: 'LW-CONTROL', message: expect.stringContaining('[23514]') });
    expect(await control.transaction((tx) => tx.get(NOTES, 'a'))).toMatchObject({ revision: 1, body: note('x') });
  });

  test('connections that broke while nobody used them cost nobody a transaction or a lease', async () => {
    await using wire = await Wire.before(server);
    await using control = await open(fresh(), { url: wire.url });
    const several = () =>
      Promise.all(Array.from({ length: 6 }, (_, index) => control.transaction((tx) => tx.get(NOTES, `n${index}`))));
    await several();
    wire.next('stale');
    expect(await several()).toEqual(Array.from({ length: 6 }, () => null));
    wire.next('stale');
    expect(await control.lease('a', 'one', 1000)).toBe(true);
    await control.release('a', 'one');
  });

  test('a server that restarts is used again at once; while it is away there is one clear line', async () => {
    await using own = await PostgresServer.start();
    await using control = await open(fresh(), { url: own.url });
    await Promise.all(
      Array.from({ length: 6 }, (_, index) => control.transaction((tx) => tx.insert(NOTES, `n${index}`, note('x')))),
    );
    await own.stop();
    const away = control.transaction((tx) => tx.count(NOTES, []));
    await expect(away).rejects.toMatchObject({ code: 'LW-CONTROL-GONE' });
    await expect(away).rejects.toThrow(
      /^PostgreSQL at \/\S+, database postgres: .*\[(ENOENT|ECONNREFUSED)\]; nothing was written/,
    );
    await own.restart();
    expect(await control.transaction((tx) => tx.count(NOTES, []))).toBe(6);
  });

  test('what was never right is refused at the start, without the password', async () => {
    const refusal = async (url: string) => {
      const error: unknown = await open('leeway', { url }).then(
        () => 'opened',
        (reason: unknown) => reason,
      );
      if (!(error instanceof LeewayError)) throw new Error(`not refused: ${String(error)}`);
      expect(error.message).not.toMatch(/hunter2|\n/);
      return error;
    };
    const nowhere = await refusal('postgres://leeway:hunter2@127.0.0.1:9/leeway');
    expect(nowhere.code).toBe('LW-CONTROL-GONE');
    expect(nowhere.message).toContain('127.0.0.1:9');
    expect((await refusal(server.url.replace('/postgres?', '/absent?'))).code).toBe('LW-CONFIG');
    for (const url of ['', 'hunter2', 'redis://hunter2@127.0.0.1/1', 'postgres://a:hunter2@127.0.0.1:port/x'])
      expect((await refusal(url)).code).toBe('LW-CONFIG');
    await expect(open('Robert"; --')).rejects.toMatchObject({ code: 'LW-CONFIG' });
    await server.sql(`CREATE DATABASE bytes TEMPLATE template0 ENCODING SQL_ASCII LOCALE_PROVIDER libc LOCALE 'C'`);
    const bytes = await refusal(server.url.replace('/postgres?', '/bytes?'));
    expect([bytes.code, bytes.message]).toEqual(['LW-CONFIG', expect.stringContaining('SQL_ASCII')]);
  });

  test('TLS is what the URL asks for: a certificate that is not trusted, or of another host, is not talked to', async () => {
    const free = createServer().listen(0, '127.0.0.1');
    await once(free, 'listening');
    const address = free.address();
    const tls_port = typeof address === 'object' && address !== null ? address.port : 0;
    free.close();
    await using own = await PostgresServer.start({ tls_port });
    const url = (host: string, more: string) => `postgres://leeway@${host}:${tls_port}/postgres?${more}`;
    const trusted = `sslmode=verify-full&sslrootcert=${own.certificate}`;
    {
      await using control = await open('secure', { url: url('localhost', trusted) });
      await control.transaction(async (tx) => {
        await tx.insert(NOTES, 'a', note('x'));
        const mine = `SELECT ssl FROM pg_stat_ssl NATURAL JOIN pg_stat_activity WHERE application_name = 'leeway'`;
        expect(await own.sql(mine)).toEqual(['t']);
      });
    }
    const untrusted = open('secure', { url: url('localhost', 'sslmode=verify-full') });
    await expect(untrusted).rejects.toThrow(/DEPTH_ZERO_SELF_SIGNED_CERT/);
    const stranger = open('secure', { url: url('127.0.0.1', trusted) });
    await expect(stranger).rejects.toThrow(/ERR_TLS_CERT_ALTNAME_INVALID/);
    await using plain = await open('secure', { url: url('localhost', 'sslmode=disable') });
    expect(await ids(plain)).toEqual(['a']);
  });

  test('a closed store refuses; closing waits for what runs', async () => {
    const schema = fresh();
    const control = await open(schema);
    const running = control.transaction((tx) => tx.insert(NOTES, 'a', note('x')));
    await Promise.all([control[Symbol.asyncDispose](), running]);
    await expect(control.transaction((tx) => tx.count(NOTES, []))).rejects.toMatchObject({ code: 'LW-CONTROL-GONE' });
    const sessions = `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'leeway'`;
    await expect.poll(() => server.sql(sessions), { timeout: 5_000 }).toEqual(['0']);
  });

  test('the server is killed three times under 600 transactions: each resolved one is there whole, no other one is', {
    timeout: 120_000,
  }, async () => {
    const seed = integerBelow(systemRandom, 2 ** 31);
    const random = seededRandom(seed);
    await using own = await PostgresServer.start();
    const lost: string[] = [];
    const onEvent = ({ kind, reason }: { kind: string; reason: string }) =>
      void (kind === 'control_commit_lost' && lost.push(reason));
    await using control = await open(fresh(), { url: own.url, onEvent });
    await control.transaction((tx) => tx.insert(NOTES, 'shared', note('0')));
    const resolved = new Set<string>();
    const codes = new Map<string, number>();
    const write = async (name: string, parts: number): Promise<void> => {
      try {
        await control.transaction(async (tx) => {
          for (let part = 0; part < parts; part++)
            await tx.insert(NOTES, `${name}/${part}`, note(name.padEnd(200, '.')));
          if (parts > 3) return;
          const shared = await tx.get(NOTES, 'shared');
          if (shared !== null) await tx.update(NOTES, 'shared', shared.revision, note(name));
        });
        resolved.add(`${name} ${parts}`);
      } catch (error) {
        const code = error instanceof LeewayError ? error.code : String(error);
        codes.set(code, (codes.get(code) ?? 0) + 1);
      }
    };
    for (let kill = 0; kill < 3; kill++) {
      const killed_after = resolved.size + 20 + integerBelow(random, 100);
      const names = Array.from({ length: 200 }, (_, index) => `t${kill}.${index}`);
      const worker = async (): Promise<void> => {
        for (let name = names.shift(); name !== undefined; name = names.shift()) {
          await write(name, 1 + integerBelow(random, 6));
          if (resolved.size >= killed_after && dead === null) dead = own.kill().then(() => own.restart());
          if (dead !== null) await dead; // else the rest would be refused in a millisecond
        }
      };
      let dead: Promise<void> | null = null;
      await Promise.all(Array.from({ length: 8 }, worker));
      expect(dead, `seed ${seed}`).not.toBeNull();
    }
    const there = new Map<string, number>();
    for (const id of await ids(control))
      if (id !== 'shared') there.set(id.split('/')[0] ?? '', (there.get(id.split('/')[0] ?? '') ?? 0) + 1);
    const found = [...there].map(([name, parts]) => `${name} ${parts}`);
    expect(found.sort(), `seed ${seed}`).toEqual([...resolved].sort());
    expect([...codes.keys()], `seed ${seed}, ${lost.length} commits in doubt`).toEqual(['LW-CONTROL-GONE']);
    const total = [...codes.values()].reduce((sum, count) => sum + count, resolved.size);
    expect(total).toBe(600);
  });
});
