import type { LeewayRecord } from '../core/records.ts';
import type { ServingMapping } from './catalog-mapping.ts';
import { inferenceRecord, type PartDelta } from './serving-record.ts';
import type { ServingName } from './serving-name.ts';

/** Readings of one moment: a sender's clock is read metric by metric. */
export const MOMENT_MS = 50;
/** A part that stays away this long is gone: Prometheus's look-back. */
const GONE_AFTER_MS = 300_000;
/** A reader that says nothing for so long has handed over: two scrapes of a minute. */
const SILENT_AFTER_MS = 120_000;
const SERVERS_MAX = 4_096;
/** Series of one server and model: 10 histograms of 40 buckets in 10 label sets. */
const PARTS_MAX = 4_096;

/** One series of a server; a histogram row is `[count, sum, …buckets]` with `bounds`, everything else one number. */
export type ServingPart = {
  readonly server: Server;
  readonly mapping: ServingMapping;
  /** The same for the parts of one histogram. */
  readonly group: string;
  /** Upper bound of a bucket, in the sender's unit; null for other parts. */
  readonly le: number | null;
  readonly failed: boolean;
  /** By whom the server was read: two Prometheus of one pair say the same twice. */
  readonly reader: string;
  /** The sender tells changes and not totals: they are summed here. */
  readonly isDelta: boolean;
  at_ms: number;
  now: readonly number[];
  bounds: readonly number[];
  base: { readonly values: readonly number[]; readonly bounds: readonly number[] } | null;
  ended: boolean;
};

type Server = {
  readonly key: string;
  readonly name: ServingName;
  readonly parts: Set<ServingPart>;
  /** Whose readings count, and when the last one was. */
  reader: string;
  read_ms: number;
  /** Time of the readings that are coming in; null before the first. */
  at_ms: number | null;
  base_ms: number | null;
};

/**
 * Serving counters as `inference` records, one a window between two readings of a server. Its series may come in several
 * requests, so a window closes when a later reading begins, and only with all series that the server has; else it goes on
 * until a whole one comes: figures are late or coarse rather than wrong. The first reading is only where counting begins,
 * readings that come late count in no window (all of them are kept as series). A counter that falls was restarted: then
 * what it shows is the window's. Held: the last two readings of each series, so senders of one server belong at one gateway. Of two
 * that read the same server one counts; the other does when the first is silent.
 */
export class ServingWindows {
  readonly #servers = new Map<string, Server>();

  /** A further series; null when there are more servers or series than can be told apart. */
  part(
    name: ServingName,
    of: Pick<ServingPart, 'mapping' | 'group' | 'le' | 'failed' | 'reader' | 'isDelta'>,
  ): ServingPart | null {
    const key = JSON.stringify([name.model, name.version, name.replica, name.provider]);
    const known = this.#servers.get(key);
    if (known === undefined && this.#servers.size >= SERVERS_MAX) return null;
    const silent = { reader: of.reader, read_ms: Number.NEGATIVE_INFINITY, at_ms: null, base_ms: null };
    const server = known ?? { key, name, parts: new Set(), ...silent };
    this.#servers.set(key, server);
    if (server.parts.size >= PARTS_MAX) return null;
    const part = { ...of, server, at_ms: Number.NEGATIVE_INFINITY, now: [], bounds: [], base: null, ended: true };
    server.parts.add(part);
    return part;
  }

  /** Forgets a series, and its server with the last one. */
  forget(part: ServingPart): void {
    part.server.parts.delete(part);
    if (part.server.parts.size === 0) this.#servers.delete(part.server.key);
  }

  /** One reading, in the order of time; the record of the window that it closes, if any. */
  put(part: ServingPart, at_ms: number, values: readonly number[], bounds: readonly number[]): LeewayRecord | null {
    const { server } = part;
    let record: LeewayRecord | null = null;
    if (part.reader !== server.reader) {
      if (at_ms - server.read_ms <= SILENT_AFTER_MS) return null;
      this.#hand(server, part.reader);
    }
    server.read_ms = Math.max(server.read_ms, at_ms);
    if (server.at_ms === null) server.at_ms = at_ms;
    else if (at_ms < server.at_ms - MOMENT_MS) return null;
    else if (at_ms > server.at_ms + MOMENT_MS) {
      record = close(server, server.at_ms);
      server.at_ms = at_ms;
    }
    const isKnown = !part.ended && sameBounds(part.bounds, bounds);
    if (part.isDelta && isKnown && at_ms <= part.at_ms) return record; // told again
    part.now = part.isDelta && isKnown ? values.map((value, index) => value + (part.now[index] ?? 0)) : values;
    if (!isKnown) part.base = null;
    part.bounds = bounds;
    part.at_ms = at_ms;
    part.ended = false;
    return record;
  }

  /** Another reader's series count from now on; its first reading is where counting begins. */
  #hand(server: Server, reader: string): void {
    Object.assign(server, { reader, at_ms: null, base_ms: null });
    for (const part of server.parts) this.end(part);
  }

  /** The series has ended (a staleness marker): no window waits for it. */
  end(part: ServingPart): void {
    part.ended = true;
    part.base = null;
  }
}

function close(server: Server, at_ms: number): LeewayRecord | null {
  const parts = [...server.parts].filter((part) => !part.ended);
  for (const part of parts) if (at_ms - part.at_ms > GONE_AFTER_MS) part.ended = true;
  const present = parts.filter((part) => !part.ended);
  if (present.some((part) => Math.abs(part.at_ms - at_ms) > MOMENT_MS)) return null;
  const since_ms = server.base_ms;
  const counted = present.filter((part) => part.base !== null);
  const isReset = counted.some((part) => (part.now[0] ?? 0) < (part.base?.values[0] ?? 0));
  const deltas = counted.map(
    (part): PartDelta => ({
      ...part,
      values: isReset && !part.isDelta ? part.now : part.now.map((now, index) => now - (part.base?.values[index] ?? 0)),
    }),
  );
  for (const part of present) part.base = { values: part.now, bounds: part.bounds };
  server.base_ms = at_ms;
  if (since_ms === null || deltas.length === 0) return null;
  return inferenceRecord(server.name, { at_ms, window_ms: at_ms - since_ms }, deltas);
}

function sameBounds(one: readonly number[], other: readonly number[]): boolean {
  return one.length === other.length && one.every((bound, index) => bound === other[index]);
}
