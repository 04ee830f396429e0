import { LeewayError } from '../../src/core/errors.ts';
import type { Bus } from '../../src/core/ports.ts';
import { ingest } from '../../src/pipeline/ingest.ts';
import { openKafkaBus } from '../../src/transport/kafka-bus.ts';
import type { KafkaEvent } from '../../src/transport/kafka-event.ts';
import type { Event } from './census.ts';
import { checkLog, checkSequences, checkStore, deadKeys } from './checker.ts';
import { SimulatedDisk } from './disk.ts';
import { DEAD_LETTERS, FRAMES, SimulatedKafka, TIMINGS } from './kafka.ts';
import { type PlantedBug, withBug } from './planted.ts';
import { type Program, SimulatedProcess } from './process.ts';
import { disturbProcesses, networkFaults, processFaults, type Scenario, upTo } from './run.ts';
import { type Door, QUIET, type Sent, SimulatedSender } from './sender.ts';
import { SimulatedStore } from './store.ts';
import type { Life, World } from './world.ts';

const BATCHES = 5;
const SOURCES = ['node-a', 'node-b', 'node-c', 'tool-x'] as const;
const GATEWAYS = ['gateway-1', 'gateway-2'] as const;
const WORKERS = ['worker-1', 'worker-2', 'worker-3'] as const;
const PARTITIONS = 3;
const PUBLISH_TIMEOUT_MS = 3_000;

/** Chances a step of what befalls the cluster by itself. */
type ClusterRates = {
  readonly leader: number;
  readonly expel: number;
  readonly silent: number;
  readonly forget: number;
  readonly garbage: number;
  readonly retention: number;
};

/** Gateways, brokers, workers, one store and what sends to them. */
export class Fleet {
  readonly #world: World;
  readonly #store: SimulatedStore;
  readonly #kafka: SimulatedKafka;
  readonly #disks = new Map<string, SimulatedDisk>();
  readonly #gateways: readonly SimulatedProcess[];
  readonly #workers: readonly SimulatedProcess[];
  readonly #senders: readonly SimulatedSender[];
  readonly #sent: Sent[] = [];
  readonly #bug: PlantedBug | null;

