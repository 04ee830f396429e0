import { expect, test } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { LIMITS } from '../../src/core/limits.ts';
import { StreamHub } from '../../src/server/stream.ts';
import { createMemory } from './memory.ts';

function hub() {
  const memory = createMemory();
  const clock = new ManualClock();
  const end = new AbortController();
  return { memory, clock, end, hub: new StreamHub(memory.services.stream, clock, end.signal) };
}

/** Lets everything that is due run. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

test('a client that reads hears a heartbeat every 15 s', async () => {
  const { hub: streams, clock, end } = hub();
  const client = streams.open();
  const heard: string[] = [];
  client.on('data', (chunk: Buffer) => heard.push(String(chunk)));
  await settled();
  await clock.advance(31_000);
  await settled();
  end.abort();
  expect(heard.join('').match(/^: heartbeat$/gm)?.length).toBe(2); // at 15 and 30 s
});

test('a client that does not read is let go when its queue is full, and costs the others nothing', async () => {
  const { hub: streams, memory, end } = hub();
  const deaf = streams.open();
  const awake = streams.open();
  let heard = 0;
  awake.on('data', (chunk: Buffer) => (heard += String(chunk).split('event: finding').length - 1));
  const wide = 'x'.repeat(1000);
  const events = LIMITS.stream_queue_events_max + 100;
  for (let index = 0; index < events; index++) {
    memory.emit({ event: 'finding', data: { id: String(index), wide } });
    if (index % 100 === 0) await settled();
  }
  await settled();
  expect(deaf.destroyed).toBe(true);
  expect(awake.destroyed).toBe(false);
  expect(heard).toBe(events);
  expect(streams.clients).toBe(1);
  end.abort();
});

test('one client more than the most is told to come back later', () => {
  const { hub: streams, end } = hub();
  for (let index = 0; index < LIMITS.stream_clients_max; index++) streams.open();
  expect(() => streams.open()).toThrow(expect.objectContaining({ code: 'LW-OVERLOADED' }));
  end.abort();
});

test('a client that went away makes room', async () => {
  const { hub: streams, end } = hub();
  const client = streams.open();
  client.destroy();
  await settled();
  expect(streams.clients).toBe(0);
  end.abort();
});
