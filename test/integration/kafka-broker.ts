import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * A real Apache Kafka (KRaft) on loopback, for tests: 1 or 3 nodes that are broker and controller at once, started from
 * the jars that scripts/fetch-kafka.ts fetched. Ready in 2 to 4 s and 140 MiB a node with the lean settings below.
 */

/** Found on the path. */
const JAVA = 'java';
const HERE = import.meta.dirname;
const CACHE = path.resolve(HERE, '../../node_modules/.cache/leeway-kafka');
/** It takes 2 to 8 s; a machine that runs other things beside it may need many times that. */
const READY_MS_MAX = 120_000;

function jarDirectory(): string {
  const version = /<kafka\.version>([^<]+)</.exec(readFileSync(path.join(HERE, 'kafka/pom.xml'), 'utf8'))?.[1] ?? '';
  return path.join(CACHE, version);
}

/** Why no broker can be started here, or null. */
export function whyNoKafka(): string | null {
  if (spawnSync(JAVA, ['-version']).status !== 0) return 'java is absent';
  return existsSync(jarDirectory()) ? null : 'the jars are absent: node scripts/fetch-kafka.ts';
}

export type BrokerUser = { readonly name: string; readonly password: string };

export type BrokerOptions = {
  readonly nodes?: 1 | 3;
  /** Users that may log in by PLAIN and by SCRAM; without them nobody has to. The first one is the super user. */
  readonly users?: readonly BrokerUser[];
  /** PKCS12 key store for TLS. */
  readonly tls?: { readonly keystore: string; readonly password: string };
  /** Further lines of server.properties. */
  readonly properties?: Readonly<Record<string, string>>;
};

type Node = {
  readonly id: number;
  readonly port: number;
  readonly probe_port: number;
  readonly directory: string;
  child: ChildProcess | null;
};

/** Handle of a started cluster. */
export type KafkaCluster = AsyncDisposable & {
  readonly brokers: readonly string[];
  readonly pids: () => readonly number[];
  /** kill -9 of a node (from 0). */
  readonly kill: (index?: number) => Promise<void>;
  /** Starts a killed node again and waits until it serves; returns the milliseconds that took. */
  readonly restart: (index?: number) => Promise<number>;
};

const HEAP = ['-Xms64m', '-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Xss512k'];
const QUIET = ['-XX:MaxDirectMemorySize=128m', '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn'];

function classPath(): string {
  const directory = jarDirectory();
  return readdirSync(directory)
    .filter((file) => file.endsWith('.jar'))
    .sort()
    .map((file) => path.join(directory, file))
    .join(path.delimiter);
}

/** Starts a cluster and waits until every node serves. A port that was taken meanwhile: one more attempt. */
export async function startKafka(options: BrokerOptions = {}): Promise<KafkaCluster> {
  try {
    return await startOnce(options);
  } catch (error) {
    if (!(error instanceof Error) || !error.message.includes('Address already in use')) throw error;
    return startOnce(options);
  }
}

async function startOnce(options: BrokerOptions): Promise<KafkaCluster> {
  const count = options.nodes ?? 1;
  const root = await mkdtemp(path.join(tmpdir(), 'leeway-kafka-'));
  const ports = await freePorts(3 * count);
  const nodes: Node[] = Array.from({ length: count }, (_, index) => ({
    id: index + 1,
    port: ports[3 * index] ?? 0,
    probe_port: ports[3 * index + 1] ?? 0,
    directory: path.join(root, `node-${index + 1}`),
    child: null,
  }));
  const voters = nodes.map((node, index) => `${node.id}@127.0.0.1:${ports[3 * index + 2]}`).join(',');
  const cluster_id = randomBytes(16).toString('base64url');
  const onExit = (): void => nodes.forEach((node) => node.child?.kill('SIGKILL')); // a JVM outlives its parent
  process.once('exit', onExit);
  const dispose = async (): Promise<void> => {
    await Promise.all(nodes.map(kill));
    process.off('exit', onExit);
    await rm(root, { recursive: true, force: true });
  };
  try {
    for (const [index, node] of nodes.entries()) {
      await mkdir(node.directory);
      await format(
        node,
        cluster_id,
        {
          ...base(count),
          ...listeners(node, ports[3 * index + 2] ?? 0, options),
          'node.id': String(node.id),
          'controller.quorum.voters': voters,
          'log.dirs': path.join(node.directory, 'data'),
          ...options.properties,
        },
        options.users ?? [],
      );
    }
    for (const node of nodes) launch(node);
    await Promise.all(nodes.map((node) => ready(node, count)));
  } catch (error) {
    await dispose();
    throw error;
  }
  const nodeAt = (index = 0): Node => {
    const node = nodes[index];
    if (node === undefined) throw new Error(`no node ${index}`);
    return node;
  };
  return {
    brokers: nodes.map((node) => `localhost:${node.port}`),
    pids: () => nodes.flatMap((node) => node.child?.pid ?? []),
    kill: (index) => kill(nodeAt(index)),
    restart: async (index) => {
      const started_ms = performance.now();
      launch(nodeAt(index));
      await ready(nodeAt(index), 1);
      return performance.now() - started_ms;
    },
    [Symbol.asyncDispose]: dispose,
  };
}

