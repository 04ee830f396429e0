/** What happened beside the normal path, for the log. */
export type KafkaEvent = {
  readonly kind:
    | 'kafka_produce_failed'
    | 'kafka_consumer_failed'
    | 'kafka_consumer_stalled'
    | 'kafka_commit_failed'
    | 'kafka_dead_letter'
    | 'kafka_dead_letter_failed'
    | 'kafka_retry'
    | 'kafka_gap';
  readonly reason: string;
};
