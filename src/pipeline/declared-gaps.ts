import { busOver } from '../core/bus-over.ts';
import { ENGINE_STATE } from '../control/collections.ts';
import type { Clock } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import type { Backlog, Bus, Control, ControlTransaction } from '../core/ports.ts';
import { RangeSet } from '../core/range-set.ts';
import type { LinkGap } from '../formats/link-batch.ts';

/** Name of these documents among the states of the control store. */
const ENGINE = 'declared_gap';
/** Totals of one source and epoch: reasons times the restarts of its sender that lost something. */
const TOTALS_MAX = 1_000;

type Range = readonly [from: number, to: number];
/** What one source and epoch gave up: records by run and reason, and batches of which nothing is left. */
type Given = { readonly totals: Readonly<Record<string, number>>; readonly ranges: readonly Range[] };
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

  /** Makes gaps durable. Rejects with LW-OVERLOADED beyond LIMITS.sources_max sources, and as Control.transaction. */
  async take(gaps: readonly LinkGap[]): Promise<void> {
    const groups = Map.groupBy(gaps, ({ source, epoch }) => idOf(source, epoch));
    if (groups.size === 0) return;
    const taken = await this.#control.transaction(async (tx) => {
      const all: Known[] = [];
      for (const [id, group] of groups) all.push(await this.#takeOne(tx, id, group));
      return all;
    });
    for (const known of taken) this.#known.set(idOf(known.source, known.epoch), known);
  }

  async #takeOne(tx: ControlTransaction, id: string, group: readonly LinkGap[]): Promise<Known> {
    const { source = '', epoch = 0 } = group[0] ?? {};
    const found = await tx.get(ENGINE_STATE, id);
    const before = givenOf(found?.body.state);
    const given = merged(before, group);
    const body = { engine: ENGINE, updated_at_ms: this.#clock.now_ms(), state: { source, epoch, ...given } };
    if (found === null) {
      if ((await tx.count(ENGINE_STATE, [{ field: 'engine', is: '=', value: ENGINE }])) >= LIMITS.sources_max)
        throw new LeewayError('LW-OVERLOADED', `gaps of ${LIMITS.sources_max} sources are known already`);
      await tx.insert(ENGINE_STATE, id, body);
    } else if (JSON.stringify(given) !== JSON.stringify(before))
      await tx.update(ENGINE_STATE, id, found.revision, body);
    return { source, epoch, given };
  }

  /** Reads what is known, by this process and others. */
  async refresh(): Promise<void> {
    const where = [{ field: 'engine', is: '=', value: ENGINE }] as const;
    const documents = await this.#control.transaction((tx) =>
      tx.list(ENGINE_STATE, { where, limit: LIMITS.sources_max }),
    );
    for (const { id, body } of documents) {
      const { source, epoch } = Object(body.state) as { source?: unknown; epoch?: unknown }; // a document that take() wrote
      if (typeof source === 'string' && typeof epoch === 'number')
        this.#known.set(id, { source, epoch, given: givenOf(body.state) });
    }
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
  for (const { run, reason, records } of gaps) {
    const name = `${run.replaceAll(' ', '_').slice(0, 32)} ${reason.slice(0, 64)}`;
    const isNew = !Object.hasOwn(totals, name);
    if (records > 0 && (!isNew || Object.keys(totals).length < TOTALS_MAX))
      totals[name] = Math.max(totals[name] ?? 0, records);
  }
  return { totals, ranges: ranges.ranges.map(({ from, to }) => [from, to] as const) };
}

/** What a document holds; nothing where there is none. */
function givenOf(state: unknown): Given {
  const { totals = {}, ranges = [] } = Object(state) as Partial<Given>; // a document that take() wrote
  return { totals, ranges };
}