/** Settings of a small broker. Sessions of 3 s: with the default of 9 s a killed node is not let in again for as long. */
function base(nodes: number): Record<string, string> {
  const replication = String(Math.min(3, nodes));
  const in_sync = nodes > 2 ? '2' : '1';
  return {
    'process.roles': 'broker,controller',
    'controller.listener.names': 'CONTROLLER',
    'num.partitions': '6',
    'default.replication.factor': replication,
    'min.insync.replicas': in_sync,
    'auto.create.topics.enable': 'false',
    'offsets.topic.num.partitions': '1',
    'offsets.topic.replication.factor': replication,
    'offsets.topic.segment.bytes': '1048576',
    'transaction.state.log.num.partitions': '1',
    'transaction.state.log.replication.factor': replication,
    'transaction.state.log.min.isr': in_sync,
    'share.coordinator.state.topic.num.partitions': '1',
    'share.coordinator.state.topic.replication.factor': replication,
    'share.coordinator.state.topic.min.isr': in_sync,
    'group.initial.rebalance.delay.ms': '0',
    'group.min.session.timeout.ms': '1000',
    'broker.session.timeout.ms': '3000',
    'broker.heartbeat.interval.ms': '500',
    'log.cleaner.dedupe.buffer.size': '2097152',
    'log.segment.bytes': '67108864',
    'log.index.size.max.bytes': '1048576',
    'num.network.threads': '1',
    'num.io.threads': '2',
    'background.threads': '2',
    'group.coordinator.threads': '1',
    'num.recovery.threads.per.data.dir': '1',
  };
}

/** Clients speak to MAIN; PROBE is plain, for the brokers among themselves and for the readiness probe. */
function listeners(node: Node, controller_port: number, { users = [], tls }: BrokerOptions): Record<string, string> {
  const main = `${users.length > 0 ? 'SASL_' : ''}${tls === undefined ? 'PLAINTEXT' : 'SSL'}`;
  const addresses = `MAIN://localhost:${node.port},PROBE://127.0.0.1:${node.probe_port}`;
  return {
    listeners: `${addresses},CONTROLLER://127.0.0.1:${controller_port}`,
    'advertised.listeners': addresses,
    'listener.security.protocol.map': `MAIN:${main},PROBE:PLAINTEXT,CONTROLLER:PLAINTEXT`,
    'inter.broker.listener.name': 'PROBE',
    ...(tls === undefined
      ? {}
      : {
          'ssl.keystore.type': 'PKCS12',
          'ssl.keystore.location': tls.keystore,
          'ssl.keystore.password': tls.password,
        }),
    ...(users.length === 0 ? {} : logins(users)),
  };
}

function logins(users: readonly BrokerUser[]): Record<string, string> {
  const known = users.map(({ name, password }) => `user_${name}="${password}"`).join(' ');
  const scram = 'org.apache.kafka.common.security.scram.ScramLoginModule required;';
  return {
    'sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
    'listener.name.main.plain.sasl.jaas.config': `org.apache.kafka.common.security.plain.PlainLoginModule required ${known};`,
    'listener.name.main.scram-sha-256.sasl.jaas.config': scram,
    'listener.name.main.scram-sha-512.sasl.jaas.config': scram,
    'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
    'super.users': `User:${users[0]?.name};User:ANONYMOUS`,
  };
}

