import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Reader } from '@platformatic/kafka';
import { expect, test } from 'vitest';

/**
 * Both clients are patched in memory. When a test below fails, the package has changed: read what it does now, then drop or
 * renew the patch (src/transport/kafkajs-driver.ts, platformatic-driver.ts) and run the tests that kill brokers.
 */

const root = path.resolve(import.meta.dirname, '../../node_modules');

test('kafkajs is the version that patch A was written for, and still arms a timer when nothing is pending', () => {
  const require = createRequire(import.meta.url);
  expect((require('kafkajs/package.json') as { version: string }).version).toBe('2.2.4');
  const RequestQueue = require('kafkajs/src/network/requestQueue') as {
    prototype: { scheduleCheckPendingRequests: (this: object) => void };
  };
  const queue = {
    pending: [],
    throttledUntil: -1,
    throttleCheckTimeoutId: null,
    checkPendingRequests: () => undefined,
  };
  RequestQueue.prototype.scheduleCheckPendingRequests.call(queue);
  expect(queue.throttleCheckTimeoutId).not.toBeNull(); // the fault
  clearTimeout(queue.throttleCheckTimeoutId ?? undefined);
});

test('with patch A a queue with nothing pending arms no timer, and one with something pending does', async () => {
  const { kafkajsDriver } = await import('../../src/transport/kafkajs-driver.ts');
  await kafkajsDriver({
    brokers: ['localhost:1'],
    tls: false,
    sasl: null,
    session_timeout_ms: 6_000,
    heartbeat_ms: 300,
  }).close();
  const RequestQueue = createRequire(import.meta.url)('kafkajs/src/network/requestQueue') as {
    prototype: { scheduleCheckPendingRequests: (this: object) => void };
  };
  const idle = { pending: [], throttledUntil: -1, throttleCheckTimeoutId: null, checkPendingRequests: () => undefined };
  RequestQueue.prototype.scheduleCheckPendingRequests.call(idle);
  expect(idle.throttleCheckTimeoutId).toBeNull();
  const busy = { ...idle, pending: [{}] };
  RequestQueue.prototype.scheduleCheckPendingRequests.call(busy);
  expect(busy.throttleCheckTimeoutId).not.toBeNull();
  clearTimeout(busy.throttleCheckTimeoutId ?? undefined);
});

/** Two tagged fields: tag 0 of 3 bytes, tag 1 of 1 byte; then a byte that is not theirs. */
const TAGGED = Buffer.from([2, 0, 3, 9, 9, 9, 1, 1, 9, 42]);

test('@platformatic/kafka is the version that patch B was written for, and still skips tagged fields by their count', () => {
  const file = path.join(root, '@platformatic/kafka/package.json');
  expect((JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version).toBe('1.35.0');
  const reader = Reader.from(TAGGED);
  reader.readTaggedFields();
  expect(reader.readInt8()).not.toBe(42); // the fault
});

test('with patch B tagged fields are skipped by their sizes (KIP-482)', async () => {
  const { platformaticDriver } = await import('../../src/transport/platformatic-driver.ts');
  await platformaticDriver({
    brokers: ['localhost:1'],
    tls: false,
    sasl: null,
    session_timeout_ms: 6_000,
    heartbeat_ms: 300,
  }).close();
  const reader = Reader.from(TAGGED);
  reader.readTaggedFields();
  expect(reader.readInt8()).toBe(42);
  const none = Reader.from(Buffer.from([0, 42]));
  none.readTaggedFields();
  expect(none.readInt8()).toBe(42);
});
