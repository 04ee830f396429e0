import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { KafkaDriverName } from '../../src/transport/kafka-bus.ts';
import { PostgresServer } from '../contract/postgres-server.ts';
import { ClickHouseDouble } from '../store/clickhouse-double.ts';
import { type KafkaCluster, startKafka } from './kafka-broker.ts';
import { freePort } from './leeway-process.ts';
import { pause, type Service, startService } from './running-service.ts';

/** Clock ticks a second of /proc/<pid>/stat on Linux. */
const TICKS_PER_S = 100;
/** A process that cannot start because what it needs is down is started again, as a supervisor would. */
const START_AGAIN_MS = 200;
const STARTS_MAX = 300;

/** CPU seconds that a process has used; 0 when it is gone. */
export function cpuSeconds(pid: number): number {
  if (!existsSync(`/proc/${pid}/stat`)) return 0;
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S;
}

/** One process of the fleet over all its lives, on the same port and directory. */
export class Member {
  readonly role: string;
  readonly url: string;
  readonly #directory: string;
  readonly #config: object;
  readonly #spent = { cpu_s: 0 };
  #service: Service | null = null;
  /** Starts that ended before the process was ready. */
  failed_starts = 0;
  kills = 0;
  /** Lives that ended without being asked to. */
  crashes = 0;
  /** Standard error of all lives that have ended. */
  log = '';

  constructor(directory: string, role: string, { port, config }: { readonly port: number; readonly config: object }) {
    this.role = role;
    this.url = `http://127.0.0.1:${port}`;
    this.#directory = directory;
    this.#config = { ...config, server: { port }, log: { level: 'info', format: 'json' } };
  }

  /** Resolves when the process serves. */
  async start(): Promise<void> {
    await mkdir(this.#directory, { recursive: true });
    for (let attempt = 1; ; attempt++)
      try {
        const service = await startService(this.#directory, this.#config, ['--role', this.role]);
        this.#service = service;
        void service.ended.then(() => {
          if (this.#service === service) this.crashes++;
        });
        return;
      } catch (error) {
        if (attempt === STARTS_MAX) throw error;
        this.failed_starts++;
        this.log += `${error instanceof Error ? error.message : String(error)}\n`;
        await pause(START_AGAIN_MS);
      }
  }

  get cpu_s(): number {
    return this.#spent.cpu_s + (this.#service === null ? 0 : cpuSeconds(this.#service.pid));
  }

  /** kill -9, without asking whether it suits. */
  async kill(): Promise<void> {
    this.kills++;
    await this.#end('SIGKILL');
  }

  /** SIGTERM; returns the exit code. */
  async stop(): Promise<number | null> {
    return this.#end('SIGTERM');
  }

  async #end(signal: NodeJS.Signals): Promise<number | null> {
    const service = this.#service;
    if (service === null) return null;
    this.#spent.cpu_s += cpuSeconds(service.pid);
    this.#service = null;
    service.kill(signal);
    const { code, err } = await service.ended;
    this.log += err;
    return code;
  }
}

export type FleetOptions = {
  readonly driver: KafkaDriverName;
  readonly nodes: 1 | 3;
  readonly gateways: number;
  readonly workers: number;
  readonly partitions: number;
};

/** A fleet on loopback: Kafka, PostgreSQL, the stand-in for ClickHouse, and processes of every role. */
export class Fleet implements AsyncDisposable {
  readonly kafka: KafkaCluster;
  readonly clickhouse: ClickHouseDouble;
  readonly gateways: readonly Member[];
  readonly workers: readonly Member[];
  readonly sidecar: Member;
  readonly console: Member;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    servers: { readonly kafka: KafkaCluster; readonly clickhouse: ClickHouseDouble },
    members: Pick<Fleet, 'gateways' | 'workers' | 'sidecar' | 'console'>,
    stack: AsyncDisposableStack,
  ) {
    this.kafka = servers.kafka;
    this.clickhouse = servers.clickhouse;
    this.gateways = members.gateways;
    this.workers = members.workers;
    this.sidecar = members.sidecar;
    this.console = members.console;
    this.#stack = stack;
  }

  /** Starts all of it in `directory` and resolves when every process serves. */
  static async start(directory: string, options: FleetOptions): Promise<Fleet> {
    await using stack = new AsyncDisposableStack();
    const kafka = stack.use(await startKafka({ nodes: options.nodes }));
    const postgres = stack.use(await PostgresServer.start());
    const clickhouse = stack.use(await ClickHouseDouble.start(directory));
    const shared = await sharedConfig(directory, { kafka, postgres, clickhouse, ...options });
    const member = async (name: string, role: string, config: object): Promise<Member> =>
      new Member(path.join(directory, name), role, { port: await freePort(), config });
    const several = (role: string, count: number): Promise<Member[]> =>
      Promise.all(Array.from({ length: count }, (_, index) => member(`${role}-${index + 1}`, role, shared)));
    const gateways = await several('gateway', options.gateways);
    const workers = await several('worker', options.workers);
    const sidecar = await member('sidecar', 'sidecar', {
      gateway: { url: gateways[0]?.url ?? '' },
      collectors: { host: { interval_ms: 200 }, workload: { interval_ms: 100 } },
    });
    const members = { gateways, workers, sidecar, console: await member('console', 'console', shared) };
    const fleet = new Fleet({ kafka, clickhouse }, members, stack.move());
    try {
      for (const one of fleet.members) await one.start(); // the first one creates topics and tables
      for (const one of [...gateways, ...workers, members.console]) await assertReady(one.url);
      return fleet;
    } catch (error) {
      await fleet[Symbol.asyncDispose]();
      throw error;
    }
  }

  get members(): readonly Member[] {
    return [...this.gateways, ...this.workers, this.console, this.sidecar];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.members.map((one) => one.kill()));
    await this.#stack.disposeAsync();
  }
}

/** What a load balancer asks before it sends anything. */
async function assertReady(url: string): Promise<void> {
  const answer = await fetch(`${url}/readyz`);
  if (answer.status !== 200) throw new Error(`${url} is not ready: ${answer.status} ${await answer.text()}`);
}

type Servers = {
  readonly kafka: KafkaCluster;
  readonly postgres: PostgresServer;
  readonly clickhouse: ClickHouseDouble;
} & Pick<FleetOptions, 'driver' | 'nodes' | 'partitions'>;

async function sharedConfig(directory: string, servers: Servers): Promise<object> {
  const url_file = path.join(directory, 'postgres-url');
  const password_file = path.join(directory, 'clickhouse-password');
  await writeFile(url_file, servers.postgres.url);
  await writeFile(password_file, 'w');
  const { kafka, clickhouse, driver, nodes, partitions } = servers;
  return {
    bus: { kind: 'kafka', driver, brokers: kafka.brokers, create_topics: { partitions, replication: nodes } },
    store: { kind: 'clickhouse', url: clickhouse.url, username: 'writer', password_file },
    control: { kind: 'postgres', url_file },
  };
}
