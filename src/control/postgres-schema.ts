import { assert } from '../core/assert.ts';
import { LeewayError } from '../core/errors.ts';
import type { Connection } from './postgres-connection.ts';

/** What a table needs to know of its collection. */
export type Shape = { readonly name: string; readonly indexed: Readonly<Record<string, 'text' | 'integer'>> };

const NAME = /^[a-z][a-z0-9_]{0,62}$/;
/** Bytes of an identifier (NAMEDATALEN - 1); longer ones would be cut, and two could become one. */
const IDENTIFIER_MAX = 63;
/**
 * Characters of a text field that its index holds: 128 of 4 bytes are 512. An entry of an index may have 2,704 bytes at
 * most, and a text from outside that is longer must not make its document impossible to write.
 */
export const INDEXED_CHARACTERS = 128;
/** A quarter of each page is room for the next version of a document, which then needs no new entry in any index. */
const FILLED_PERCENT = 75;

/**
 * What made the schema what it is, in order; an entry is never changed once released. `gate`: locked by every
 * transaction, see postgres.ts. `commits`: one row a writing transaction, see postgres-commit.ts.
 */
const MIGRATIONS: readonly ((schema: string) => string)[] = [
  (schema) => `
    CREATE TABLE ${schema}.gate ();
    CREATE TABLE ${schema}.commits (token text COLLATE "C" PRIMARY KEY, at timestamptz NOT NULL);
    CREATE TABLE ${schema}.leases (
      name text COLLATE "C" PRIMARY KEY, holder text COLLATE "C" NOT NULL, until_ms double precision NOT NULL)`,
];

/** The tables of one control store: `<schema>.doc_<collection>`, made when they are first used. */
export class Schema {
  /** The schema's name as SQL. */
  readonly sql: string;
  readonly #name: string;
  readonly #open: () => Promise<Connection>;
  readonly #made = new Map<string, Promise<string>>();

  /** `open` gives a connection of its own: tables are never made inside a caller's transaction. */
  constructor(name: string, open: () => Promise<Connection>) {
    if (!NAME.test(name))
      throw new LeewayError('LW-CONFIG', `schema ${JSON.stringify(name)}: use lower case letters, digits and _`);
    this.#name = name;
    this.sql = `"${name}"`;
    this.#open = open;
  }

