import { ok, type Outcome, reject, retry } from '../../src/core/outcome.ts';
import type { Backlog } from '../../src/core/ports.ts';
import type { LeewayRecord } from '../../src/core/records.ts';
import { decodeLink, encodeLink, type LinkMessage } from '../../src/formats/link-batch.ts';
import { Forwarder } from '../../src/transport/forward.ts';
import type { GatewayLink, Sent as Taken } from '../../src/transport/forward-link.ts';
import { ForwardLog } from '../../src/transport/forward-log.ts';
import { ForwardSpool } from '../../src/transport/forward-spool.ts';
import { openSpool } from '../../src/transport/spool.ts';
import type { SimulatedDisk } from './disk.ts';
import { droppedOf, type SpoolSettings } from './embedded-path.ts';
import { type PlantedBug, withBug } from './planted.ts';
import { SimulatedProcess } from './process.ts';
import { framesOf } from './rows.ts';
import { type Door, heartbeat, type NetworkFaults, QUIET, type Sent, stepRecord } from './sender.ts';
import type { Life, World } from './world.ts';

export type SidecarOptions = {
  readonly world: World;
  readonly disk: SimulatedDisk;
  readonly gateway: Door;
  readonly source: string;
  readonly batches: number;
  readonly spool: SpoolSettings;
  readonly bug: PlantedBug | null;
  readonly onEmit: (sent: Sent) => void;
};

/** What the gateway thinks of messages: how many records it takes at once, and whether it is from before packed batches. */
export type GatewayManners = { readonly records_max: number; readonly isOlder: boolean };
export const POLITE: GatewayManners = { records_max: Infinity, isOlder: false };

const EPOCHS = 2 ** 40;
const TIMEOUT_MS = 2_000;
const TWIN_MS_MAX = 3_000;
const RETRY_MS = 300;
/** Jobs whose records no gateway takes. */
const REFUSED = 'refused';

/** A sidecar: one collector, the spool, its log and the forwarder, in lives that follow each other on one disk. */
export class SimulatedSidecar {
  readonly #options: SidecarOptions;
  readonly process: SimulatedProcess;
  /** What the gateway was told is lost, by source, epoch, run and reason: totals that only grow. */
  readonly #declared = new Map<string, number>();
  network: NetworkFaults = QUIET;
  manners: GatewayManners = POLITE;
  #log: ForwardLog | null = null;
  #left: number;
  #inHand: Life | null = null;

  constructor(options: SidecarOptions) {
    const { world, source, batches, disk } = options;
    this.#options = options;
    this.#left = batches;
    const program = (life: Life, onOpen: (bus: ForwardSpool) => void): Promise<void> => this.#run(life, onOpen);
    const onDeath = (_life: Life, hasLostPower: boolean): void => void (hasLostPower && disk.loseUnsynced());
    this.process = new SimulatedProcess({ world, name: source, program, onDeath });
  }

  /** Everything emitted, forwarded, and what was lost is told. */
  get isDone(): boolean {
    const { life, bus } = this.process;
    return (
      this.#left === 0 &&
      life !== null &&
      this.#inHand !== life &&
      bus?.backlog().frames === 0 &&
      this.told === this.lost
    );
  }

  /** Records that the sidecar says it lost, and that it has told the gateway. */
  get lost(): number {
    const dropped = droppedOf(this.#backlog).get(this.#options.source) ?? 0;
    return (this.#log?.lost() ?? []).reduce((sum, { records }) => sum + records, dropped);
  }

  get told(): number {
    return this.#declared.values().reduce((sum, records) => sum + records, 0);
  }

  get #backlog(): Backlog | undefined {
    return this.process.bus?.backlog();
  }

  async #run(life: Life, onOpen: (bus: ForwardSpool) => void): Promise<void> {
    const { world, disk, spool, bug } = this.#options;
    const door = disk.door(life, bug === 'ack_before_sync');
    const never = new AbortController().signal;
    const clock = world.clock(life);
    const log = await ForwardLog.open(door, '/data/spool', () => EPOCHS + world.below(EPOCHS));
    const known = { sequences: log.known(), lineage_max: 0n };
    const onEvent = ({ kind }: { readonly kind: string }): void => {
      if (kind === 'spool_dropped') world.count('spool_dropped_by_policy');
      if (kind === 'forward_lost') world.count('forward_declared_lost');
    };
    const opened = await openSpool({ data_dir: '/data', ...spool, fsync: true, clock, known, disk: door, onEvent });
    if (opened.backlog().frames > 0) world.count('forward_resumed');
    const bus = new ForwardSpool(withBug(opened, bug === 'commit_before_insert' ? bug : null), log);
    this.#log = log;
    this.#inHand = null;
    onOpen(bus);
    void this.#collect(life, bus);
    const parts = { bus, log, link: this.#link(life), disk: door, clock, random: world.random, cut: never };
    await new Forwarder({ ...parts, run: life.name, losses: () => [], onEvent }).run(never);
  }

  /** The collector in this process: what it has in hand dies with it. */
  async #collect(life: Life, bus: ForwardSpool): Promise<void> {
    const { world, source, onEmit } = this.#options;
    const clock = world.clock(life);
    const never = new AbortController().signal;
    while (this.#left > 0) {
      const number = this.#left--;
      const records = this.#records(number);
      const sent = {
        source,
        batch: null,
        keys: framesOf({ source, epoch: 1, sequence: 1, records }),
        acknowledged: false,
      };
      onEmit(sent);
      this.#inHand = life;
      while (!sent.acknowledged)
        await bus.publish({ source, records }, never).then(
          () => (sent.acknowledged = true),
          () => clock.sleep(RETRY_MS, never), // full, or the disk failed
        );
      this.#inHand = null;
      await clock.sleep(world.below(400), never);
    }
  }

