import { LeewayError } from '../core/errors.ts';
import { CLIENT, type KafkaConnection, kafkaError } from './kafka-driver.ts';

/** What both clients call the same: whom a request is from and how long it may take, ms. */
export const REQUEST_SETTINGS = { clientId: CLIENT.id, requestTimeout: CLIENT.request_timeout_ms };
/** How many bytes a fetch brings, in the words of both clients. */
export const FETCH_SETTINGS = {
  maxBytes: CLIENT.fetch_bytes_max,
  maxBytesPerPartition: CLIENT.fetch_partition_bytes_max,
};

/** A member of `group`, in the words of both clients; times in ms. */
export function memberSettings({ session_timeout_ms, heartbeat_ms }: KafkaConnection, group: string) {
  return {
    groupId: group,
    sessionTimeout: session_timeout_ms,
    rebalanceTimeout: session_timeout_ms,
    heartbeatInterval: heartbeat_ms,
  };
}

/** Options of node:tls; null: connections are plain. */
export function tlsOptions({ tls }: KafkaConnection): { ca?: string[] } | null {
  if (tls === false) return null;
  return tls === true ? {} : { ca: [tls.ca] };
}

/** The broker's error name of one error of a client, null where it has none. */
type NameOf = (error: Error) => string | null;

const DEPTH_MAX = 8;

/** The broker's error name, found in an error, its cause or the errors that it bundles; null where there was no answer. */
export function brokerErrorName(error: unknown, nameOf: NameOf, depth = 0): string | null {
  if (!(error instanceof Error) || depth > DEPTH_MAX) return null;
  const own = nameOf(error);
  if (own !== null) return own;
  const bundled: readonly unknown[] = 'errors' in error && Array.isArray(error.errors) ? error.errors : [];
  for (const inner of [...bundled, error.cause]) {
    const name = brokerErrorName(inner, nameOf, depth + 1);
    if (name !== null) return name;
  }
  return null;
}

/** What a driver rejects with: a failure of its client in `what`, classified by the broker's error name. */
export function driverError(error: unknown, what: string, nameOf: NameOf): LeewayError {
  return error instanceof LeewayError ? error : kafkaError(brokerErrorName(error, nameOf), what, error);
}
