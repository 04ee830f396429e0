// A whole embedded delivery path in one process, driven over IPC by the crash test: the thing that is killed.
import { systemClock } from '../../src/core/clock.ts';
import type { Batch } from '../../src/core/ports.ts';
import { ingest } from '../../src/pipeline/ingest.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import { openSpool } from '../../src/transport/spool.ts';

export type HostRequest =
  | { readonly kind: 'publish'; readonly id: number; readonly batch: Batch }
  | { readonly kind: 'drain'; readonly id: number; readonly sql: string };

export type HostReply =
  | { readonly kind: 'store'; readonly pid: number }
  | { readonly kind: 'ready' }
  | { readonly kind: 'published'; readonly id: number; readonly repeated: boolean }
  | { readonly kind: 'drained'; readonly id: number; readonly account: unknown[]; readonly rows: unknown[] }
  | { readonly kind: 'failed'; readonly id: number; readonly reason: string };

const [, , data_dir = ''] = process.argv;
const signal = new AbortController().signal;
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));

const store = await openEmbeddedStore({
  data_dir,
  clock: systemClock,
  onEvent: ({ kind, reason }) => {
    if (kind === 'store_child_started') tell({ kind: 'store', pid: Number(/process (\d+)/.exec(reason)?.[1] ?? 0) });
  },
});
const known = { sequences: await store.sequences(signal), lineage_max: await store.lineageMax(signal) };
const bus = await openSpool({ data_dir, bytes_max: 1e9, fsync: true, clock: systemClock, known, close_ms: 60 });
let wake: () => void = () => undefined;
void ingest({ bus, store, clock: systemClock, onEvent: () => wake() }, signal);

process.on('message', (request: HostRequest) => {
  answer(request).then(tell, (error: unknown) =>
    tell({ kind: 'failed', id: request.id, reason: error instanceof Error ? error.message : 'unknown' }),
  );
});
tell({ kind: 'ready' });

async function answer(request: HostRequest): Promise<HostReply> {
  if (request.kind === 'publish') {
    const { repeated } = await bus.publish(request.batch, signal);
    return { kind: 'published', id: request.id, repeated };
  }
  while (bus.backlog().in_flight.length > 0) await new Promise<void>((resolve) => (wake = resolve)).then(settled);
  const rows = await store.query<unknown>(request.sql, {}, signal);
  return { kind: 'drained', id: request.id, account: await store.account(signal), rows };
}

/** The bus trims a delivery after the event that reports it. */
function settled(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 5));
}

function tell(reply: HostReply): void {
  if (process.connected) process.send?.(reply, () => undefined);
}
