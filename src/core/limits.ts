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
  /** Labels of a series: OTLP senders in Kubernetes have about 40 with their resource's. Names as in Mimir, values twice. */
  series_labels_max: 64,
  label_name_bytes_max: 1_024,
  label_value_bytes_max: 2_048,
  /** Series of one tenant: 2,500 GPUs × 200 metrics. 500,000 × (150 B of labels + 60 B) = 105 MB of cache. */
  active_series_max: 500_000,
  /** Series of all tenants of a process, 420 MB; beyond it each may still have `sure_series_max`: 64 × 10,000 are 134 MB. */
  total_series_max: 2_000_000,
  sure_series_max: 10_000,
  /** New series waiting to be written, about 600 B each, and the bytes of their texts. Over it senders are told to come again. */
  new_series_max: 100_000,
  new_series_bytes_max: 64 * 1_048_576,
  /** Bytes kept of a metric's description; each of its series is announced with it. */
  description_bytes_max: 2_048,
  /** Histograms, exemplars and metadata of one body: objects of about 1 kB, 100 MB at most. */
  histograms_max: 50_000,
  exemplars_max: 50_000,
  metadata_max: 50_000,
  /** Buckets of one histogram: Prometheus keeps 160; a sender of 20 per power of two over 64 powers has 1,280. */
  histogram_buckets_max: 4_096,
  /** Samples held in memory between two writes: 4 M × 25 B = 100 MB. The largest body, in samples of 9 bytes, has 3.7 M. */
  sample_rows_max: 4_194_304,
  /** Records of one message from a collector: 5,000 are sent; 65,536 × 30 fields × 16 B = 31 MB in memory. */
  link_rows_max: 65_536,
  /** Batches of such a message: one a second and collector, after an outage an hour of one at once. */
  link_frames_max: 4_096,
  /** Gaps of such a message: 256 are sent, of up to three pieces each. */
  link_gaps_max: 1_024,
  /** Ranges of lost batches that one gap of a message names; the rest stands in further ones. */
  link_ranges_max: 4_096,
  /** Ranges of lost batches that are kept of a source and epoch, as a spool keeps them; what is beyond shows as missing. */
  gap_ranges_max: 10_000,
  /** Names of sources: what fits a header and a label. */
  source_name_max: 128,
  /** Distinct sources whose counters are kept; later ones share "other". 10,000 × 300 B = 3 MB. */
  sources_max: 10_000,
  /** Sources whose account has series of its own at /metrics: 500 × 9 lines × 80 B = 360 kB a scrape. */
  delivery_sources_max: 500,
  /** Lists of the API. */
  page_items_max: 500,
  /** Server-sent event clients, each one socket and one small queue. */
  stream_clients_max: 200,
  stream_queue_events_max: 1_000,
  /** Bytes of a webhook answer that are read. */
  response_bytes_max: 65_536,
  /** Alerts of one request of another system: Prometheus sends 64, since 3.0 at most 256. */
  external_alerts_request_max: 1_000,
  /** One alert as JSON: labels of 64 x 100 characters and a page of text. */
  external_alert_bytes_max: 16_384,
  /** A request of alerts: 256 of the largest. */
  external_alerts_body_bytes_max: 4 * 1_048_576,
  /** Alerts of other systems that are remembered: beyond what people can act on, and 32 MB of control store at most. */
  external_alerts_max: 2_000,
  /** Body of a webhook that Leeway sends (contract: at most 20 KB). */
  webhook_body_bytes_max: 20_000,
  /** A frame as a Kafka message: two fit the broker's default of 1 MiB a batch, and 100 of 5 KiB a fetch stay cheap to hold. */
  kafka_frame_bytes_max: 524_288,
  /** A frame of one row: a record of 1 MiB and its head. Topics are created with this `max.message.bytes`. */
  kafka_message_bytes_max: 2_097_152,
  /** What a dead letter keeps of the message it is about. */
  kafka_dead_letter_bytes_max: 524_288,
} as const;
