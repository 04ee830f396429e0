import type { Outcome } from './outcome.ts';
import type { SampleRows } from './samples.ts';
import type { StoredRecord, TableName } from './tables.ts';

/**
 * The doors that the pipeline speaks through. Embedded: spool, chdb child, node:sqlite. Scaled: Kafka, ClickHouse,
 * PostgreSQL. Each driver passes the same contract suite; only compose.ts knows which one runs.
 */

/** What one source sends at once. (source, epoch, sequence) names it for ever: a repeat is the same batch. */
export type Batch = {
  readonly source: string;
  /** Random at the start of the source's process, up to 53 bits. */
  readonly epoch: number;
  /** 1, 2, 3 … within the epoch. */
  readonly sequence: number;
  readonly records: readonly StoredRecord[];
  /** Samples of open ingest, read before `publish` returns its promise. A batch holds at least one record or sample. */
  readonly samples?: SampleRows;
};

/** What became of a batch at the bus: durable now, or known already (a repeat stores nothing new). */
export type Published = { readonly repeated: boolean };

/** Rows of one table as they travel: a run of frames whose bytes are ClickHouse Native blocks. */
export type Delivery = {
  readonly table: TableName;
  /** Path of a readable file of Native blocks (a closed spool segment). */
  readonly path: string;
  readonly rows: number;
  readonly frames: readonly FrameHeader[];
  /** What the file holds, where the bus has just read it; valid until the handler is done. */
  readonly bytes?: Buffer;
};

/**
 * What a frame says of itself. `lineage` orders acceptance: the first row of a key wins. Its upper 12 bits name the stream
 * (embedded: 0; Kafka: the partition), the lower 52 the place within it; order means something within a stream only.
 */
export type FrameHeader = {
  readonly lineage: bigint;
  readonly source: string;
  readonly epoch: number;
  readonly sequence: number;
  /** Frames of the same batch (one a table): the batch is complete when that many are there. */
  readonly parts: number;
  readonly table: TableName;
  readonly rows: number;
  /** Of samples: the number that rows of this source and epoch carry in their segment; else 0. */
  readonly origin: number;
};

/** Records of one source and epoch that are durable in the bus and not yet in the store. */
export type InFlight = {
  readonly source: string;
  readonly epoch: number;
  readonly records: number;
  /** Age of the oldest of them, and the smallest sequence that waits; absent where the bus does not know. */
  readonly oldest_ms?: number;
  readonly sequence_min?: number;
};

export type Backlog = {
  readonly bytes: number;
  readonly frames: number;
  /** Age of the oldest frame that the store does not hold, 0 when there is none. */
  readonly oldest_ms: number;
  /** Records waiting, by source and epoch. */
  readonly in_flight: readonly InFlight[];
  /** Torn tails found at start: writes that never finished and were never acknowledged. */
  readonly torn_frames: number;
  /** Stretches of damaged bytes between whole frames; the damaged file is kept aside. */
  readonly damaged_frames: number;
  /** Records set aside because the store rejected them for good, by source and epoch: declared loss until replayed. */
  readonly quarantined: readonly { readonly source: string; readonly epoch: number; readonly records: number }[];
  /** Batches of which a part was set aside; absent where there is none. Ranges are closed and rising. */
  readonly quarantined_batches?: readonly SequenceRanges[];
  /** What `quarantined` counts, frame by frame; where several processes set frames aside. */
  readonly quarantined_frames?: readonly QuarantinedFrame[];
  /** Records that quota policy dropped: declared loss for good. Absent where nothing ever was. */
  readonly dropped?: readonly {
    readonly source: string;
    readonly epoch: number;
    readonly reason: string;
    readonly records: number;
  }[];
  /** Batches of which every part was dropped: their sequences are missing in the store, and that is declared. */
  readonly dropped_batches?: readonly SequenceRanges[];
};

/** Sequences of one source and epoch, as closed ranges, rising. */
export type SequenceRanges = {
  readonly source: string;
  readonly epoch: number;
  readonly ranges: readonly (readonly [from: number, to: number])[];
};

/** A frame that was set aside. `id` is made of what it holds: the same frame has it wherever it comes from. */
export type QuarantinedFrame = Pick<FrameHeader, 'source' | 'epoch' | 'sequence' | 'parts'> & {
  readonly id: string;
  readonly records: number;
};

/** Makes durable that a frame was set aside; told of the same frame again it changes nothing. */
export type NoteAside = (frame: QuarantinedFrame) => Promise<void>;

export interface Bus extends AsyncDisposable {
  /** Resolves when the batch is durable. Rejects with LeewayError LW-SPOOL-FULL or LW-SPOOL-IO: nothing was acknowledged. */
  publish(batch: Batch, signal: AbortSignal): Promise<Published>;
  /**
   * Calls `handle` for each delivery in order, one at a time; when it resolves ok the delivery is trimmed. Ends with the signal.
   * `noteAside`, of a bus that others read too, is called for each frame that is set aside, again after a LeewayError: until it
   * resolves the group does not pass the frame.
   */
  consume(handle: (delivery: Delivery) => Promise<Outcome>, signal: AbortSignal, noteAside?: NoteAside): Promise<void>;
  backlog(): Backlog;
  /** Rejects with LeewayError while `publish` could not be acknowledged. Absent where nothing but this process is needed. */
  reach?(signal: AbortSignal): Promise<void>;
  /**
   * Runs `look` while nothing is on its way from here to the store: the store holds nothing of the backlog that it sees.
   * Rejects with the signal's reason where a delivery takes longer than that. Absent where other processes deliver.
   */
  betweenDeliveries?<T>(look: () => Promise<T>, signal: AbortSignal): Promise<T>;
}

