/**
 * Every cap that keeps one input from hurting the others, with the arithmetic that chose it.
 * Contract: api.md "A record is at most …", "Body caps".
 */
export const LIMITS = {
  /** A record: 1 MiB of JSON; the largest honest one, a prediction with a 4,096-value embedding, is about 90 KiB. */
  record_bytes_max: 1_048_576,
  record_fields_max: 1_000,
  record_depth_max: 64,
  /** Ingest bodies: what one sender batches in a second at 100 k records/s and 300 bytes each. */
  body_compressed_bytes_max: 16 * 1_048_576,
  body_bytes_max: 32 * 1_048_576,
  /** A text of 32 MiB that unpacks from less than 1/100 of it is a bomb, not telemetry. */
  body_ratio_max: 100,
  control_body_bytes_max: 1_048_576,
  /** Times of telemetry: 2000-01-01 to 2100-01-01. Outside, the sender's unit or clock is wrong. */
  time_ms_min: 946_684_800_000,
  time_ms_max: 4_102_444_800_000,
  /** Rejected lines listed in one answer; the rest is only counted. */
  rejected_listed_max: 100,
  /** Names of sources: what fits a header and a label. */
  source_name_max: 128,
  /** Distinct sources whose counters are kept; later ones share "other". 10,000 × 300 B = 3 MB. */
  sources_max: 10_000,
  /** Lists of the API. */
  page_items_max: 500,
  /** Server-sent event clients, each one socket and one small queue. */
  stream_clients_max: 200,
  stream_queue_events_max: 1_000,
  /** Bytes of a webhook answer that are read. */
  response_bytes_max: 65_536,
  /** Body of a webhook that Leeway sends (contract: at most 20 KB). */
  webhook_body_bytes_max: 20_000,
} as const;
