import { describe, expect, test } from 'vitest';
import { LeewayError } from '../../src/core/errors.ts';
import { brokerErrorName, driverError, memberSettings, tlsOptions } from '../../src/transport/kafka-client.ts';
import type { KafkaConnection } from '../../src/transport/kafka-driver.ts';

const connection: KafkaConnection = {
  brokers: ['localhost:9092'],
  tls: false,
  sasl: null,
  session_timeout_ms: 10_000,
  heartbeat_ms: 1_000,
};

/** An error of a client that names the broker's error. */
class Named extends Error {}

const nameOf = (error: Error): string | null => (error instanceof Named ? error.message : null);

describe('what the drivers of both clients have in common', () => {
  test('a plain connection has no TLS, one with it trusts the system or the authority that is given', () => {
    expect(tlsOptions(connection)).toBeNull();
    expect(tlsOptions({ ...connection, tls: true })).toEqual({});
    expect(tlsOptions({ ...connection, tls: { ca: 'PEM' } })).toEqual({ ca: ['PEM'] });
  });

  test('a member has the session time for a rebalance too, and beats as it is told', () => {
    expect(memberSettings(connection, 'workers')).toEqual({
      groupId: 'workers',
      sessionTimeout: 10_000,
      rebalanceTimeout: 10_000,
      heartbeatInterval: 1_000,
    });
  });

  test("the broker's error name is that of the error, of what it bundles, then of its cause", () => {
    const named = new Named('ILLEGAL_GENERATION');
    expect(brokerErrorName(named, nameOf)).toBe('ILLEGAL_GENERATION');
    expect(brokerErrorName(new Error('no commit', { cause: named }), nameOf)).toBe('ILLEGAL_GENERATION');
    const cause = new Named('UNKNOWN_MEMBER_ID');
    const bundle = new AggregateError([new Error('one'), new Error('two', { cause: named })], 'both', { cause });
    expect(brokerErrorName(bundle, nameOf)).toBe('ILLEGAL_GENERATION');
    expect(brokerErrorName(Object.assign(new Error('own bundle'), { errors: [named] }), nameOf)).toBe(
      'ILLEGAL_GENERATION',
    );
  });

  test('an error that no broker named has none, nor has one that is its own cause or no error at all', () => {
    const circle = new Error('again');
    circle.cause = circle;
    const none = [new Error('connection reset'), circle, Object.assign(new Error(), { errors: 'two' }), 'text', null];
    expect(none.map((error) => brokerErrorName(error, nameOf))).toEqual([null, null, null, null, null]);
  });

  test('a failure gets the code of its name, one that has a code keeps it', () => {
    const cause = new Error('outer', { cause: new Named('TOPIC_AUTHORIZATION_FAILED') });
    expect(driverError(cause, 'a write to t', nameOf)).toMatchObject({ code: 'LW-KAFKA-AUTH', cause });
    expect(driverError(new Error('reset'), 'a write to t', nameOf)).toMatchObject({
      code: 'LW-UNREACHABLE',
      message: 'a write to t failed: reset',
    });
    const known = new LeewayError('LW-CONFLICT', 'moved on');
    expect(driverError(known, 'a write to t', nameOf)).toBe(known);
  });
});
