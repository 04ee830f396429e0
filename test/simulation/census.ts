/** Every kind of fault that the simulation knows. A test counts them over its seeds: one that never happens fails it. */
const PROCESS_FAULTS = [
  'process_killed',
  'power_lost',
  'process_frozen',
  'clock_stepped',
  'sender_restarted',
  'operation_slow',
] as const;
const DISK_FAULTS = ['write_torn', 'write_unsynced_lost', 'name_unsynced_lost', 'disk_error', 'disk_full'] as const;
/** The scratch files of Kafka's workers are not synced. */
const SPOOL_FAULTS = ['sync_failed'] as const;
const REQUEST_FAULTS = [
  'request_lost',
  'request_doubled',
  'request_reordered',
  'request_timed_out',
  'request_aborted',
  'answer_lost',
] as const;
const STORE_FAULTS = ['store_refused', 'store_answer_lost', 'frame_poisoned'] as const;
const BROKER_FAULTS = [
  'produce_lost',
  'produce_answer_lost',
  'produce_partial',
  'produce_doubled',
  'produce_late',
  'leader_changed',
  'unreplicated_lost',
  'end_understated',
  'garbage_produced',
  'retention_passed',
] as const;
const GROUP_FAULTS = [
  'group_rebalanced',
  'member_expelled',
  'join_failed',
  'join_unanswered',
  'close_unanswered',
  'consumer_silent',
  'fetch_failed',
  'fetch_repeated',
  'fetch_slow',
  'fetch_stale',
  'positions_failed',
  'commit_lost',
  'commit_answer_lost',
  'commit_late',
  'commit_forgotten',
  'commit_said_again',
] as const;

/** Situations worth reaching, where bugs of such pipelines live. Counted like the faults. */
const STATES = [
  'killed_while_starting',
  'killed_while_inserting',
  'killed_between_insert_and_ledger',
  'killed_between_ledger_and_commit',
  'killed_with_publish_under_way',
  'frame_stored_again',
  'rows_absorbed_as_duplicates',
] as const;
const SPOOL_STATES = [
  'spool_refused_as_full',
  'spool_dropped_by_policy',
  'spool_gave_its_reserve',
  'spool_recovered_torn_tail',
  'spool_segment_quarantined',
] as const;
const KAFKA_STATES = [
  'killed_during_rebalance',
  'two_owners_of_a_partition',
  'frame_inserted_by_two_at_once',
  'partition_came_back',
  'commit_fenced',
  'commit_moved_back',
  'consumer_replaced',
  'consumer_stalled',
  'consumer_paused_for_room',
  'publish_given_back',
  'publish_joined_its_twin',
  'dead_letter_of_frame',
  'dead_letter_of_garbage',
] as const;

const COMMON = [...PROCESS_FAULTS, ...DISK_FAULTS, ...REQUEST_FAULTS, ...STORE_FAULTS, ...STATES] as const;
/** What must happen on the embedded path, and over Kafka. */
export const EMBEDDED_CENSUS = [...COMMON, ...SPOOL_FAULTS, ...SPOOL_STATES] as const;
export const KAFKA_CENSUS = [...COMMON, ...BROKER_FAULTS, ...GROUP_FAULTS, ...KAFKA_STATES] as const;

/** … and between sidecars and their gateway. */
export const SIDECAR_CENSUS = [
  'process_killed',
  'power_lost',
  'process_frozen',
  'clock_stepped',
  'operation_slow',
  ...DISK_FAULTS,
  ...SPOOL_FAULTS,
  'request_lost',
  'request_doubled',
  'answer_lost',
  'record_refused',
  'message_too_large',
  'forward_declared_lost',
  'forward_resumed',
  'spool_dropped_by_policy',
  ...STATES,
] as const;

/** A fault or a state, by name. */
export type Event = (typeof EMBEDDED_CENSUS)[number] | (typeof KAFKA_CENSUS)[number] | (typeof SIDECAR_CENSUS)[number];

/** How often things happened. */
export type Census = Map<Event, number>;
