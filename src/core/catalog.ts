/** Whether a value is a state now (`gauge`) or only grows until its source restarts (`counter`). */
export type MetricKind = 'gauge' | 'counter';

/** A metric: unit after UCUM (`1` = ratio or pure number, `By`, `W`, `J`, `Cel`, `Hz`, `s`, `{thing}` = count). */
export type Metric = {
  readonly unit: string;
  readonly kind: MetricKind;
  readonly about: string;
  /** Closed range of honest values; outside it a value is kept and marked suspect. */
  readonly range: readonly [number, number];
};

const ANY_ABOVE_ZERO = [0, Number.MAX_VALUE] as const;
const RATIO = [0, 1] as const;
const FLAG = [0, 1] as const;
/** Silicon on Earth: NVML reports 0 to about 130 °C; limits and margins may be negative. */
const CELSIUS = [-60, 200] as const;

function gauge(unit: string, about: string, range: readonly [number, number] = ANY_ABOVE_ZERO): Metric {
  return { unit, kind: 'gauge', about, range };
}

function counter(unit: string, about: string): Metric {
  return { unit, kind: 'counter', about, range: ANY_ABOVE_ZERO };
}

function ratio(about: string): Metric {
  return gauge('1', about, RATIO);
}

function flag(about: string): Metric {
  return gauge('1', about, FLAG);
}

/**
 * Every metric that Leeway names itself, in base units: one line here is what a metric is, wherever it came from.
 * Names follow OpenTelemetry `hw.*` where it has one. Attributes in braces; `hw.id` is the vendor's own id.
 */
