import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { kafkajsDriver } from '../../src/transport/kafkajs-driver.ts';

/** A broker that takes connections and never says a word; `open` are those that the clients have not ended. */
async function silentBroker() {
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.on('error', () => undefined); // cut off
    socket.on('close', () => open.delete(socket));
    socket.resume();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // it listens on a port
  return {
    open,
    broker: `127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      server.close();
      for (const socket of open) socket.destroy();
      await once(server, 'close');
    },
  };
}

test('a driver that is closed while its clients are connecting leaves no connection behind', async () => {
  await using silent = await silentBroker();
  const driver = kafkajsDriver({
    brokers: [silent.broker],
    tls: false,
    sasl: null,
    session_timeout_ms: 6_000,
    heartbeat_ms: 300,
  });
  const handlers = { onAssigned: () => undefined, onMessages: () => undefined, onFailed: () => undefined };
  const calls = [
    driver.positions('topic', 'group'),
    driver.consume('topic', 'group', handlers),
    driver.produce('topic', [{ partition: 0, key: Buffer.alloc(1), value: Buffer.alloc(1), headers: {} }]),
  ];
  const settled = Promise.allSettled(calls);
  while (silent.open.size < 3) await sleep(5);
  await driver.close();
  expect((await settled).map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
  while (silent.open.size > 0) await sleep(5); // they have ended, or the test does not
});
