import { assert } from '../core/assert.ts';
import { LeewayError } from '../core/errors.ts';
import type { Collection, Condition, ControlTransaction, Document, Selection } from '../core/ports.ts';
import { type Answer, type Connection, PostgresFailure } from './postgres-connection.ts';
import { fieldSql, INDEXED_CHARACTERS, prefixSql, type Schema, type Shape } from './postgres-schema.ts';
import { holdableJson, holdableText, originalJson, originalText } from './postgres-text.ts';

/** Documents that one `list` returns at most, as in the sqlite driver. */
const LIST_MAX = 100_000;

type Position = NonNullable<Selection['after']>;
type Operator = Exclude<Condition['is'], 'in'>;

/**
 * Reads and writes of one attempt at a transaction, one statement after the other on one connection. What went wrong
 * on the way is kept, so that work which swallows an error cannot make a broken transaction look whole.
 */
export class PostgresTransaction implements ControlTransaction {
  /** What waits for the commit. */
  readonly told: (() => void)[] = [];
  readonly #connection: Connection;
  readonly #schema: Schema;
  #tail: Promise<unknown> = Promise.resolve();
  #failure: PostgresFailure | null = null;
  closed = false;
  /** Whether anything changed that a commit would keep. */
  wrote = false;

  constructor(connection: Connection, schema: Schema) {
    this.#connection = connection;
    this.#schema = schema;
  }

  /** Waits for statements that nobody waited for; the first failure of the server, or null. Nothing runs afterwards. */
  async settle(): Promise<PostgresFailure | null> {
    this.closed = true;
    await this.#tail;
    return this.#failure;
  }

  afterCommit(told: () => void): void {
    this.told.push(told);
  }

  async get<Body>(collection: Collection<Body>, id: string): Promise<Document<Body> | null> {
    const table = await this.#table(collection);
    const { rows } = await this.#run(`SELECT id, revision, body::text FROM ${table} WHERE id = $1`, [holdableText(id)]);
    return rows[0] === undefined ? null : document(collection, rows[0]);
  }

  async list<Body>(collection: Collection<Body>, selection: Selection): Promise<Document<Body>[]> {
    const table = await this.#table(collection);
    const query = new Query(collection);
    for (const condition of selection.where ?? []) query.where(condition);
    const { field, descending } = selection.order ?? { field: 'id', descending: false };
    if (selection.after !== undefined) query.after({ field, descending }, selection.after);
    const direction = descending ? 'DESC NULLS LAST' : 'ASC NULLS FIRST';
    const order = [prefixSql(collection, field), fieldSql(collection, field), 'id']
      .filter((key) => key !== null)
      .map((key) => `${key} ${direction}`);
    const limit = query.value(Math.min(selection.limit ?? LIST_MAX, LIST_MAX), 'bigint');
    const lock = selection.lock === 'skip' ? ' FOR UPDATE SKIP LOCKED' : '';
    const sql = `SELECT id, revision, body::text FROM ${table} ${query.sql()} ORDER BY ${order.join(', ')} LIMIT ${limit}${lock}`;
    const { rows } = await this.#run(sql, query.values);
    return rows.map((row) => document(collection, row));
  }

  async count<Body>(collection: Collection<Body>, where: readonly Condition[]): Promise<number> {
    const table = await this.#table(collection);
    const query = new Query(collection);
    for (const condition of where) query.where(condition);
    const { rows } = await this.#run(`SELECT count(*) AS n FROM ${table} ${query.sql()}`, query.values);
    return Number(rows[0]?.['n'] ?? 0);
  }

  async insert<Body>(collection: Collection<Body>, id: string, body: Body): Promise<void> {
    const written = serialised(collection, body);
    // a row that this snapshot sees is a conflict; one that a concurrent transaction put there is a serialisation failure
    const { count } = await this.#run(
      `INSERT INTO ${await this.#table(collection)} (id, revision, body) VALUES ($1, 1, $2) ON CONFLICT (id) DO NOTHING`,
      [holdableText(id), written],
    );
    this.wrote ||= count > 0;
    if (count === 1) return;
    throw new LeewayError('LW-CONFLICT', `${collection.name} ${id} exists already; read it and update it instead`);
  }

  async update<Body>(collection: Collection<Body>, id: string, revision: number, body: Body): Promise<void> {
    const written = serialised(collection, body);
    const { count } = await this.#run(
      `UPDATE ${await this.#table(collection)} SET revision = revision + 1, body = $1 WHERE id = $2 AND revision = $3`,
      [written, holdableText(id), revision],
    );
    this.wrote ||= count > 0;
    if (count === 1) return;
    throw new LeewayError(
      'LW-CONFLICT',
      `${collection.name} ${id} is not at revision ${revision} any more; read it again and decide anew`,
    );
  }

  async remove<Body>(collection: Collection<Body>, id: string): Promise<void> {
    const { count } = await this.#run(`DELETE FROM ${await this.#table(collection)} WHERE id = $1`, [holdableText(id)]);
    this.wrote ||= count > 0;
  }

  async #table(collection: Shape): Promise<string> {
    assert(!this.closed, 'a control transaction is not used after it ended');
    try {
      return await this.#schema.table(collection);
    } catch (error) {
      throw this.#kept(error);
    }
  }

  #run(sql: string, values: readonly unknown[]): Promise<Answer> {
    assert(!this.closed, 'a control transaction is not used after it ended');
    const answer = this.#tail
      .then(() => this.#connection.query(sql, values))
      .catch((error) => Promise.reject(this.#kept(error)));
    this.#tail = answer.catch(() => undefined); // kept above
    return answer;
  }

  #kept(error: unknown): unknown {
    if (error instanceof PostgresFailure) this.#failure ??= error;
    return error;
  }
}

