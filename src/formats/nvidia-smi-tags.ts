import { THROTTLE_REASONS } from './nvidia-smi-fields.ts';

/** Unknown tags named in warnings: enough to see what a new driver brought. */
export const UNKNOWN_LISTED_MAX = 20;

/** Lists that are read elsewhere, where they stand as one text: an empty one is no absent value. */
export const LIST_TAGS =
  /^(mig_devices|processes|accounted_processes|remapped_rows$|supported_clocks|retired_pages\..*pagelist)/;

/** Texts of `nvidia-smi -q -x` that say which device or software this is: no measurement when they hold something. */
export const TEXT_TAGS =
  /^(product_|serial$|uuid$|pdi$|minor_number$|vbios_version$|multigpu_board$|board_|gpu_part_number$|gpu_fru_part_number$|gpu_module_id$|gsp_firmware_version$|platformInfo\.|inforom_|driver_model\.|gpu_operation_mode\.|gpu_virtualization_mode\.|ibmnpu\.|addressing_mode$|pci\.pci_(bus|device|domain|base_class|sub_class|device_id|bus_id|sub_system_id)$|.*\.power_state$|retired_pages\.pending_blacklist$|capabilities\.|fabric\.cl)/;

const PAIRS: readonly (readonly [string, string])[] = [
  ['fb_memory_usage.total', 'memory.total'],
  ['fb_memory_usage.used', 'memory.used'],
  ['fb_memory_usage.free', 'memory.free'],
  ['fb_memory_usage.reserved', 'memory.reserved'],
  ['bar1_memory_usage.total', 'bar1.total'],
  ['bar1_memory_usage.used', 'bar1.used'],
  ['bar1_memory_usage.free', 'bar1.free'],
  ['cc_protected_memory_usage.total', 'protected_memory.total'],
  ['cc_protected_memory_usage.used', 'protected_memory.used'],
  ['cc_protected_memory_usage.free', 'protected_memory.free'],
  ['utilization.gpu_util', 'utilization.gpu'],
  ['utilization.memory_util', 'utilization.memory'],
  ['utilization.encoder_util', 'utilization.encoder'],
  ['utilization.decoder_util', 'utilization.decoder'],
  ['utilization.jpeg_util', 'utilization.jpeg'],
  ['utilization.ofa_util', 'utilization.ofa'],
  ['encoder_stats.session_count', 'encoder.stats.sessioncount'],
  ['encoder_stats.average_fps', 'encoder.stats.averagefps'],
  ['encoder_stats.average_latency', 'encoder.stats.averagelatency'],
  ['fbc_stats.session_count', 'fbc.stats.sessioncount'],
  ['fbc_stats.average_fps', 'fbc.stats.averagefps'],
  ['fbc_stats.average_latency', 'fbc.stats.averagelatency'],
  ['fan_speed', 'fan.speed'],
  ['performance_state', 'pstate'],
  ['persistence_mode', 'persistence_mode'],
  ['accounting_mode', 'accounting.mode'],
  ['accounting_mode_buffer_size', 'accounting.buffer_size'],
  ['display_active', 'display_active'],
  ['display_attached', 'display_attached'],
  ['display_mode', 'display_mode'],
  ['compute_mode', 'compute_mode'],
  ['c2c_mode', 'c2c.mode'],
  ['gpu_recovery_action', 'gpu_recovery_action'],
  ['gpu_reset_status.reset_required', 'reset.required'],
  ['gpu_reset_status.drain_and_reset_recommended', 'reset.drain_recommended'],
  ['ecc_errors.channel_repair_pending', 'ecc.repair_pending.channel'],
  ['ecc_errors.tpc_repair_pending', 'ecc.repair_pending.tpc'],
  ['mig_mode.current_mig', 'mig.mode.current'],
  ['mig_mode.pending_mig', 'mig.mode.pending'],
  ['ecc_mode.current_ecc', 'ecc.mode.current'],
  ['ecc_mode.pending_ecc', 'ecc.mode.pending'],
  ['dram_encryption_mode.current_dram_encryption', 'dramencryption.mode.current'],
  ['dram_encryption_mode.pending_dram_encryption', 'dramencryption.mode.pending'],
  ['edpp_multiplier', 'edpp_multiplier'],
  ['voltage.graphics_volt', 'voltage.graphics'],
  ['fabric.state', 'fabric.state'],
  ['fabric.status', 'fabric.status'],
  ['pci.pci_gpu_link_info.pcie_gen.current_link_gen', 'pcie.link.gen.current'],
  ['pci.pci_gpu_link_info.pcie_gen.device_current_link_gen', 'pcie.link.gen.gpucurrent'],
  ['pci.pci_gpu_link_info.pcie_gen.max_link_gen', 'pcie.link.gen.max'],
  ['pci.pci_gpu_link_info.pcie_gen.max_device_link_gen', 'pcie.link.gen.gpumax'],
  ['pci.pci_gpu_link_info.pcie_gen.max_host_link_gen', 'pcie.link.gen.hostmax'],
  ['pci.pci_gpu_link_info.link_widths.current_link_width', 'pcie.link.width.current'],
  ['pci.pci_gpu_link_info.link_widths.max_link_width', 'pcie.link.width.max'],
  ['pci.replay_counter', 'pcie.replay_counter'],
  ['pci.replay_rollover_counter', 'pcie.replay_rollover_counter'],
  ['pci.tx_util', 'pcie.tx_util'],
  ['pci.rx_util', 'pcie.rx_util'],
  ['temperature.gpu_temp', 'temperature.gpu'],
  ['temperature.memory_temp', 'temperature.memory'],
  ['temperature.gpu_temp_tlimit', 'temperature.gpu.tlimit'],
  ['temperature.gpu_temp_max_threshold', 'temperature.gpu_max_threshold'],
  ['temperature.gpu_temp_slow_threshold', 'temperature.gpu_slow_threshold'],
  ['temperature.gpu_temp_max_gpu_threshold', 'temperature.gpu_max_gpu_threshold'],
  ['temperature.gpu_temp_max_mem_threshold', 'temperature.memory_max_threshold'],
  ['temperature.gpu_temp_max_tlimit_threshold', 'temperature.gpu_max_tlimit'],
  ['temperature.gpu_temp_slow_tlimit_threshold', 'temperature.gpu_slow_tlimit'],
  ['temperature.gpu_temp_max_gpu_tlimit_threshold', 'temperature.gpu_max_gpu_tlimit'],
  ['temperature.gpu_target_temperature', 'temperature.gpu_target'],
  ['supported_gpu_target_temp.gpu_target_temp_min', 'temperature.gpu_target_min'],
  ['supported_gpu_target_temp.gpu_target_temp_max', 'temperature.gpu_target_max'],
  ['applications_clocks.graphics_clock', 'clocks.applications.graphics'],
  ['applications_clocks.mem_clock', 'clocks.applications.memory'],
  ['default_applications_clocks.graphics_clock', 'clocks.default_applications.graphics'],
  ['default_applications_clocks.mem_clock', 'clocks.default_applications.memory'],
  ['deferred_clocks.mem_clock', 'clocks.deferred.memory'],
  ['max_customer_boost_clocks.graphics_clock', 'clocks.customer_boost.graphics'],
  ['retired_pages.multiple_single_bit_retirement.retired_count', 'retired_pages.single_bit_ecc.count'],
  ['retired_pages.double_bit_retirement.retired_count', 'retired_pages.double_bit.count'],
  ['retired_pages.pending_retirement', 'retired_pages.pending'],
  ['remapped_rows.remapped_row_corr', 'remapped_rows.correctable'],
  ['remapped_rows.remapped_row_unc', 'remapped_rows.uncorrectable'],
  ['remapped_rows.remapped_row_pending', 'remapped_rows.pending'],
  ['remapped_rows.remapped_row_failure', 'remapped_rows.failure'],
  ...['max', 'high', 'partial', 'low', 'none'].map(
    (word) =>
      [
        `remapped_rows.row_remapper_histogram.row_remapper_histogram_${word}`,
        `remapped_rows.histogram.${word}`,
      ] as const,
  ),
  ...Object.entries({ graphics: 'graphics', sm: 'sm', mem: 'memory', video: 'video' }).flatMap(([tag, domain]) => [
    [`clocks.${tag}_clock`, `clocks.current.${domain}`] as const,
    [`max_clocks.${tag}_clock`, `clocks.max.${domain}`] as const,
  ]),
  ...eccPairs(),
  ...powerPairs(),
  ...throttlePairs(),
];