export const CATALOG = {
  'hw.status': flag('1 when the device is in the state {hw.state}'),
  'hw.gpu.info': flag('a text the driver prints {field}; only its absence is told'),
  'hw.gpu.count': gauge('{gpu}', 'GPUs the driver sees'),
  'hw.gpu.utilization': ratio('share of the last sample period in which the engine {hw.gpu.task} was busy'),
  'hw.gpu.memory.controller.utilization': ratio(
    'share of the sample period in which device memory was read or written',
  ),
  'hw.gpu.memory.usage': gauge('By', 'device memory in use'),
  'hw.gpu.memory.limit': gauge('By', 'device memory installed'),
  'hw.gpu.memory.free': gauge('By', 'device memory free'),
  'hw.gpu.memory.reserved': gauge('By', 'device memory reserved by driver and firmware'),
  'hw.gpu.memory.utilization': ratio('used ÷ (total − reserved) device memory'),
  'hw.gpu.bar1.usage': gauge('By', 'BAR1 aperture in use'),
  'hw.gpu.bar1.limit': gauge('By', 'BAR1 aperture'),
  'hw.gpu.bar1.free': gauge('By', 'BAR1 aperture free'),
  'hw.gpu.protected_memory.usage': gauge('By', 'confidential-computing memory in use'),
  'hw.gpu.protected_memory.limit': gauge('By', 'confidential-computing memory'),
  'hw.gpu.protected_memory.free': gauge('By', 'confidential-computing memory free'),
  'hw.gpu.graphics.utilization': ratio('share of cycles with the graphics or compute engine active'),
  'hw.gpu.sm.utilization': ratio('share of cycles with at least one warp on a multiprocessor, averaged'),
  'hw.gpu.sm.occupancy': ratio('resident warps ÷ warps possible'),
  'hw.gpu.pipe.utilization': ratio('share of cycles with the pipe {pipe} active'),
  'hw.gpu.memory.bandwidth.utilization': ratio('share of cycles with the memory interface active'),
  'hw.power': gauge('W', 'power drawn {power.window, hw.power.scope}'),
  'hw.power.limit': gauge('W', 'power limit {hw.limit_type, hw.power.scope}'),
  'hw.energy': counter('J', 'energy since the driver was loaded'),
  'hw.temperature': gauge('Cel', 'temperature {hw.sensor_location}', CELSIUS),
  'hw.temperature.limit': gauge('Cel', 'temperature threshold {hw.sensor_location, hw.limit_type}', CELSIUS),
  'hw.gpu.temperature.margin': gauge('Cel', 'degrees left to the slowdown threshold', CELSIUS),
  'hw.gpu.temperature.margin.limit': gauge('Cel', 'margin at which {hw.limit_type} begins', CELSIUS),
  'hw.gpu.speed': gauge('Hz', 'clock {clock_domain}'),
  'hw.gpu.speed.limit': gauge('Hz', 'highest clock {clock_domain, hw.limit_type}'),
  'hw.gpu.speed.application': gauge('Hz', 'application clock {clock_domain, setting}'),
  'hw.gpu.voltage': gauge('V', 'voltage {clock_domain}'),
  'hw.gpu.throttle.active': flag('1 while clocks are held down for {reason}'),
  'hw.gpu.throttle.time': counter('s', 'time with clocks held down for {reason}'),
  'hw.gpu.throttle.mask': gauge('1', 'bit mask of active reasons (nvml.h nvmlClocksEventReason)'),
  'hw.gpu.throttle.supported_mask': gauge('1', 'bit mask of reasons the device can report'),
  'hw.gpu.pstate': gauge('1', 'performance state, 0 = highest', [0, 15]),
  'hw.fan.speed_ratio': gauge('1', 'intended fan speed ÷ rated speed; may pass 1', [0, 2]),
  'hw.gpu.pcie.generation': gauge('1', 'PCIe generation {scope}', [0, 10]),
  'hw.gpu.pcie.width': gauge('{lane}', 'PCIe lanes {scope}', [0, 32]),
  'hw.gpu.pcie.throughput': gauge('By/s', 'PCIe traffic over the last sample {network.io.direction}'),
  'hw.gpu.io': counter('By', 'PCIe traffic {network.io.direction}'),
  'hw.gpu.interconnect.speed': gauge('By/s', 'speed of one NVLink and direction {link}'),
  'hw.gpu.interconnect.active': flag('1 when the NVLink {link} is up'),
  'hw.gpu.interconnect.links': gauge('{link}', 'NVLinks to {peer}; {connection} names the path'),
  'hw.gpu.interconnect.rate': gauge('By/s', 'NVLink traffic over the last sample {network.io.direction, link}'),
  'hw.gpu.interconnect.io': counter('By', 'NVLink traffic {network.io.direction, link}'),
  'hw.gpu.numa_node': gauge('1', 'NUMA node of the GPU memory'),
  'hw.errors': counter('{error}', 'errors {hw.type, error.type, ecc.scope, ecc.location}'),
  'hw.gpu.ecc.enabled': flag('ECC {setting}'),
  'hw.gpu.ecc.threshold_exceeded': flag('uncorrectable SRAM errors passed the vendor threshold'),
  'hw.gpu.ecc.repair_pending': flag('repair pending {ecc.location}'),
  'hw.gpu.rows.remapped': counter('{row}', 'memory rows remapped {error.type}'),
  'hw.gpu.rows.remap_pending': flag('a remap waits for a reset'),
  'hw.gpu.rows.remap_failure': flag('a remap failed'),
  'hw.gpu.rows.banks': gauge('{bank}', 'memory banks by remap availability {availability}'),
  'hw.gpu.retired_pages': counter('{page}', 'pages retired {cause}'),
  'hw.gpu.retired_page': flag('a retired page {address, cause}'),
  'hw.gpu.retired_pages.pending': flag('a retirement waits for a reset'),
  'hw.gpu.mig.enabled': flag('MIG mode {setting}'),
  'hw.gpu.recovery_action': gauge('1', '0 none, 1 reset, 2 reboot, 3 drain P2P, 4 drain and reset', [0, 4]),
  'hw.gpu.reset.required': flag('the GPU must be reset'),
  'hw.gpu.reset.drain_recommended': flag('the GPU should be drained and reset'),
  'hw.gpu.xid.last': gauge('1', 'code of the last Xid, 0 = none; sticky', [0, 999]),
  'hw.gpu.persistence.enabled': flag('persistence mode'),
  'hw.gpu.accounting.enabled': flag('process accounting'),
  'hw.gpu.accounting.buffer_size': gauge('{process}', 'processes the accounting buffer holds'),
  'hw.gpu.display.active': flag('a display is initialised'),
  'hw.gpu.display.attached': flag('a display is connected'),
  'hw.gpu.gsp.enabled': flag('GSP firmware {setting}'),
  'hw.gpu.c2c.enabled': flag('chip-to-chip link mode'),
  'hw.gpu.dram_encryption.enabled': flag('DRAM encryption {setting}'),
  'hw.gpu.vgpu.licensed': flag('vGPU licence valid'),
  'hw.gpu.compute_mode': gauge('1', '0 default, 1 exclusive thread, 2 prohibited, 3 exclusive process', [0, 3]),
  'hw.gpu.fabric.state': gauge('1', '0 not supported, 1 not started, 2 in progress, 3 completed', [0, 3]),
  'hw.gpu.codec.sessions': gauge('{session}', 'sessions {codec}'),
  'hw.gpu.codec.frame_rate': gauge('{frame}/s', 'average frames a second {codec}'),
  'hw.gpu.codec.latency': gauge('s', 'average latency {codec}'),
  'hw.gpu.edpp.multiplier': gauge('1', 'peak-power multiplier', [0, 10]),
  'hw.gpu.mig.multiprocessors': gauge('{multiprocessor}', 'multiprocessors of a MIG device'),
  'process.gpu.memory.usage': gauge('By', 'device memory of {process.pid}'),
  'process.gpu.utilization': ratio('engine share of {process.pid} {hw.gpu.task}'),
  'process.gpu.memory.controller.utilization': ratio('memory-controller share of {process.pid}'),
  'process.gpu.accounted.utilization': ratio('engine share of {process.pid} over its life'),
  'process.gpu.accounted.memory.controller.utilization': ratio(
    'memory-controller share of {process.pid} over its life',
  ),
  'process.gpu.accounted.memory.peak': gauge('By', 'most device memory of {process.pid} over its life'),
  'process.gpu.accounted.time': gauge('s', 'life of the GPU context of {process.pid}'),
  'hw.network.io': counter('By', 'bytes {network.io.direction}'),
  'hw.network.packets': counter('{packet}', 'packets {network.io.direction, network.packet.type}'),
  'hw.network.bandwidth.limit': gauge('By/s', 'link rate'),
  'hw.network.port.state': gauge('1', 'logical state: 1 down, 2 init, 3 armed, 4 active', [0, 5]),
  'hw.network.port.physical_state': gauge('1', 'physical state: 2 polling, 3 disabled, 5 link up', [0, 7]),
  'hw.network.transmit.wait': counter('{tick}', 'ticks with data and no credit to send it'),
  'hw.network.rdma.events': counter('{event}', 'RDMA transport events {event}'),
  'nccl.job.size': gauge('1', 'size of the job {what = nodes, processes, gpus, …}'),
  'nccl.communicators': gauge('{communicator}', 'communicators {nccl.group}'),
  'nccl.communicator.size': gauge('{rank}', 'ranks of a communicator'),
  'nccl.communicator.shape': gauge('1', 'shape of a group of communicators {what}'),
  'nccl.communicator.healthy': flag('1 when a group reports no error {status, error.type}'),
  'nccl.communicator.ranks_at_operation': gauge('{rank}', 'ranks launched up to {operation}'),
  'nccl.ranks.present': gauge('{rank}', 'ranks that answered'),
  'nccl.ranks.missing': gauge('{rank}', 'ranks that did not answer'),
  'nccl.rank.missing': flag('1 for a rank that did not answer'),
  'nccl.rank.unresponsive': flag('a missing rank does not respond'),
  'nccl.rank.considered_dead': flag('a missing rank is taken for dead'),
  'nccl.rank.mismatched': flag('a rank whose collective count differs from the majority'),
  'nccl.rank.collective_count': counter('{operation}', 'collectives launched {nccl.op}'),
  'nccl.rank.init_state': gauge('1', 'initialisation state, 0 = done'),
  'nccl.rank.async_error': gauge('1', 'asynchronous error, 0 = none'),
  'nccl.rank.finalizing': flag('finalize was called'),
  'nccl.rank.destroying': flag('destroy was called'),
  'nccl.rank.aborting': flag('abort was called'),
  'nccl.ras.duration': gauge('s', 'time the RAS service took to collect its answer'),
  'nccl.ras.timeouts': gauge('{timeout}', 'peers that did not answer in time'),
  'nccl.event': flag('an event of the RAS monitor {event, event.group}'),
  'nccl.collective.duration': gauge('s', 'execution time of a collective'),
  'nccl.collective.size': gauge('By', 'message size of a collective'),
  'nccl.collective.sequence': counter('{operation}', 'sequence number within the communicator'),
  'nccl.algorithm_bandwidth': gauge('By/s', 'message size ÷ time'),
  'nccl.bus_bandwidth': gauge('By/s', 'bandwidth on the busiest link'),
  'nccl.p2p.duration': gauge('s', 'execution time of a point-to-point operation'),
  'nccl.p2p.size': gauge('By', 'message size of a point-to-point operation'),
  'nccl.p2p.sequence': counter('{operation}', 'sequence number of a point-to-point operation'),
  'nccl.p2p.algorithm_bandwidth': gauge('By/s', 'message size ÷ time, point to point'),
  'nccl.p2p.bus_bandwidth': gauge('By/s', 'bandwidth of a point-to-point operation'),
  'nccl.operations': counter('{operation}', 'operations recorded {what = collective, p2p}'),
  'nccl.operations.dropped': counter('{operation}', 'operation records overwritten before a dump {what}'),
  'inference.requests': counter('{request}', 'requests {status, reason}'),
  'inference.inferences': counter('{inference}', 'inferences: a batch of n counts n'),
  'inference.executions': counter('{execution}', 'model executions: a batch counts 1'),
  'inference.request.duration': counter('s', 'cumulative time of requests'),
  'inference.queue.duration': counter('s', 'cumulative time in the queue'),
  'inference.compute.duration': counter('s', 'cumulative time of {stage = input, infer, output}'),
  'inference.request.duration.quantile': gauge('s', 'time of a request {quantile}'),
  'inference.queue.duration.quantile': gauge('s', 'time in the queue {quantile}'),
  'inference.compute.duration.quantile': gauge('s', 'time of a stage {stage, quantile}'),
  'inference.request.duration.sum': counter('s', 'sum of the summary of request times'),
  'inference.queue.duration.sum': counter('s', 'sum of the summary of queue times'),
  'inference.compute.duration.sum': counter('s', 'sum of the summary of a stage {stage}'),
  'inference.request.duration.count': counter('{request}', 'requests in the summary of request times'),
  'inference.queue.duration.count': counter('{request}', 'requests in the summary of queue times'),
  'inference.compute.duration.count': counter('{request}', 'requests in the summary of a stage {stage}'),
  'inference.pending': gauge('{request}', 'requests waiting for the model'),
  'inference.cache.utilization': ratio('share of the response cache in use'),
  'inference.cache.entries': gauge('{entry}', 'responses in the cache'),
  'inference.cache.events': counter('{event}', 'response-cache events {event = hit, miss, lookup, eviction}'),
  'inference.cache.duration': counter('s', 'cumulative time of the response cache {operation}'),
  'system.cpu.utilization': ratio('CPU in use'),
  'system.memory.usage': gauge('By', 'host memory in use'),
  'system.memory.limit': gauge('By', 'host memory installed'),
} as const satisfies Readonly<Record<string, Metric>>;

export type MetricName = keyof typeof CATALOG;

/** The entry of a metric of ours. */
export function metricOf(name: MetricName): Metric {
  return CATALOG[name];
}