  constructor(world: World, bug: PlantedBug | null) {
    this.#world = world;
    this.#bug = bug;
    this.#store = new SimulatedStore(world);
    const bugs = { acks_one: bug === 'ack_before_sync', commits_on_fetch: bug === 'trim_at_bus_ack' };
    this.#kafka = new SimulatedKafka(world, PARTITIONS, bugs);
    this.#gateways = GATEWAYS.map((name) => this.#process(name, this.#gateway(name)));
    this.#workers = WORKERS.slice(0, 2 + world.below(2)).map((name) => this.#process(name, this.#worker(name)));
    const poison = world.chance(0.2) ? 0.05 : 0;
    const onEmit = (one: Sent): void => {
      this.#sent.push(one);
      const victim = one.keys.flat()[0];
      if (victim !== undefined && world.chance(poison)) this.#store.poisoned.add(victim);
    };
    const doors = this.#gateways.map((gateway) => this.#watched(gateway));
    this.#senders = SOURCES.map(
      (source) =>
        new SimulatedSender({ world, doors, source, isNamed: source.startsWith('node'), batches: BATCHES, onEmit }),
    );
  }

  /** The execution: everything started, faults planted. */
  scenario(): Scenario {
    const world = this.#world;
    const processes = [...this.#gateways, ...this.#workers];
    const senders = this.#senders;
    this.#plant();
    const rates = processFaults(world);
    const cluster = clusterRates(world);
    for (const startable of [...processes, ...senders]) startable.start();
    return {
      world,
      disturb: () => {
        disturbProcesses(world, rates, { processes, senders });
        this.#disturbCluster(cluster);
      },
      calm: () => this.#calm(),
      isDone: () => senders.every((sender) => sender.isDone) && this.#hasNoLag(),
      check: () => this.#check(),
    };
  }

  #process(name: string, program: Program): SimulatedProcess {
    const world = this.#world;
    const onDeath = (life: Life, hasLostPower: boolean): void => {
      if (this.#kafka.group.isRebalancing) world.count('killed_during_rebalance');
      this.#kafka.group.lost(life);
      if (hasLostPower) this.#disk(name).loseUnsynced();
    };
    return new SimulatedProcess({ world, name, program, onDeath });
  }

  #gateway(name: string): Program {
    return async (life, onOpen) => onOpen(withBug(await this.#open(name, life), this.#bug));
  }

  #worker(name: string): Program {
    return async (life, onOpen) => {
      const bus = withBug(await this.#open(name, life), this.#bug);
      onOpen(bus);
      const store = this.#store.shared(life, this.#disk(name).door(life));
      const clock = this.#world.clock(life);
      await ingest({ bus, store, clock, onEvent: () => undefined }, new AbortController().signal);
    };
  }

  #open(name: string, life: Life): Promise<Bus> {
    return openKafkaBus({
      driver: this.#kafka.driver(life),
      brokers: [],
      scratch_dir: '/scratch',
      scratch_disk: this.#disk(name).door(life),
      clock: this.#world.clock(life),
      publish_timeout_ms: PUBLISH_TIMEOUT_MS,
      delivery_rows_max: 30,
      delivery_wait_ms: 100,
      buffer_bytes_max: 3_000,
      in_flight_bytes_max: 6_000,
      ...TIMINGS,
      onEvent: (event) => this.#countEvent(life, event),
    });
  }

  #disk(name: string): SimulatedDisk {
    const disk = this.#disks.get(name) ?? new SimulatedDisk(this.#world);
    this.#disks.set(name, disk);
    return disk;
  }

  /** A gateway's door, which counts what its bus says. */
  #watched(gateway: SimulatedProcess): Door {
    const counted = <Result>(work: Promise<Result>): Promise<Result> =>
      work.catch((error: unknown) => {
        if (error instanceof LeewayError && error.message.includes('send it again'))
          this.#world.count('publish_given_back');
        throw error;
      });
    return {
      publish: async (batch, signal) => {
        const published = await counted(gateway.publish(batch, signal));
        if (published.repeated) this.#world.count('publish_joined_its_twin');
        return published;
      },
      send: (source, content, signal) => counted(gateway.send(source, content, signal)),
    };
  }

  #countEvent(life: Life, { kind, reason }: KafkaEvent): void {
    this.#world.note(`${life.name}: ${kind} ${reason}`);
    const states: Readonly<Partial<Record<KafkaEvent['kind'], Event>>> = {
      kafka_consumer_stalled: 'consumer_stalled',
      kafka_dead_letter: reason.includes('LW-INPUT') ? 'dead_letter_of_garbage' : 'dead_letter_of_frame',
    };
    const state = states[kind];
    if (state !== undefined) this.#world.count(state);
  }

  #plant(): void {
    const world = this.#world;
    for (const disk of [...WORKERS, ...GATEWAYS].map((name) => this.#disk(name)))
      disk.faults = { error: upTo(world, 0.02), bytes_max: world.chance(0.1) ? 1_500 : Infinity };
    this.#store.faults = { ambiguous: upTo(world, 0.3), refused: upTo(world, 0.3) };
    this.#kafka.log.faults = {
      lost: upTo(world, 0.2),
      unanswered: upTo(world, 0.2),
      partial: upTo(world, 0.2),
      doubled: upTo(world, 0.2),
      late: upTo(world, 0.1),
    };
    this.#kafka.faults = {
      join: upTo(world, 0.3),
      fetch: upTo(world, 0.1),
      repeated: upTo(world, 0.2),
      stale: upTo(world, 1),
      positions: upTo(world, 0.2),
      commit: upTo(world, 0.3),
    };
    world.slowness = { chance: upTo(world, 0.03), most_ms: 5_000 };
    for (const sender of this.#senders) sender.network = networkFaults(world);
  }

  #disturbCluster(rates: ClusterRates): void {
    const world = this.#world;
    const { group, log } = this.#kafka;
    const partitions = log.partitions(FRAMES);
    const tender = partitions.find((one) => one.log.length > one.high); // written and not replicated
    const partition = tender !== undefined && world.chance(0.5) ? tender : world.pick(partitions);
    const member = world.pick(group.members);
    if (world.chance(rates.leader) && partition !== undefined) log.changeLeader(partition);
    if (member !== undefined && world.strikes('member_expelled', rates.expel, member.life.name)) group.expel(member);
    const client = world.pick(this.#kafka.clients);
    if (client !== undefined && world.strikes('consumer_silent', rates.silent, client.life.name)) {
      client.isSilent = true;
      client.wake();
    }
    if (partition === undefined) return;
    if (world.strikes('commit_forgotten', rates.forget)) group.forget(partition.number);
    if (world.strikes('garbage_produced', rates.garbage)) log.add(partition, garbage(partition.number));
    const committed = Number(group.committed.get(partition.number) ?? 0n);
    if (committed > partition.low && world.strikes('retention_passed', rates.retention)) partition.low = committed;
  }

  #calm(): void {
    if (this.#world.chance(0.2)) this.#kafka.group.forget(this.#world.below(PARTITIONS)); // no later message repeats the commit
    for (const disk of this.#disks.values()) disk.faults = { error: 0, bytes_max: Infinity };
    this.#store.faults = { ambiguous: 0, refused: 0 };
    this.#kafka.log.faults = { lost: 0, unanswered: 0, partial: 0, doubled: 0, late: 0 };
    this.#kafka.faults = { join: 0, fetch: 0, repeated: 0, stale: 0, positions: 0, commit: 0 };
    this.#world.slowness = { chance: 0, most_ms: 0 };
    for (const sender of this.#senders) sender.network = QUIET;
  }

  #hasNoLag(): boolean {
    const { log, group } = this.#kafka;
    return (
      log.partitions(FRAMES).every((partition) => group.hasCommitted(partition)) &&
      this.#workers.every(({ bus }) => {
        const backlog = bus?.backlog();
        return backlog?.frames === 0 && backlog.bytes === 0;
      }) &&
      this.#gateways.every(({ bus }) => bus?.backlog().bytes === 0)
    );
  }

  #check(): string[] {
    const aside = deadKeys(this.#kafka);
    const wrong = [
      ...checkStore(this.#store, this.#sent, { aside, dropped: new Map() }),
      ...(this.#store.poisoned.size > 0 ? [] : checkSequences(this.#store, this.#sent)),
      ...checkLog(this.#kafka, this.#store, aside),
    ];
    const letters = this.#kafka.log.partitions(DEAD_LETTERS).flatMap(({ log }) => log);
    const healthy = this.#sent
      .flatMap(({ keys }) => keys)
      .filter((keys) => !keys.some((key) => this.#store.poisoned.has(key)));
    if (healthy.some((keys) => keys.some((key) => aside.has(key)))) wrong.push('a healthy frame was set aside');
    for (const { message } of letters)
      if (message.headers['code'] === undefined) wrong.push('a dead letter does not say why');
    for (const [name, { forgotten }] of this.#disks)
      if (forgotten.length > 0) wrong.push(`${name} left ${forgotten.length} files behind`);
    return wrong;
  }
}

function clusterRates(world: World): ClusterRates {
  return {
    leader: upTo(world, 0.01),
    expel: upTo(world, 0.01),
    silent: upTo(world, 0.002),
    forget: upTo(world, 0.002),
    garbage: upTo(world, 0.003),
    retention: upTo(world, 0.005),
  };
}

/** What another program wrote into the topic by mistake. */
function garbage(partition: number): {
  partition: number;
  key: Buffer;
  value: Buffer;
  headers: Record<string, string>;
} {
  return {
    partition,
    key: Buffer.from('someone'),
    value: Buffer.from('{"not":"a frame"}'),
    headers: { table: 'samples' },
  };
}