function eccPairs(): readonly (readonly [string, string])[] {
  return ['volatile', 'aggregate'].flatMap((scope) => [
    ...['sram', 'dram'].flatMap((location) => [
      [`ecc_errors.${scope}.${location}_correctable`, `ecc.errors.corrected.${scope}.${location}`] as const,
      [`ecc_errors.${scope}.${location}_uncorrectable`, `ecc.errors.uncorrected.${scope}.${location}`] as const,
    ]),
    [`ecc_errors.${scope}.sram_uncorrectable_parity`, `ecc.errors.uncorrected.${scope}.sram.parity`] as const,
    [`ecc_errors.${scope}.sram_uncorrectable_secded`, `ecc.errors.uncorrected.${scope}.sram.secded`] as const,
    [`ecc_errors.${scope}.sram_threshold_exceeded`, `ecc.errors.uncorrected.${scope}.sram.thresholdexceeded`] as const,
    ...Object.entries({ l2: 'l2', sm: 'sm', microcontroller: 'mcu', pcie: 'pcie', other: 'other' }).map(
      ([tag, part]) =>
        [
          `ecc_errors.${scope}_uncorrectable_sram_sources.sram_${tag}`,
          `ecc.errors.uncorrected.${scope}.sram.${part}`,
        ] as const,
    ),
  ]);
}

