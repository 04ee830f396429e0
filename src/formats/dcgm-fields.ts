import type { MetricName } from '../core/catalog.ts';
import type { Attributes } from './decode-result.ts';

type Rule = {
  readonly metric: MetricName;
  readonly unit: string;
  readonly attributes: Attributes;
  readonly suspect?: boolean;
};

function rule(metric: MetricName, unit = '', attributes: Attributes = {}): Rule {
  return { metric, unit, attributes };
}

const GPU = { 'hw.sensor_location': 'gpu' };

function errors(type: string, more: Attributes = {}): Rule {
  return rule('hw.errors', '', { 'hw.type': 'gpu', 'error.type': type, ...more });
}

function ecc(type: string, scope: string): Rule {
  return errors(type, { 'ecc.scope': scope, 'ecc.location': 'total' });
}

function throttled(reason: string): Rule {
  return rule('hw.gpu.throttle.time', 'ns', { reason });
}

/**
 * DCGM fields by name, units as in dcgm_fields.h (not as in HELP texts: DRAM_ACTIVE says percent and is a ratio;
 * violations are ns since the correction of 2025-12).
 */
export const DCGM_RULES: ReadonlyMap<string, Rule> = new Map(
  Object.entries({
    DCGM_FI_DEV_COUNT: rule('hw.gpu.count'),
    DCGM_FI_DEV_SM_CLOCK: rule('hw.gpu.speed', 'MHz', { clock_domain: 'sm' }),
    DCGM_FI_DEV_MEM_CLOCK: rule('hw.gpu.speed', 'MHz', { clock_domain: 'memory' }),
    DCGM_FI_DEV_VIDEO_CLOCK: rule('hw.gpu.speed', 'MHz', { clock_domain: 'video' }),
    DCGM_FI_DEV_APP_SM_CLOCK: rule('hw.gpu.speed.application', 'MHz', { clock_domain: 'sm', setting: 'current' }),
    DCGM_FI_DEV_APP_MEM_CLOCK: rule('hw.gpu.speed.application', 'MHz', { clock_domain: 'memory', setting: 'current' }),
    DCGM_FI_DEV_MAX_SM_CLOCK: rule('hw.gpu.speed.limit', 'MHz', { clock_domain: 'sm', 'hw.limit_type': 'max' }),
    DCGM_FI_DEV_MAX_MEM_CLOCK: rule('hw.gpu.speed.limit', 'MHz', { clock_domain: 'memory', 'hw.limit_type': 'max' }),
    DCGM_FI_DEV_GPU_TEMP: rule('hw.temperature', 'C', GPU),
    DCGM_FI_DEV_MEMORY_TEMP: rule('hw.temperature', 'C', { 'hw.sensor_location': 'memory' }),
    DCGM_FI_DEV_SLOWDOWN_TEMP: rule('hw.temperature.limit', 'C', { ...GPU, 'hw.limit_type': 'slowdown' }),
    DCGM_FI_DEV_SHUTDOWN_TEMP: rule('hw.temperature.limit', 'C', { ...GPU, 'hw.limit_type': 'shutdown' }),
    DCGM_FI_DEV_POWER_USAGE: rule('hw.power', 'W'),
    DCGM_FI_DEV_POWER_USAGE_INSTANT: rule('hw.power', 'W', { 'power.window': 'instant' }),
    DCGM_FI_DEV_POWER_MGMT_LIMIT: rule('hw.power.limit', 'W', { 'hw.limit_type': 'requested' }),
    DCGM_FI_DEV_ENFORCED_POWER_LIMIT: rule('hw.power.limit', 'W', { 'hw.limit_type': 'enforced' }),
    DCGM_FI_DEV_POWER_MGMT_LIMIT_DEF: rule('hw.power.limit', 'W', { 'hw.limit_type': 'default' }),
    DCGM_FI_DEV_POWER_MGMT_LIMIT_MIN: rule('hw.power.limit', 'W', { 'hw.limit_type': 'min' }),
    DCGM_FI_DEV_POWER_MGMT_LIMIT_MAX: rule('hw.power.limit', 'W', { 'hw.limit_type': 'max' }),
    DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION: rule('hw.energy', 'mJ'),
    DCGM_FI_DEV_FAN_SPEED: rule('hw.fan.speed_ratio', '%'),
    DCGM_FI_DEV_PSTATE: rule('hw.gpu.pstate'),
    DCGM_FI_DEV_GPU_UTIL: rule('hw.gpu.utilization', '%', { 'hw.gpu.task': 'general' }),
    DCGM_FI_DEV_ENC_UTIL: rule('hw.gpu.utilization', '%', { 'hw.gpu.task': 'encoder' }),
    DCGM_FI_DEV_DEC_UTIL: rule('hw.gpu.utilization', '%', { 'hw.gpu.task': 'decoder' }),
    DCGM_FI_DEV_MEM_COPY_UTIL: rule('hw.gpu.memory.controller.utilization', '%'),
    DCGM_FI_DEV_XID_ERRORS: rule('hw.gpu.xid.last'),
    DCGM_FI_DEV_FB_FREE: rule('hw.gpu.memory.free', 'MiB'),
    DCGM_FI_DEV_FB_USED: rule('hw.gpu.memory.usage', 'MiB'),
    DCGM_FI_DEV_FB_TOTAL: rule('hw.gpu.memory.limit', 'MiB'),
    DCGM_FI_DEV_FB_RESERVED: rule('hw.gpu.memory.reserved', 'MiB'),
    DCGM_FI_DEV_FB_USED_PERCENT: rule('hw.gpu.memory.utilization'),
    DCGM_FI_DEV_BAR1_TOTAL: rule('hw.gpu.bar1.limit', 'MiB'),
    DCGM_FI_DEV_BAR1_USED: rule('hw.gpu.bar1.usage', 'MiB'),
    DCGM_FI_DEV_BAR1_FREE: rule('hw.gpu.bar1.free', 'MiB'),
    DCGM_FI_DEV_VGPU_LICENSE_STATUS: rule('hw.gpu.vgpu.licensed'),
    DCGM_FI_DEV_CLOCK_THROTTLE_REASONS: rule('hw.gpu.throttle.mask'),
    DCGM_FI_DEV_CLOCKS_EVENT_REASONS: rule('hw.gpu.throttle.mask'),
    DCGM_FI_DEV_POWER_VIOLATION: throttled('sw_power_cap'),
    DCGM_FI_DEV_THERMAL_VIOLATION: throttled('sw_thermal'),
    DCGM_FI_DEV_SYNC_BOOST_VIOLATION: throttled('sync_boost'),
    DCGM_FI_DEV_BOARD_LIMIT_VIOLATION: throttled('board_limit'),
    DCGM_FI_DEV_LOW_UTIL_VIOLATION: throttled('low_utilization'),
    DCGM_FI_DEV_RELIABILITY_VIOLATION: throttled('reliability'),
    DCGM_FI_DEV_ECC_SBE_VOL_TOTAL: ecc('corrected', 'volatile'),
    DCGM_FI_DEV_ECC_DBE_VOL_TOTAL: ecc('uncorrected', 'volatile'),
    DCGM_FI_DEV_ECC_SBE_AGG_TOTAL: ecc('corrected', 'aggregate'),
    DCGM_FI_DEV_ECC_DBE_AGG_TOTAL: ecc('uncorrected', 'aggregate'),
    DCGM_FI_DEV_PCIE_REPLAY_COUNTER: errors('pcie_replay'),
    DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL: errors('nvlink_crc_flit'),
    DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL: errors('nvlink_crc_data'),
    DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL: errors('nvlink_replay'),
    DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL: errors('nvlink_recovery'),
    DCGM_FI_DEV_RETIRED_SBE: rule('hw.gpu.retired_pages', '', { cause: 'single_bit_ecc' }),
    DCGM_FI_DEV_RETIRED_DBE: rule('hw.gpu.retired_pages', '', { cause: 'double_bit_ecc' }),
    DCGM_FI_DEV_RETIRED_PENDING: rule('hw.gpu.retired_pages.pending'),
    DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS: rule('hw.gpu.rows.remapped', '', { 'error.type': 'uncorrected' }),
    DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS: rule('hw.gpu.rows.remapped', '', { 'error.type': 'corrected' }),
    DCGM_FI_DEV_ROW_REMAP_FAILURE: rule('hw.gpu.rows.remap_failure'),
    DCGM_FI_DEV_ROW_REMAP_PENDING: rule('hw.gpu.rows.remap_pending'),
    // typed counter, is a rate; documents and measurements disagree about its unit (DCGM#221, dcgm-exporter#195)
    DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL: {
      ...rule('hw.gpu.interconnect.rate', 'MB/s', { type: 'nvlink' }),
      suspect: true,
    },
    DCGM_FI_PROF_NVLINK_TX_BYTES: rule('hw.gpu.interconnect.rate', '', {
      type: 'nvlink',
      'network.io.direction': 'transmit',
    }),
    DCGM_FI_PROF_NVLINK_RX_BYTES: rule('hw.gpu.interconnect.rate', '', {
      type: 'nvlink',
      'network.io.direction': 'receive',
    }),
    DCGM_FI_PROF_PCIE_TX_BYTES: rule('hw.gpu.pcie.throughput', '', { 'network.io.direction': 'transmit' }),
    DCGM_FI_PROF_PCIE_RX_BYTES: rule('hw.gpu.pcie.throughput', '', { 'network.io.direction': 'receive' }),
    DCGM_FI_PROF_GR_ENGINE_ACTIVE: rule('hw.gpu.graphics.utilization'),
    DCGM_FI_PROF_SM_ACTIVE: rule('hw.gpu.sm.utilization'),
    DCGM_FI_PROF_SM_OCCUPANCY: rule('hw.gpu.sm.occupancy'),
    DCGM_FI_PROF_PIPE_TENSOR_ACTIVE: rule('hw.gpu.pipe.utilization', '', { pipe: 'tensor' }),
    DCGM_FI_PROF_PIPE_FP64_ACTIVE: rule('hw.gpu.pipe.utilization', '', { pipe: 'fp64' }),
    DCGM_FI_PROF_PIPE_FP32_ACTIVE: rule('hw.gpu.pipe.utilization', '', { pipe: 'fp32' }),
    DCGM_FI_PROF_PIPE_FP16_ACTIVE: rule('hw.gpu.pipe.utilization', '', { pipe: 'fp16' }),
    DCGM_FI_PROF_DRAM_ACTIVE: rule('hw.gpu.memory.bandwidth.utilization'),
  }),
);
