import { type ChildProcess, fork } from 'node:child_process';
import path from 'node:path';
import { expect, test } from 'vitest';
import type { Batch } from '../../src/core/ports.ts';
import { integerBelow, seededRandom } from '../../src/core/random.ts';
import type { LeewayRecord } from '../../src/core/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { heartbeat, stepRecord } from '../contract/records.ts';
import type { HostReply, HostRequest } from './spool-host.ts';

const KILLS = 20;
const SOURCES = ['node-a', 'node-b', 'node-c'] as const;
const seed = Number(process.env['LEEWAY_SEED'] ?? Date.now() % 1_000_000);

type Unsent<Request> = Request extends unknown ? Omit<Request, 'id'> : never;

/** Keeps one host running over `directory`; a request outlives its host and is sent again to the next one. */
class HostedDelivery implements AsyncDisposable {
  readonly #directory: string;
  readonly #waiting = new Map<number, { request: HostRequest; resolve: (reply: HostReply) => void }>();
  readonly failures: string[] = [];
  #host: ChildProcess | null = null;
  #next_id = 1;
  #stopped = false;
  #ready = Promise.withResolvers<void>();
  store_pid = 0;
  starts = 0;

  constructor(directory: string) {
    this.#directory = directory;
    this.#start();
  }

  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  ask(request: Unsent<HostRequest>): Promise<HostReply> {
    const full = { ...request, id: this.#next_id++ };
    return new Promise((resolve) => {
      this.#waiting.set(full.id, { request: full, resolve });
      void this.ready.then(() => this.#send(full));
    });
  }

  killHost(): void {
    this.#host?.kill('SIGKILL');
  }

  killStore(): void {
    if (this.store_pid > 0) process.kill(this.store_pid, 'SIGKILL');
    this.store_pid = 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    const host = this.#host;
    if (host === null) return;
    const gone = new Promise((resolve) => host.once('exit', resolve));
    host.kill('SIGKILL');
    await gone;
  }

  #send(request: HostRequest): void {
    if (this.#host?.connected === true && this.#waiting.has(request.id)) this.#host.send(request, () => undefined);
  }

  #start(): void {
    const host = fork(path.join(import.meta.dirname, 'spool-host.ts'), [this.#directory], {
      execArgv: [],
      serialization: 'advanced',
    });
    this.#host = host;
    this.starts++;
    let up = false;
    host.on('error', () => undefined);
    host.on('message', (message) => {
      const reply = message as HostReply; // the host's own protocol
      if (reply.kind === 'store') {
        this.store_pid = reply.pid;
        return;
      }
      if (reply.kind === 'ready') {
        up = true;
        this.#ready.resolve();
        for (const { request } of this.#waiting.values()) this.#send(request);
        return;
      }
      if (reply.kind === 'failed') this.failures.push(reply.reason);
      this.#waiting.get(reply.id)?.resolve(reply);
      this.#waiting.delete(reply.id);
    });
    host.once('exit', () => {
      if (this.#stopped) return;
      if (up) this.#ready = Promise.withResolvers<void>();
      this.store_pid = 0;
      this.#start();
    });
  }
}

/** Batch `sequence` of a source: new steps, now and then a heartbeat, now and then a record that was sent before. */
function batchOf(source: string, sequence: number): Batch {
  const rank = SOURCES.findIndex((name) => name === source);
  const records: LeewayRecord[] = [];
  for (let index = 0; index < 20; index++) records.push(stepRecord(sequence * 20 + index, rank));
  if (sequence % 3 === 0) records.push({ ...heartbeat(sequence), rank });
  if (sequence % 5 === 0 && sequence > 1) records.push(stepRecord(sequence * 20 - 1, rank));
  return { source, epoch: 42, sequence, records };
}

/** Waits a while: the kill must fall at a moment of its own, unrelated to what the host is doing. */
function pause(duration_ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, duration_ms));
}

test(`everything acknowledged is stored once through ${KILLS} kills of the service or its store (seed ${seed})`, async () => {
  await using directory = await scratchDirectory();
  await using hosted = new HostedDelivery(directory.path);
  const random = seededRandom(seed);
  let sending = true;
  const sent = new Map<string, number>();
  const senders = SOURCES.map(async (source) => {
    for (let sequence = 1; sending; sequence++) {
      const reply = await hosted.ask({ kind: 'publish', batch: batchOf(source, sequence) });
      expect(reply.kind).toBe('published');
      sent.set(source, sequence);
    }
  });
  for (let kill = 0; kill < KILLS; kill++) {
    await hosted.ready;
    await pause(30 + integerBelow(random, 400));
    if (random.next() < 0.3) hosted.killStore();
    else hosted.killHost();
    await pause(1);
  }
  sending = false;
  await Promise.all(senders);
  const sql = `SELECT rank, count() AS n, sum(step) AS steps FROM leeway.step FINAL GROUP BY rank ORDER BY rank`;
  const drained = await hosted.ask({ kind: 'drain', sql });
  expect(drained.kind).toBe('drained');
  if (drained.kind !== 'drained') return;
  const expectedRows = SOURCES.map((source, rank) => {
    // sequences 1..k of 20 new steps each: steps 20 … 20k + 19
    const n = (sent.get(source) ?? 0) * 20;
    return { rank: String(rank), n: String(n), steps: String((n * (20 + n + 19)) / 2) };
  });
  expect(drained.rows).toEqual(expectedRows);
  const expectedAccount = SOURCES.map((source) => {
    const k = sent.get(source) ?? 0;
    const stored = k * 20 + Math.floor(k / 3);
    return { source, epoch: 42, stored, sequence_min: 1, sequence_max: k, sequences: k };
  });
  const account = drained.account.toSorted((a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b)));
  expect(account).toMatchObject(expectedAccount);
  // the ledger's own arithmetic holds whatever was replayed: rows less duplicates is what the tables hold
  for (const item of drained.account as { frame_rows: number; duplicates_absorbed: number; stored: number }[])
    expect(item.frame_rows - item.duplicates_absorbed).toBe(item.stored);
  expect(hosted.failures).toEqual([]);
  console.log(`${hosted.starts} starts, sequences acknowledged: ${JSON.stringify([...sent])}`);
}, 60_000);
