import { busOver } from '../core/bus-over.ts';
import { ENGINE_STATE } from '../control/collections.ts';
import type { Clock } from '../core/clock.ts';
import { LIMITS } from '../core/limits.ts';
import type { Backlog, Bus, Control, ControlTransaction, Document } from '../core/ports.ts';
import { RangeSet } from '../core/range-set.ts';
import type { LinkGap } from '../formats/link-batch.ts';

/** Name of these documents among the states of the control store. */
const ENGINE = 'declared_gap';
const OURS = [{ field: 'engine', is: '=', value: ENGINE }] as const;
/** What was not told again for so long makes room for others: a node that is there tells all it lost at each start. */
const KEPT_MS = 30 * 86_400_000;
/** Totals of one source and epoch: reasons times the restarts of its sender that lost something. */
const TOTALS_MAX = 1_000;

type Range = readonly [from: number, to: number];
/** What one source and epoch gave up: records by run and reason, and batches of which nothing is left. */
type Given = { readonly totals: Readonly<Record<string, number>>; readonly ranges: readonly Range[] };
type EngineState = ReturnType<typeof ENGINE_STATE.parse>;
type TakenAll = {
  readonly taken: readonly Known[];
  readonly expired: readonly string[];
  readonly refused_count: number;
};
type Known = { readonly source: string; readonly epoch: number; readonly given: Given };

/**
 * What senders say they lost before it came here, as totals that only grow: kept in the control store, so that every process
 * that reads the account has it, and told again without harm.
 */
export class DeclaredGaps {
  readonly #control: Control;
  readonly #clock: Clock;
  readonly #known = new Map<string, Known>();

  constructor(control: Control, clock: Clock) {
    this.#control = control;
    this.#clock = clock;
  }

  /**
   * Makes gaps durable and returns how many found no room: beyond LIMITS.sources_max sources and epochs only those come in
   * for which one goes that nobody has told of for KEPT_MS. Rejects as Control.transaction.
   */
  async take(gaps: readonly LinkGap[]): Promise<number> {
    const groups = Map.groupBy(gaps, ({ source, epoch }) => idOf(source, epoch));
    if (groups.size === 0) return 0;
    const { taken, expired, refused_count } = await this.#control.transaction((tx) => this.#takeAll(tx, groups));
    for (const id of expired) this.#known.delete(id);
    for (const known of taken) this.#known.set(idOf(known.source, known.epoch), known);
    return refused_count;
  }

  async #takeAll(tx: ControlTransaction, groups: ReadonlyMap<string, readonly LinkGap[]>): Promise<TakenAll> {
    const found = new Map<string, Document<EngineState>>();
    for (const id of groups.keys()) {
      const document = await tx.get(ENGINE_STATE, id);
      if (document !== null) found.set(id, document);
    }
    const { room, expired } = await this.#makeRoom(tx, groups.size - found.size, found);
    const taken: Known[] = [];
    let inserted = 0;
    let refused_count = 0;
    for (const [id, group] of groups) {
      const { source = '', epoch = 0 } = group[0] ?? {};
      const document = found.get(id);
      if (document === undefined && inserted === room) {
        refused_count += group.length;
        continue;
      }
      const before = givenOf(document?.body.state);
      const given = merged(before, group);
      const body = { engine: ENGINE, updated_at_ms: this.#clock.now_ms(), state: { source, epoch, ...given } };
      if (document === undefined) {
        inserted++;
        await tx.insert(ENGINE_STATE, id, body);
      } else if (JSON.stringify(given) !== JSON.stringify(before))
        await tx.update(ENGINE_STATE, id, document.revision, body);
      taken.push({ source, epoch, given });
    }
    return { taken, expired, refused_count };
  }