/** The conditions of one statement and the values that travel beside its text. */
class Query {
  readonly values: unknown[] = [];
  readonly #collection: Shape;
  readonly #clauses: string[] = [];

  constructor(collection: Shape) {
    this.#collection = collection;
  }

  /** Adds a value as PostgreSQL can hold it; its place in the text. */
  value(value: string | number | readonly string[], type: 'text' | 'text[]' | 'float8' | 'bigint'): string {
    this.values.push(typeof value === 'string' ? holdableText(value) : value);
    return `$${this.values.length}::${type}`;
  }

  /** Absent and null fields match no condition, as in SQL. */
  where({ field, is, value }: Condition): void {
    const sql = fieldSql(this.#collection, field);
    if (is === 'in' || typeof value === 'object') {
      assert(is === 'in' && typeof value === 'object', 'operator "in" takes a list, the others a single value');
      if (this.#typeOf(field) !== 'text') return void this.#clauses.push('false');
      this.#narrow(field, '=', value);
      this.#clauses.push(`${sql} = ANY(${this.value(value.map(holdableText), 'text[]')})`);
    } else this.#compare(field, is, value, (place) => `${sql} ${is} ${place}`);
  }

  /** Only what comes after the position in the order by `field` and id. */
  after(order: { readonly field: string; readonly descending: boolean }, { value, id }: Position): void {
    const is = order.descending ? '<' : '>';
    const sql = fieldSql(this.#collection, order.field);
    this.#compare(order.field, is, value, (place) => `(${sql}, id) ${is} (${place}, ${this.value(id, 'text')})`);
  }

  /** Numbers come before texts, as in sqlite: a page may be asked for with any value that a client makes up. */
  #compare(field: string, is: Operator, value: string | number, clause: (place: string) => string): void {
    const type = this.#typeOf(field);
    if ((type === 'text') === (typeof value === 'string')) {
      if (typeof value === 'string') this.#narrow(field, is, [value]);
      this.#clauses.push(clause(this.value(value, type)));
      return;
    }
    const holds = is === '!=' || (is !== '=' && is.startsWith('<') === (type === 'float8'));
    this.#clauses.push(holds ? `${fieldSql(this.#collection, field)} IS NOT NULL` : 'false');
  }

  sql(): string {
    return this.#clauses.length === 0 ? '' : `WHERE ${this.#clauses.join(' AND ')}`;
  }

  /** What the index on a text field's first characters can tell; the whole field is compared beside it. */
  #narrow(field: string, is: Operator, values: readonly string[]): void {
    const prefix = prefixSql(this.#collection, field);
    if (prefix === null || is === '!=') return;
    const starts = values.map((value) => Array.from(holdableText(value)).slice(0, INDEXED_CHARACTERS).join(''));
    const place = this.value(starts, 'text[]');
    if (is === '=') this.#clauses.push(`${prefix} = ANY(${place})`);
    else this.#clauses.push(`${prefix} ${is.startsWith('<') ? '<=' : '>='} (${place})[1]`);
  }

  #typeOf(field: string): 'text' | 'float8' {
    return field !== 'id' && this.#collection.indexed[field] === 'integer' ? 'float8' : 'text';
  }
}

function document<Body>(collection: Collection<Body>, row: Readonly<Record<string, unknown>>): Document<Body> {
  return {
    id: originalText(String(row['id'])),
    revision: Number(row['revision']),
    body: collection.parse(JSON.parse(originalJson(String(row['body'])))),
  };
}

/** What is written passes the same parse door as what is read: no document goes in that cannot come out. */
function serialised<Body>(collection: Collection<Body>, body: Body): string {
  const written = JSON.stringify(body);
  collection.parse(JSON.parse(written));
  return holdableJson(written);
}
