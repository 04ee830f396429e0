import { AsyncLocalStorage } from 'node:async_hooks';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import { assert } from '../core/assert.ts';
import type { Clock } from '../core/clock.ts';
import { LeewayError, systemCode } from '../core/errors.ts';
import type { Collection, Condition, Control, ControlTransaction, Document, Selection } from '../core/ports.ts';

/** Where the control store lives: `control.sqlite` in `data_dir`, or nowhere at all (`:memory:`, tests). */
export type SqliteControlOptions = { readonly data_dir: string; readonly clock: Clock };

/** Transactions that may wait at once. One takes about 1 ms; 10,000 is ten seconds of work, beyond that callers hear no. */
const WAITING_MAX = 10_000;
/** Documents that one `list` returns at most, so that no caller can pull a whole table by accident. */
const LIST_MAX = 100_000;
const NAME = /^[a-z][a-z0-9_]{0,62}$/;
/** SQLITE_CONSTRAINT_PRIMARYKEY (sqlite.org/rescode.html). */
const PRIMARY_KEY_TAKEN = 1555;

/**
 * Opens the control store over node:sqlite: WAL, synchronous=FULL (a resolved transaction survives power loss), one
 * STRICT table a collection with a document a row and expression indexes on its indexed fields. Transactions run one
 * after the other, so that `lock` in a selection has nothing to do. Throws LW-DATA-DIR when the file cannot be opened.
 * Measured by reference/toolchain: thousands of small transactions a second on a local disk.
 */
export async function openSqliteControl(options: SqliteControlOptions): Promise<Control> {
  const database = open(options.data_dir);
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON');
  database.exec(
    'CREATE TABLE IF NOT EXISTS leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until_ms INTEGER NOT NULL) STRICT',
  );
  return new SqliteControl(database, options.clock);
}

function open(data_dir: string): DatabaseSync {
  if (data_dir === ':memory:') return new DatabaseSync(':memory:');
  try {
    mkdirSync(data_dir, { recursive: true });
    return new DatabaseSync(join(data_dir, 'control.sqlite'), { timeout: 5000 });
  } catch (error) {
    throw new LeewayError(
      'LW-DATA-DIR',
      `${data_dir}: the control store cannot be opened there (${systemCode(error) ?? 'unknown reason'}); choose a writable local directory`,
      { cause: error },
    );
  }
}