  /** How many of `wanted` documents may be added, once the oldest have gone where there is no room for all. */
  async #makeRoom(
    tx: ControlTransaction,
    wanted: number,
    spared: ReadonlyMap<string, unknown>,
  ): Promise<{ readonly room: number; readonly expired: readonly string[] }> {
    if (wanted === 0) return { room: 0, expired: [] };
    const room = LIMITS.sources_max - (await tx.count(ENGINE_STATE, OURS));
    if (room >= wanted) return { room: wanted, expired: [] };
    const old = { field: 'updated_at_ms', is: '<', value: this.#clock.now_ms() - KEPT_MS } as const;
    const order = { field: 'updated_at_ms', descending: false } as const;
    const oldest = await tx.list(ENGINE_STATE, { where: [...OURS, old], order, limit: wanted - room + spared.size });
    const expired = oldest.flatMap(({ id }) => (spared.has(id) ? [] : [id])).slice(0, wanted - room);
    for (const id of expired) await tx.remove(ENGINE_STATE, id);
    return { room: Math.max(0, room + expired.length), expired };
  }

  /** Reads what is known, by this process and others. */
  async refresh(): Promise<void> {
    const before = new Set(this.#known.keys());
    const documents = await this.#control.transaction((tx) =>
      tx.list(ENGINE_STATE, { where: OURS, limit: LIMITS.sources_max }),
    );
    for (const { id, body } of documents) {
      before.delete(id);
      const { source, epoch } = Object(body.state) as { source?: unknown; epoch?: unknown }; // a document that take() wrote
      if (typeof source === 'string' && typeof epoch === 'number')
        this.#known.set(id, { source, epoch, given: givenOf(body.state) });
    }
    for (const id of before) this.#known.delete(id); // another process made room
  }

  /** The bus, whose backlog names these losses beside its own. */
  over(bus: Bus): Bus {
    return busOver(bus, { backlog: () => this.#added(bus.backlog()) });
  }

  #added(backlog: Backlog): Backlog {
    if (this.#known.size === 0) return backlog;
    const { dropped = [], dropped_batches = [] } = backlog;
    const records = [...this.#known.values()].flatMap(({ source, epoch, given }) =>
      Object.entries(given.totals).map(([name, count]) => ({ source, epoch, reason: reasonOf(name), records: count })),
    );
    const batches = new Map<string, { source: string; epoch: number; lost: RangeSet }>();
    const own = [...this.#known.values()].map(({ source, epoch, given: { ranges } }) => ({ source, epoch, ranges }));
    for (const { source, epoch, ranges } of [...dropped_batches, ...own]) {
      const known = batches.get(idOf(source, epoch)) ?? { source, epoch, lost: new RangeSet() };
      for (const [from, to] of ranges) known.lost.add(from, to);
      batches.set(idOf(source, epoch), known);
    }
    return {
      ...backlog,
      dropped: [...dropped, ...records],
      dropped_batches: [...batches.values()].map(({ source, epoch, lost }) => ({
        source,
        epoch,
        ranges: lost.ranges.map(({ from, to }) => [from, to] as const),
      })),
    };
  }
}

function idOf(source: string, epoch: number): string {
  return `${ENGINE}/${epoch}/${source}`;
}

/** Totals are named `<run> <reason>`. */
function reasonOf(name: string): string {
  return name.slice(name.indexOf(' ') + 1);
}

function merged(before: Given, gaps: readonly LinkGap[]): Given {
  const totals: Record<string, number> = { ...before.totals };
  const ranges = new RangeSet(LIMITS.gap_ranges_max);
  for (const [from, to] of [...before.ranges, ...gaps.flatMap((gap) => gap.ranges)]) ranges.add(from, to);
  let totals_count = Object.keys(totals).length;
  for (const { run, reason, records } of gaps) {
    const name = `${run.replaceAll(' ', '_').slice(0, 32)} ${reason.slice(0, 64)}`;
    const isNew = !Object.hasOwn(totals, name);
    if (records === 0 || (isNew && totals_count >= TOTALS_MAX)) continue;
    if (isNew) totals_count++;
    totals[name] = Math.max(totals[name] ?? 0, records);
  }
  return { totals, ranges: ranges.ranges.map(({ from, to }) => [from, to] as const) };
}

/** What a document holds; nothing where there is none. */
function givenOf(state: unknown): Given {
  const { totals = {}, ranges = [] } = Object(state) as Partial<Given>; // a document that take() wrote
  return { totals, ranges };
}
