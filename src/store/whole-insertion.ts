import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { LeewayError } from '../core/errors.ts';
import { ok, type Outcome, reject, retry } from '../core/outcome.ts';
import type { Delivery } from '../core/ports.ts';
import { SAMPLES } from '../core/tables.ts';
import { insertBlocks, NEWEST_OF_ALL, newestOf, structureOf, type Taken } from './delivery-sql.ts';
import { type Engine, EngineError, type WritingSession } from './engine.ts';
import { PASSING_CODES, TOO_MANY_ROWS_CODE } from './engine-codes.ts';
import { type Inserted, type Insertion, insertAll, type Ledger, loadBlocks, withIncoming } from './insertion.ts';
import { type SampleLook, SampleOrder } from './sample-order.ts';
import { minutesOf } from './sample-times.ts';

const NO_DUPLICATES: Inserted['duplicates'] = new Map();

type Writer = Pick<Engine, 'write'>;
type Notes = Pick<Ledger, 'mark' | 'note'>;

/** Series named one by one in a statement: 100 KB of text. Beyond them all of the file is looked up. */
const UNSURE_SERIES_MAX = 5_000;

/** Series learned at once, 8,192 rows each of some parts, and the rows that may be read for it: half a second at most. */
const LEARNED_SERIES_MAX = 500;
const LEARNED_ROWS_MAX = 40_000_000;

/**
 * Inserts deliveries as whole files, for the one writer of an embedded engine: a delivery always holds the same frames,
 * and what this process has inserted is all that there is.
 */
export class WholeInsertion implements Insertion {
  readonly #engine: Writer;
  readonly #ledger: Notes;
  /** Begun with the first samples: until then nobody else has written any. */
  #order: SampleOrder | null = null;

  constructor(engine: Writer, ledger: Notes) {
    this.#engine = engine;
    this.#ledger = ledger;
  }

  async insert(delivery: Delivery, signal: AbortSignal): Promise<Outcome> {
    try {
      return await this.#engine.write(async (session) => {
        signal.throwIfAborted();
        const bytes = delivery.table === SAMPLES ? (delivery.bytes ?? (await readFile(delivery.path))) : null;
        const look = bytes === null ? null : (await this.#begun(session)).look(bytes);
        const { found, duplicates } = await (look === null
          ? insertFile(session, delivery)
          : insertSamples(session, delivery, look));
        // what the engine does not see it would not store, and say nothing
        if (found !== delivery.rows)
          return reject('LW-STORE', `the engine read ${found} rows of ${delivery.rows} from ${delivery.path}`);
        if (bytes !== null) await this.#ledger.mark(session, minutesOf(bytes, look?.span));
        await this.#ledger.note(session, delivery.frames, duplicates);
        if (look !== null) await this.#learn(session, look);
        return ok(undefined);
      }, signal);
    } catch (error) {
      return insertOutcome(error);
    }
  }

  async #begun(session: WritingSession): Promise<SampleOrder> {
    if (this.#order !== null) return this.#order;
    const [all] = await session.rows<{ readonly rows: string; readonly newest_ms: string }>(NEWEST_OF_ALL);
    this.#order = new SampleOrder(all === undefined || all.rows === '0' ? -Infinity : Number(all.newest_ms));
    return this.#order;
  }

  /** What the store holds of series that were looked up: of some a file, and only where little comes after its samples. */
  async #learn(session: WritingSession, { unlearned, span }: SampleLook): Promise<void> {
    if (unlearned.length === 0 || !Number.isSafeInteger(span.from_ms)) return;
    const bounds = { from_ms: span.from_ms, rows_max: LEARNED_ROWS_MAX };
    const newest = newestOf(unlearned.slice(0, LEARNED_SERIES_MAX), bounds);
    try {
      const rows = await session.rows<{ readonly id: string; readonly newest_ms: string }>(newest);
      this.#order?.learn(new Map(rows.map(({ id, newest_ms }) => [BigInt(id), Number(newest_ms)])));
    } catch (error) {
      // history that comes late: its series stay unsure, as they would be anyway while later samples are stored
      if (!(error instanceof EngineError && error.engine_code === TOO_MANY_ROWS_CODE)) throw error;
    }
  }
}

/** Nearly all samples are later than any of their series; only where they are not the store is asked what it holds. */
async function insertSamples(session: WritingSession, delivery: Delivery, look: SampleLook): Promise<Inserted> {
  const { rows: found, unsure: ids } = look;
  if (found !== delivery.rows) return { found, duplicates: NO_DUPLICATES };
  if (ids.length > UNSURE_SERIES_MAX) return insertFile(session, delivery);
  const rows = { ...delivery, sample_lineage: 'origin' } as const;
  const blocks = { path: path.resolve(delivery.path) };
  const insert = (taken: Taken): Promise<void> =>
    session.read(blocks, structureOf(rows), (source) => insertBlocks(rows, source, taken));
  if (ids.length === 0) {
    await insert('all');
    return { found, duplicates: NO_DUPLICATES };
  }
  return withIncoming(session, async () => {
    const { duplicates } = await loadBlocks(session, rows, blocks, ids);
    await insert(duplicates.size === 0 ? 'all' : 'fresh');
    return { found, duplicates };
  });
}

function insertFile(session: WritingSession, delivery: Delivery): Promise<Inserted> {
  const rows = { ...delivery, sample_lineage: 'origin' } as const;
  return withIncoming(session, () => insertAll(session, rows, { path: path.resolve(delivery.path) }));
}

function insertOutcome(error: unknown): Outcome {
  if (error instanceof LeewayError) return retry(error.code, error.message, 100);
  if (!(error instanceof EngineError)) throw error;
  if (PASSING_CODES.has(error.engine_code)) return retry('LW-STORE', error.message);
  return reject('LW-STORE', error.message);
}