class SqliteControl implements Control {
  readonly #tables: Tables;
  readonly #clock: Clock;
  readonly #inside = new AsyncLocalStorage<true>();
  #tail: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(database: DatabaseSync, clock: Clock) {
    this.#tables = new Tables(database);
    this.#clock = clock;
  }

  transaction<Result>(work: (tx: ControlTransaction) => Promise<Result>): Promise<Result> {
    assert(this.#inside.getStore() === undefined, 'a control transaction is not opened inside another one');
    if (this.#waiting >= WAITING_MAX)
      return Promise.reject(
        new LeewayError('LW-OVERLOADED', `${this.#waiting} transactions wait for the control store; try again later`),
      );
    this.#waiting++;
    const result = this.#tail.then(() => this.#run(work));
    this.#tail = result.then(
      () => this.#waiting--,
      () => this.#waiting--, // the caller has the failure; the queue goes on
    );
    return result;
  }

  async #run<Result>(work: (tx: ControlTransaction) => Promise<Result>): Promise<Result> {
    const { database } = this.#tables;
    const tx = new SqliteTransaction(this.#tables);
    let committed = false;
    database.exec('BEGIN IMMEDIATE');
    try {
      const result = await this.#inside.run(true, () => work(tx));
      database.exec('COMMIT');
      committed = true;
      return result;
    } catch (error) {
      if (database.isTransaction) database.exec('ROLLBACK');
      this.#tables.forget();
      throw error;
    } finally {
      tx.closed = true;
      if (committed) for (const told of tx.told) told();
    }
  }

  async lease(name: string, holder: string, ttl_ms: number): Promise<boolean> {
    const now_ms = Math.floor(this.#clock.now_ms());
    return this.transaction(async () => {
      const changed = this.#tables
        .statement(
          `INSERT INTO leases (name, holder, until_ms) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE
           SET holder = excluded.holder, until_ms = excluded.until_ms WHERE leases.holder = excluded.holder OR leases.until_ms <= ?`,
        )
        .run(name, holder, now_ms + Math.ceil(ttl_ms), now_ms);
      return Number(changed.changes) === 1;
    });
  }

  async release(name: string, holder: string): Promise<void> {
    await this.transaction(async () => {
      this.#tables.statement('DELETE FROM leases WHERE name = ? AND holder = ?').run(name, holder);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tail;
    if (this.#tables.database.isOpen) this.#tables.database.close();
  }
}

/** Tables made so far and prepared statements by text. */
class Tables {
  readonly database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #made = new Set<string>();

  constructor(database: DatabaseSync) {
    this.database = database;
  }

  /** Texts come from collections and the seven operators only, so that the map stays small. */
  statement(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const statement = this.database.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }

  /** A rolled back transaction may have taken a table with it. */
  forget(): void {
    this.#made.clear();
    this.#statements.clear();
  }

  /** The table of a collection, made with its indexes when it is not there yet. */
  of(collection: { readonly name: string; readonly indexed: Readonly<Record<string, 'text' | 'integer'>> }): string {
    const table = `doc_${collection.name}`;
    if (this.#made.has(table)) return table;
    assert(NAME.test(collection.name), `collection name ${collection.name} is lower case letters, digits and _`);
    this.database.exec(
      `CREATE TABLE IF NOT EXISTS ${table} (id TEXT PRIMARY KEY, revision INTEGER NOT NULL, body TEXT NOT NULL) STRICT`,
    );
    for (const field of Object.keys(collection.indexed))
      this.database.exec(
        `CREATE INDEX IF NOT EXISTS ${table}_${field} ON ${table} (${expression(collection, field)}, id)`,
      );
    this.#made.add(table);
    return table;
  }
}

/** The SQL of a field; only `id` and indexed fields exist for callers. */
function expression(collection: { readonly name: string; readonly indexed: object }, field: string): string {
  if (field === 'id') return 'id';
  assert(
    NAME.test(field) && Object.hasOwn(collection.indexed, field),
    `field ${field} is indexed in ${collection.name}`,
  );
  return `json_extract(body, '$.${field}')`;
}

class SqliteTransaction implements ControlTransaction {
  readonly #tables: Tables;
  /** What waits for the commit. */
  readonly told: (() => void)[] = [];
  closed = false;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  afterCommit(told: () => void): void {
    this.told.push(told);
  }

  async get<Body>(collection: Collection<Body>, id: string): Promise<Document<Body> | null> {
    const row = this.#prepare(`SELECT id, revision, body FROM ${this.#table(collection)} WHERE id = ?`).get(id);
    return row === undefined ? null : document(collection, row);
  }

  async list<Body>(collection: Collection<Body>, selection: Selection): Promise<Document<Body>[]> {
    const order = selection.order ?? { field: 'id', descending: false };
    const by = expression(collection, order.field);
    const where = filter(collection, selection.where ?? []);
    if (selection.after !== undefined) {
      where.clauses.push(`(${by}, id) ${order.descending ? '<' : '>'} (?, ?)`);
      where.values.push(selection.after.value, selection.after.id);
    }
    const direction = order.descending ? 'DESC' : 'ASC';
    const sql =
      `SELECT id, revision, body FROM ${this.#table(collection)} ${text(where.clauses)}` +
      ` ORDER BY ${by} ${direction}, id ${direction} LIMIT ?`;
    const limit = Math.min(selection.limit ?? LIST_MAX, LIST_MAX);
    return this.#prepare(sql)
      .all(...where.values, limit)
      .map((row) => document(collection, row));
  }

  async count<Body>(collection: Collection<Body>, where: readonly Condition[]): Promise<number> {
    const { clauses, values } = filter(collection, where);
    const row = this.#prepare(`SELECT count(*) AS n FROM ${this.#table(collection)} ${text(clauses)}`).get(...values);
    return Number(row?.['n'] ?? 0);
  }

  async insert<Body>(collection: Collection<Body>, id: string, body: Body): Promise<void> {
    const statement = this.#prepare(`INSERT INTO ${this.#table(collection)} (id, revision, body) VALUES (?, 1, ?)`);
    try {
      statement.run(id, serialised(collection, body));
    } catch (error) {
      if (!(error instanceof Error) || !('errcode' in error) || error.errcode !== PRIMARY_KEY_TAKEN) throw error;
      throw new LeewayError('LW-CONFLICT', `${collection.name} ${id} exists already; read it and update it instead`, {
        cause: error,
      });
    }
  }

  async update<Body>(collection: Collection<Body>, id: string, revision: number, body: Body): Promise<void> {
    const { changes } = this.#prepare(
      `UPDATE ${this.#table(collection)} SET revision = revision + 1, body = ? WHERE id = ? AND revision = ?`,
    ).run(serialised(collection, body), id, revision);
    if (Number(changes) === 1) return;
    throw new LeewayError(
      'LW-CONFLICT',
      `${collection.name} ${id} is not at revision ${revision} any more; read it again and decide anew`,
    );
  }

  async remove<Body>(collection: Collection<Body>, id: string): Promise<void> {
    this.#prepare(`DELETE FROM ${this.#table(collection)} WHERE id = ?`).run(id);
  }

  #table(collection: {
    readonly name: string;
    readonly indexed: Readonly<Record<string, 'text' | 'integer'>>;
  }): string {
    assert(!this.closed, 'a control transaction is not used after it ended');
    return this.#tables.of(collection);
  }

  #prepare(sql: string): StatementSync {
    return this.#tables.statement(sql);
  }
}

type Filter = { readonly clauses: string[]; readonly values: SQLInputValue[] };

/** Absent and null fields match no condition, as in SQL. */
function filter<Body>(collection: Collection<Body>, where: readonly Condition[]): Filter {
  const clauses: string[] = [];
  const values: SQLInputValue[] = [];
  for (const { field, is, value } of where) {
    const name = expression(collection, field);
    if (is === 'in' || typeof value === 'object') {
      assert(is === 'in' && typeof value === 'object', 'operator "in" takes a list, the others a single value');
      clauses.push(`${name} IN (SELECT value FROM json_each(?))`);
      values.push(JSON.stringify(value));
    } else {
      clauses.push(`${name} ${is} ?`);
      values.push(value);
    }
  }
  return { clauses, values };
}

function text(clauses: readonly string[]): string {
  return clauses.length === 0 ? '' : `WHERE ${clauses.join(' AND ')}`;
}

function document<Body>(collection: Collection<Body>, row: Record<string, unknown>): Document<Body> {
  return {
    id: String(row['id']),
    revision: Number(row['revision']),
    body: collection.parse(JSON.parse(String(row['body']))),
  };
}

/** What is written passes the same parse door as what is read: no document goes in that cannot come out. */
function serialised<Body>(collection: Collection<Body>, body: Body): string {
  const written = JSON.stringify(body);
  collection.parse(JSON.parse(written));
  return written;
}