  #records(number: number): LeewayRecord[] {
    const { world, source } = this.#options;
    const job = world.strikes('record_refused', 0.03) ? `${source}-${REFUSED}` : source;
    const beats = Array.from({ length: world.below(6) }, (_, row) => heartbeat(job, number, row));
    const steps = Array.from({ length: world.below(3) + (beats.length === 0 ? 1 : 0) }, (_, row) =>
      stepRecord(job, number, row),
    );
    return [...beats, ...steps];
  }

  #link(life: Life): GatewayLink {
    return {
      send: (message, signal) => this.#send(life, message, signal),
      [Symbol.dispose]: () => undefined,
    };
  }

  async #send(life: Life, message: LinkMessage, signal: AbortSignal): Promise<Outcome<Taken>> {
    const { world, bug } = this.#options;
    const { lost, unanswered, doubled } = this.network;
    if (world.strikes('request_lost', lost, life.name)) {
      await world.operation(life, 'link finds nobody', () => undefined);
      return retry('LW-UNREACHABLE', 'ECONNREFUSED');
    }
    const decoded = decodeLink(encodeLink(message));
    if (decoded.kind !== 'ok') throw new Error(`a message that cannot be read back: ${decoded.reason}`);
    const refusal = this.#refusal(decoded.value);
    if (refusal !== null) return world.operation(life, `link is refused: ${refusal.code}`, () => refusal);
    const clock = world.clock(life);
    const { isOlder } = this.manners;
    const said = isOlder ? { ...decoded.value, gaps: [] } : decoded.value;
    const post = (): Promise<boolean> => this.#post(life, said, signal);
    if (world.strikes('request_doubled', doubled, life.name))
      void clock.sleep(world.below(TWIN_MS_MAX), new AbortController().signal).then(post);
    const over = new AbortController();
    const timeout = clock.sleep(TIMEOUT_MS, over.signal).then(
      () => false,
      () => false, // answered in time
    );
    const answer = post();
    const taken = await (bug === 'trim_at_bus_ack' ? true : Promise.race([answer, timeout]));
    over.abort();
    if (!taken) return retry('LW-UNREACHABLE', '503 or no answer');
    if (world.strikes('answer_lost', unanswered, life.name)) return retry('LW-TIMEOUT', 'no answer');
    return ok({ declared: !isOlder || message.gaps.length === 0 });
  }

  #refusal({ frames }: LinkMessage): (Outcome<Taken> & { readonly kind: 'reject' }) | null {
    const records = frames.flatMap((frame) => frame.records);
    if (records.some((record) => String(Reflect.get(record, 'job')).endsWith(REFUSED)))
      return reject('LW-DELIVERY', '422: refused');
    if (records.length <= this.manners.records_max) return null;
    this.#options.world.count('message_too_large');
    return reject('LW-BODY-SIZE', '413: too large');
  }

  /** What the gateway does: gaps first, then every batch under its own name; all of it or 503. */
  async #post(life: Life, { frames, gaps }: LinkMessage, signal: AbortSignal): Promise<boolean> {
    const { world, gateway } = this.#options;
    await world.operation(life, `message of ${frames.length} batches arrives`, () => undefined);
    for (const { source, epoch, run, reason, records } of gaps) {
      const name = JSON.stringify([source, epoch, run, reason]);
      this.#declared.set(name, Math.max(records, this.#declared.get(name) ?? 0));
    }
    const batches = frames.map((frame) => ({ ...frame, records: frame.records as LeewayRecord[] })); // as they were encoded
    const taken = batches.map((batch) =>
      gateway.publish(batch, signal).then(
        () => true,
        () => false,
      ),
    );
    return (await Promise.all(taken)).every(Boolean);
  }
}