  /**
   * Brings the schema to this version. Safe when several processes start together: one migrates, the others wait and
   * find it done. Without anything to do it needs no right to create. Throws LW-CONFIG when a newer version was here.
   */
  async migrate(): Promise<void> {
    await this.#exclusively(async (connection) => {
      const known = await connection.query('SELECT to_regclass($1) IS NOT NULL AS known', [`${this.#name}.migrations`]);
      if (known.rows[0]?.['known'] !== true)
        await connection.query(
          `CREATE SCHEMA IF NOT EXISTS ${this.sql};
           CREATE TABLE ${this.sql}.migrations (version integer PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())`,
        );
      const answer = await connection.query(`SELECT coalesce(max(version), 0) AS version FROM ${this.sql}.migrations`);
      const from = Number(answer.rows[0]?.['version']);
      if (from > MIGRATIONS.length)
        throw new LeewayError(
          'LW-CONFIG',
          `schema ${this.#name} is of version ${from}, this Leeway knows ${MIGRATIONS.length}; start the newer Leeway again`,
        );
      for (const [index, migration] of MIGRATIONS.entries()) {
        if (index < from) continue;
        await connection.query(migration(this.sql));
        await connection.query(`INSERT INTO ${this.sql}.migrations (version) VALUES ($1)`, [index + 1]);
      }
    });
  }

  /** The table of a collection as SQL, made with its indexes when it is not there yet. Throws PostgresFailure. */
  table(collection: Shape): Promise<string> {
    const known = this.#made.get(collection.name);
    if (known !== undefined) return known;
    const made = this.#make(collection);
    this.#made.set(collection.name, made);
    made.catch(() => this.#made.delete(collection.name)); // the next one tries again
    return made;
  }

  async #make(collection: Shape): Promise<string> {
    const { name } = collection;
    assert(NAME.test(name), `collection name ${name} is lower case letters, digits and _`);
    const sql = `${this.sql}.doc_${name}`;
    const fields = Object.keys(collection.indexed);
    const indexes = fields.map((field) => `doc_${name}_${field}`);
    for (const index of indexes)
      assert(index.length <= IDENTIFIER_MAX, `index name ${index} has at most ${IDENTIFIER_MAX} characters`);
    await this.#exclusively(async (connection) => {
      const { rows } = await connection.query(
        `SELECT class.relname AS name, array(
           SELECT attname::text FROM pg_attribute WHERE attrelid = class.oid AND attnum > 0 AND NOT attisdropped) AS columns
         FROM pg_class class WHERE relnamespace = to_regnamespace($1) AND relname = ANY($2::text[])`,
        [this.#name, [`doc_${name}`, ...indexes]],
      );
      const there = new Map(rows.map((row) => [row['name'], row['columns']]));
      const columns = there.get(`doc_${name}`);
      const lacking = fields.filter((field) => !Array.isArray(columns) || !columns.includes(field));
      const added = lacking.map((field) => columnSql(collection, field));
      if (columns === undefined)
        await connection.query(
          `CREATE TABLE ${sql} (id text COLLATE "C" PRIMARY KEY, revision integer NOT NULL, body json NOT NULL
           ${added.map((column) => `, ${column}`).join('')}) WITH (fillfactor = ${FILLED_PERCENT})`,
        );
      else if (added.length > 0)
        await connection.query(`ALTER TABLE ${sql} ${added.map((column) => `ADD COLUMN ${column}`).join(', ')}`);
      for (const [place, field] of fields.entries())
        if (!there.has(indexes[place]))
          await connection.query(`CREATE INDEX ${indexes[place]} ON ${sql} (${indexKey(collection, field)})`);
    });
    return sql;
  }

  /** Runs `work` in one transaction while no other process changes this schema. */
  async #exclusively(work: (connection: Connection) => Promise<void>): Promise<void> {
    const connection = await this.#open();
    try {
      await connection.query('BEGIN');
      await connection.query(`SELECT pg_advisory_xact_lock(hashtext('leeway schema'), hashtext($1))`, [this.#name]);
      await work(connection);
      await connection.query('COMMIT');
      await connection.end();
    } finally {
      connection.close();
    }
  }
}

/** Columns of every table, so that no field may be called so; `id` in a selection is the document's own. */
const OWN_COLUMNS = new Set(['id', 'revision', 'body']);

/** The SQL of a field; only `id` and indexed fields exist for callers. Text in the order of its bytes, numbers as IEEE 754. */
export function fieldSql({ name, indexed }: Shape, field: string): string {
  if (field === 'id') return 'id';
  assert(
    NAME.test(field) && Object.hasOwn(indexed, field) && !OWN_COLUMNS.has(field),
    `field ${field} is indexed in ${name}`,
  );
  return `"${field}"`;
}

/** The part of a text field that is indexed, as SQL; null when the field is no text or `id`. */
export function prefixSql(collection: Shape, field: string): string | null {
  if (field === 'id' || collection.indexed[field] !== 'text') return null;
  return `left(${fieldSql(collection, field)}, ${INDEXED_CHARACTERS})`;
}

/**
 * A field's column, computed by the server from the body. Columns and not indexes on expressions: an update that leaves
 * the indexed fields as they are touches no index then, neither its pages on disk nor its predicate locks.
 */
function columnSql(collection: Shape, field: string): string {
  const name = fieldSql(collection, field);
  if (collection.indexed[field] === 'integer')
    return `${name} double precision GENERATED ALWAYS AS ((body->>'${field}')::float8) STORED`;
  return `${name} text COLLATE "C" GENERATED ALWAYS AS (body->>'${field}') STORED`;
}

/** NULL first, as in sqlite, so that lists are in the same order whichever driver serves them. */
function indexKey(collection: Shape, field: string): string {
  const prefix = prefixSql(collection, field);
  return prefix === null ? `${fieldSql(collection, field)} NULLS FIRST, id` : `${prefix} NULLS FIRST`;
}