async function format(
  node: Node,
  cluster_id: string,
  properties: Readonly<Record<string, string>>,
  users: readonly BrokerUser[],
): Promise<void> {
  const file = path.join(node.directory, 'server.properties');
  const lines = Object.entries(properties).map(([name, value]) => `${name}=${value}\n`);
  await writeFile(file, lines.join(''));
  const scram = users.flatMap(({ name, password }) =>
    ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((mechanism) => [
      '--add-scram',
      `${mechanism}=[name=${name},password=${password}]`,
    ]),
  );
  // joined by "=": one id in 64 begins with a hyphen
  const tool = ['kafka.tools.StorageTool', 'format', `--cluster-id=${cluster_id}`, '-c', file, ...scram];
  execFileSync(JAVA, ['-Xmx128m', ...QUIET, '-XX:TieredStopAtLevel=1', '-cp', classPath(), ...tool], {
    stdio: 'pipe',
  });
}

function launch(node: Node): void {
  const log = openSync(path.join(node.directory, 'server.log'), 'a');
  const file = path.join(node.directory, 'server.properties');
  node.child = spawn(JAVA, [...HEAP, ...QUIET, '-cp', classPath(), 'kafka.Kafka', file], {
    stdio: ['ignore', log, log],
  });
}

async function kill(node: Node): Promise<void> {
  const { child } = node;
  if (child === null || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

/** Waits until the node answers for `count` brokers and a controller: an open port comes long before that. */
async function ready(node: Node, count: number): Promise<void> {
  const give_up_ms = performance.now() + READY_MS_MAX;
  for (;;) {
    const { child } = node;
    if (child === null || child.exitCode !== null || performance.now() > give_up_ms) {
      const log = readFileSync(path.join(node.directory, 'server.log'), 'utf8').slice(-4_000);
      throw new Error(`Kafka node ${node.id} is not ready: ${log}`);
    }
    const seen = await probe(node.probe_port).catch(() => null); // refused or half open: not yet
    if (seen !== null && seen.brokers.length >= count && seen.brokers.includes(node.id) && seen.controller >= 0) return;
    await sleep(25);
  }
}

type Seen = { readonly brokers: readonly number[]; readonly controller: number };

/** Metadata request version 1 for no topic (Kafka protocol guide): the brokers that are let in, and the controller. */
function probe(port: number): Promise<Seen> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let answer = Buffer.alloc(0);
    socket.setTimeout(500, () => socket.destroy(new Error('no answer')));
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed')));
    socket.once('connect', () => {
      // size, api 3, version 1, correlation 1, client id "p", no topics
      socket.write(Buffer.from('0000000f000300010000000100017000000000', 'hex'));
    });
    socket.on('data', (bytes: Buffer) => {
      answer = Buffer.concat([answer, bytes]);
      if (answer.length < 4 || answer.length < 4 + answer.readInt32BE(0)) return;
      resolve(readMetadata(answer));
      socket.destroy();
    });
  });
}

function readMetadata(answer: Buffer): Seen {
  let at = 8; // size and correlation
  const count = answer.readInt32BE(at);
  at += 4;
  const brokers: number[] = [];
  for (let index = 0; index < count; index++) {
    brokers.push(answer.readInt32BE(at));
    at += 4;
    at += 2 + answer.readInt16BE(at) + 4; // host, port
    at += 2 + Math.max(0, answer.readInt16BE(at)); // rack
  }
  return { brokers, controller: answer.readInt32BE(at) };
}

/** Free ports, held open together so that they differ. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, () => {
      const server = createServer();
      return new Promise<typeof server>((resolve, reject) => {
        server.once('error', reject);
        server.listen(0, '127.0.0.1', () => resolve(server));
      });
    }),
  );
  const ports = servers.map((server) => {
    const address = server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  });
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
