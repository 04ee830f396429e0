/**
 * Names of tables and fields that version 1 of the link codec writes as a number, the place in this list. Frozen: a name that
 * is not here travels as text, a new list is a new version.
 */
const NAMES =
  'gpu node at_ms utilization sm_active memory_used_bytes memory_total_bytes sm_clock_mhz sm_clock_max_mhz temperature_c ' +
  'power_w energy_j throttle ecc_uncorrected xid nvlink_tx_bytes nvlink_rx_bytes nvlink_errors pcie_tx_bytes pcie_rx_bytes ' +
  'pcie_generation pcie_width quality host cpu_utilization iowait swap_in nic device tx_bytes rx_bytes pfc_frames retransmits ' +
  'link_downed step job attempt rank duration_ms compute_ms data_ms wait_ms transfer_ms tokens samples loss accuracy ' +
  'grad_norm phase collectives heartbeat state group op seq inference model version replica provider window_ms requests ' +
  'errors queue_ms total_ms batch shape_bucket prediction request_id features scores embedding segment tenant label counts ' +
  'feature edges_id from_ms to_ms sums missing n checkpoint durable bytes world_size ranks gpu_usd_per_hour team deploy ' +
  'previous action traffic_ratio asset id price instance_type region pricing usd_per_hour claim mode busy bucket run served ' +
  'overhead split transfer storage commitment correction usd budget scope period ' +
  // what DCGM's profiling fields and its memory sensors are called where a collector sends them as further fields
  'memory_utilization memory_temperature_c memory_free_bytes memory_clock_mhz tensor_active dram_active fp16_active ' +
  'fp32_active fp64_active';

export const LINK_NAMES_1: readonly string[] = NAMES.split(' ');
const PLACES = new Map(LINK_NAMES_1.map((name, place) => [name, place]));

/** Place of a name in the list of version 1; undefined where it is not in it. */
export function linkPlace(name: string): number | undefined {
  return PLACES.get(name);
}