/** Values of a query, sent beside the text and never spliced into it. Kinds: string, number, bigint, string[]. */
export type QueryParameters = Readonly<Record<string, string | number | bigint | readonly string[]>>;

/** One (source, epoch) of the account: emitted = stored + in_flight + declared loss, in records. */
export type StoredAccount = {
  readonly source: string;
  readonly epoch: number;
  readonly frame_rows: number;
  readonly duplicates_absorbed: number;
  readonly stored: number;
  readonly sequence_min: number;
  readonly sequence_max: number;
  readonly sequences: number;
  /** Sequences between the smallest and the largest of which the store has no part: closed ranges, rising. */
  readonly gaps: readonly (readonly [from: number, to: number])[];
  /** Of `stored`: records that were accepted after a higher sequence of the same table. */
  readonly late: number;
};

export interface Store extends AsyncDisposable {
  /** Creates or migrates the tables; idempotent. */
  migrate(signal: AbortSignal): Promise<void>;
  /** Makes a delivery durable, whole, idempotent by key; ok means that the bus may forget it. */
  insert(delivery: Delivery, signal: AbortSignal): Promise<Outcome>;
  /** Rows of a fixed query of ours; never SQL from outside. 64-bit integers arrive as strings. */
  query<Row>(sql: string, parameters: QueryParameters, signal: AbortSignal): Promise<Row[]>;
  /** The account by source and epoch, counted from the rows themselves. */
  account(signal: AbortSignal): Promise<StoredAccount[]>;
  /** Complete sequences held, as closed ranges, by source and epoch: what a restarted bus must treat as repeats. */
  sequences(signal: AbortSignal): Promise<{ source: string; epoch: number; from: number; to: number }[]>;
  /** By table a mark that every insert of rows changes: equal marks, nothing new. Tables that never took rows have none. */
  marks(signal: AbortSignal): Promise<ReadonlyMap<string, string>>;
  /** The largest lineage held, 0n when empty. */
  lineageMax(signal: AbortSignal): Promise<bigint>;
}

/** A document of the control store; `revision` starts at 1 and guards optimistic updates. */
export type Document<Body> = { readonly id: string; readonly revision: number; readonly body: Body };

/** A kind of document: its table and the fields that can be filtered and ordered by. `parse` is its parse door. */
export type Collection<Body> = {
  readonly name: string;
  readonly indexed: Readonly<Record<string, 'text' | 'integer'>>;
  readonly parse: (value: unknown) => Body;
};

export type Condition = {
  readonly field: string;
  readonly is: '=' | '!=' | '<' | '<=' | '>' | '>=' | 'in';
  readonly value: string | number | readonly string[];
};

export type Selection = {
  readonly where?: readonly Condition[];
  /** An indexed field or `id`; ties by id. Default id ascending. */
  readonly order?: { readonly field: string; readonly descending: boolean };
  readonly limit?: number;
  /** Continues after the document with this position, as given by the caller from the last item. */
  readonly after?: { readonly value: string | number; readonly id: string };
  /**
   * `skip`: what the list returns stays this transaction's until it ends, and what another transaction has taken so is
   * left out instead of waited for. For workers that share a queue; take only what you will change. A driver whose
   * transactions run one after the other has nothing to do for it.
   */
  readonly lock?: 'skip';
};

/** Reads and writes inside one transaction: all or nothing. */
export interface ControlTransaction {
  get<Body>(collection: Collection<Body>, id: string): Promise<Document<Body> | null>;
  list<Body>(collection: Collection<Body>, selection: Selection): Promise<Document<Body>[]>;
  count<Body>(collection: Collection<Body>, where: readonly Condition[]): Promise<number>;
  /** Inserts; throws LW-CONFLICT when the id exists. */
  insert<Body>(collection: Collection<Body>, id: string, body: Body): Promise<void>;
  /** Replaces; throws LW-CONFLICT unless the stored revision equals `revision`. */
  update<Body>(collection: Collection<Body>, id: string, revision: number, body: Body): Promise<void>;
  remove<Body>(collection: Collection<Body>, id: string): Promise<void>;
  /** Runs `told` once when the transaction is durable; never for an attempt that was rolled back or is repeated. */
  afterCommit(told: () => void): void;
}

export interface Control extends AsyncDisposable {
  /**
   * Runs `work` in one serialisable transaction; a throw rolls everything back. Durable when it resolves. `work` may
   * run more than once, each time from the start (a driver whose transactions run side by side repeats the loser of a
   * conflict): it changes nothing but through `tx`, and what it returns is that of the run that counted. Rejects with
   * LW-CONTROL-GONE when nothing was written, LW-CONTROL-DOUBT when that could not be found out.
   */
  transaction<Result>(work: (tx: ControlTransaction) => Promise<Result>): Promise<Result>;
  /** Takes or renews the lease `name` for `holder` until now + ttl; false when another holder's lease is alive. */
  lease(name: string, holder: string, ttl_ms: number): Promise<boolean>;
  /** Ends the lease `name` at once if `holder` has it, so that the next one need not wait for its end. */
  release(name: string, holder: string): Promise<void>;
}
