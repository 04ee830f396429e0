import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { LeewayError, systemCode } from '../src/core/errors.ts';

/** Who takes part: `rank` of `world`, meeting at Unix sockets in `directory` (a path short enough for a socket, 100 bytes). */
export type RingPlace = { readonly directory: string; readonly rank: number; readonly world: number };

/** A sum all-reduce over a ring of processes. */
export type Ring = {
  /**
   * Replaces `vector` by the elementwise sum over all ranks; every rank calls it the same number of times with the same
   * length. 2(n−1) hops of 1/n of the vector (Patarasuk and Yuan 2009). Rejects with LW-UNREACHABLE when a peer is gone.
   */
  reduce(vector: Float32Array): Promise<void>;
  close(): void;
};

/** 20 ms × 1,000: a peer has 20 s to come up. */
const DIAL_WAIT_MS = 20;
const DIAL_ATTEMPTS_MAX = 1_000;

/** Joins the ring: listens for the left neighbour, connects to the right one, resolves when both links stand. */
export async function joinRing(place: RingPlace): Promise<Ring> {
  const { directory, rank, world } = place;
  if (world === 1) return { reduce: () => Promise.resolve(), close: () => undefined };
  const [left, right] = await Promise.all([
    accept(join(directory, `ring-${rank}`)),
    dial(join(directory, `ring-${(rank + 1) % world}`)),
  ]);
  const links = { left: new Link(left), right: new Link(right) };
  let scratch = new Float32Array(0);
  return {
    reduce: (vector) => {
      if (scratch.length * world < vector.length + world)
        scratch = new Float32Array(Math.ceil(vector.length / world) + 1);
      return reduceRing(vector, scratch, place, links);
    },
    close: () => {
      left.destroy();
      right.destroy();
    },
  };
}

type Links = { readonly left: Link; readonly right: Link };

async function reduceRing(vector: Float32Array, scratch: Float32Array, place: RingPlace, links: Links): Promise<void> {
  const { rank, world } = place;
  const part = (index: number): Float32Array => {
    const wrapped = ((index % world) + world) % world;
    return vector.subarray(
      Math.floor((vector.length * wrapped) / world),
      Math.floor((vector.length * (wrapped + 1)) / world),
    );
  };
  for (let hop = 0; hop < world - 1; hop++) {
    const sum = part(rank - hop - 1);
    const received = scratch.subarray(0, sum.length);
    await Promise.all([links.right.send(bytesOf(part(rank - hop))), links.left.receive(bytesOf(received))]);
    for (let index = 0; index < sum.length; index++) sum[index] = (sum[index] as number) + (received[index] as number); // both have the same length
  }
  for (let hop = 0; hop < world - 1; hop++)
    await Promise.all([links.right.send(bytesOf(part(rank - hop + 1))), links.left.receive(bytesOf(part(rank - hop)))]);
}

function bytesOf(vector: Float32Array): Uint8Array {
  return new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength);
}

function accept(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      server.close();
      resolve(socket);
    });
    server.once('error', (cause) => reject(gone(`cannot listen at ${path}`, cause)));
    server.listen(path);
  });
}

async function dial(path: string): Promise<Socket> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await connected(path);
    } catch (cause) {
      if (attempt === DIAL_ATTEMPTS_MAX) throw gone(`no rank at ${path}`, cause);
      await new Promise((resolve) => setTimeout(resolve, DIAL_WAIT_MS));
    }
  }
}

function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => {
      socket.off('error', reject);
      resolve(socket);
    });
    socket.once('error', reject);
  });
}

function gone(what: string, cause: unknown): LeewayError {
  return new LeewayError('LW-UNREACHABLE', `${what} (${systemCode(cause) ?? 'closed'}); the job has lost a rank`, {
    cause,
  });
}

type Wanted = {
  readonly into: Uint8Array;
  at: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
};

/**
 * One direction of a link with reads of exact length. What arrives early waits in `#early`: at most world − 1 parts,
 * because a neighbour cannot run further ahead than the ring is long.
 */
class Link {
  readonly #socket: Socket;
  readonly #early: Buffer[] = [];
  #wanted: Wanted | null = null;
  #failure: LeewayError | null = null;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk) => {
      this.#early.push(chunk);
      this.#fill();
    });
    socket.on('error', (cause) => this.#fail(cause));
    socket.on('close', () => this.#fail(null));
  }

  send(content: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.write(content, (cause) => {
        if (cause == null) resolve();
        else reject(gone('a link of the ring broke', cause));
      });
    });
  }

  /** Fills `into` completely, or rejects when the peer closes first. One read at a time. */
  receive(into: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#wanted = { into, at: 0, resolve, reject };
      this.#fill();
    });
  }

  #fill(): void {
    const wanted = this.#wanted;
    if (wanted === null) return;
    while (wanted.at < wanted.into.length) {
      const chunk = this.#early.shift();
      if (chunk === undefined) {
        if (this.#failure !== null) wanted.reject(this.#failure);
        return;
      }
      const taken = chunk.subarray(0, wanted.into.length - wanted.at);
      wanted.into.set(taken, wanted.at);
      wanted.at += taken.length;
      if (taken.length < chunk.length) this.#early.unshift(chunk.subarray(taken.length));
    }
    this.#wanted = null;
    wanted.resolve();
  }

  #fail(cause: unknown): void {
    this.#failure ??= gone('a neighbour in the ring is gone', cause);
    this.#fill();
  }
}