/**
 * v11 `power_limit` (asked for) and `enforced_power_limit` (in force) became v12 `requested_power_limit` and
 * `current_power_limit`.
 */
function powerPairs(): readonly (readonly [string, string])[] {
  const groups = { power_readings: '', gpu_power_readings: '', module_power_readings: 'module.' };
  const pairs = Object.entries(groups).flatMap(([group, prefix]) => [
    [`${group}.power_draw`, `${prefix}power.draw`] as const,
    [`${group}.average_power_draw`, `${prefix}power.draw.average`] as const,
    [`${group}.instant_power_draw`, `${prefix}power.draw.instant`] as const,
    [`${group}.power_limit`, `${prefix}power.limit`] as const,
    [`${group}.requested_power_limit`, `${prefix}power.limit`] as const,
    [`${group}.enforced_power_limit`, `${prefix}enforced.power.limit`] as const,
    [`${group}.current_power_limit`, `${prefix}enforced.power.limit`] as const,
    [`${group}.default_power_limit`, `${prefix}power.default_limit`] as const,
    [`${group}.min_power_limit`, `${prefix}power.min_limit`] as const,
    [`${group}.max_power_limit`, `${prefix}power.max_limit`] as const,
  ]);
  return [
    ...pairs,
    ['gpu_memory_power_readings.average_power_draw', 'memory.power.draw.average'],
    ['gpu_memory_power_readings.instant_power_draw', 'memory.power.draw.instant'],
    ['power_readings.power_management', 'power.management'],
  ];
}

function throttlePairs(): readonly (readonly [string, string])[] {
  const counters = {
    sw_power_cap: 'sw_power_cap',
    sync_boost: 'sync_boost',
    sw_therm_slowdown: 'sw_thermal_slowdown',
    hw_therm_slowdown: 'hw_thermal_slowdown',
    hw_power_brake: 'hw_power_brake_slowdown',
  };
  return [
    ...[...THROTTLE_REASONS.keys()].map(
      (reason) => [`clocks_event_reasons.clocks_event_reason_${reason}`, `clocks_event_reasons.${reason}`] as const,
    ),
    ...Object.entries(counters).map(
      ([tag, reason]) =>
        [
          `clocks_event_reasons_counters.clocks_event_reasons_counters_${tag}`,
          `clocks_event_reasons_counters.${reason}`,
        ] as const,
    ),
  ];
}

/** Path of tags below `<gpu>` → the canonical --query-gpu field, for every DTD version from v10 to v13. */
export const FIELD_BY_TAG: ReadonlyMap<string, string> = new Map(PAIRS);
