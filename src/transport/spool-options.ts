import type { Clock } from '../core/clock.ts';
import type { SpoolDisk } from './disk.ts';
import type { DropPolicy, Signal } from './spool-quota.ts';

/** What happened beside the normal path, for the log. */
export type SpoolEvent = {
  readonly kind:
    | 'spool_recovered'
    | 'spool_damaged'
    | 'spool_quarantined'
    | 'spool_write_failed'
    | 'spool_retry'
    | 'spool_dropped'
    | 'spool_disk_full'
    | 'spool_disk_free';
  readonly reason: string;
};

export type SpoolOptions = {
  readonly data_dir: string;
  /** Bytes of segments on disk and in the queue; beyond them the policy of a signal decides what happens. */
  readonly bytes_max: number;
  /** Of signals without one of their own. Default block: publish answers LW-SPOOL-FULL. */
  readonly policy?: DropPolicy;
  readonly policies?: Readonly<Partial<Record<Signal, DropPolicy>>>;
  /** Space to give back when the disk is full. Default 0: none is kept. */
  readonly reserve_bytes?: number;
  readonly fsync: boolean;
  readonly clock: Clock;
  /** What the store holds already, read before the spool opens. */
  readonly known: {
    readonly sequences: readonly { source: string; epoch: number; from: number; to: number }[];
    readonly lineage_max: bigint;
  };
  readonly onEvent?: (event: SpoolEvent) => void;
  readonly disk?: SpoolDisk;
  /** Age at which a segment closes when the consumer is idle. Behind a busy consumer segments grow instead. */
  readonly close_ms?: number;
  readonly segment_rows_max?: number;
  readonly segment_bytes_max?: number;
};
