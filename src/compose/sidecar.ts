import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { LoadedConfig } from '../config.ts';
import { type Clock, every, systemClock } from '../core/clock.ts';
import { LeewayError, systemCode } from '../core/errors.ts';
import { integerBelow, systemRandom } from '../core/random.ts';
import type { LinkGap } from '../formats/link-batch.ts';
import type { Publisher } from '../pipeline/publish.ts';
import { lockDataDir } from '../store/data-dir-lock.ts';
import { LOG_LINES_DROPPED, logLines } from '../telemetry/log-lines.ts';
import { createLogger, type Logger } from '../telemetry/logger.ts';
import type { SpoolDisk } from '../transport/disk.ts';
import { reserveBytes } from '../transport/disk-space.ts';
import { Forwarder } from '../transport/forward.ts';
import { forwardDisk } from '../transport/forward-disk.ts';
import { openGatewayLink } from '../transport/forward-link.ts';
import { ForwardLog } from '../transport/forward-log.ts';
import { ForwardSpool } from '../transport/forward-spool.ts';
import { openSpool } from '../transport/spool.ts';
import { type CollectorEvents, createCollecting } from './collecting.ts';
import { givenUp, givenUpAtEnd } from './given-up.ts';
import type { RunOptions } from './run-options.ts';

/** Records that each collector's publisher holds while its spool refuses: 50,000 × 300 B = 15 MB. */
const BUFFER_RECORDS_MAX = 50_000;
/** After the signal, what is held may take this long to leave; the process ends within 10 s. What stays is in the spool. */
const DRAIN_MS = 5_000;
const DRAIN_LOOK_MS = 20;
/** And what was given up, to be told: what stays untold is told by the next start. */
const DECLARE_MS_MAX = 1_000;
const LOSS_REPORT_MS = 60_000;
/** By then every collector has been read and forwarded. */
const SETTLED_MS = 8_000;
/**
 * A collector's next readings are one batch and one segment for two intervals, two seconds at most: a file, a sync and a request
 * cost the node about 1 ms of CPU each. A kill costs what was read since, which nobody was told is durable.
 */
const TOGETHER_INTERVALS = 2;
const TOGETHER_MS_MAX = 2_000;
/** A little less than the readings take, so that the pause ends before the one that it waits for. */
const PACE_SHARE = 0.95;
/** What lists of gaps and numbers need on a full disk until segments are removed. */
const RESERVE_BYTES_MAX = 4 * 1_048_576;
/** What is read, decoded and sent at once after an outage: about 10 MB of memory. */
const SEGMENT_BYTES_MAX = 2 * 1_048_576;
const SEGMENT_ROWS_MAX = 5_000;

/**
 * `--role sidecar`: the collectors of this machine, whose records go to the gateway in `gateway.url`; no store, no
 * engine, no server. Records are durable in `data_dir/sidecar/spool` first and leave it when the gateway has them durably; beyond the
 * quota the policy of their signal decides, and what it drops is declared to the gateway. Throws LW-CONFIG without
 * `gateway.url`, LW-DATA-DIR-TAKEN when another process has the directory.
 */
export async function runSidecar(loaded: LoadedConfig, options: RunOptions): Promise<void> {
  const { config, paths } = loaded;
  const { url, token_file } = config.gateway;
  if (url === null)
    throw new LeewayError(
      'LW-CONFIG',
      'gateway.url: got null, expected the address of the service that takes the records; ' +
        'set it in the configuration or as LEEWAY__GATEWAY__URL=http://HOST:8787',
    );
  const readToken = async (): Promise<string | null> =>
    token_file === null ? null : ((await loaded.readSecret(token_file))[0] ?? null);
  await readToken(); // an unreadable token must stop the start, not the first batch
  const clock = systemClock;
  const logger: Logger = createLogger({
    level: config.log.level,
    format: config.log.format,
    isTerminal: process.stderr.isTTY === true,
    color: process.stderr.isTTY === true,
    write: logLines(process.stderr, (lines_count) => logger.warn({ lines_count }, LOG_LINES_DROPPED)),
  });
  await using stack = new AsyncDisposableStack();
  stack.use(await lockDataDir(paths.data_dir)); // the workloads' socket and the spool lie there
  const tell = ({ reason, ...fields }: { readonly reason: string }): void => logger.warn(fields, reason);
  const { bus, log, disk } = await openBus(loaded, tell);
  stack.use(bus);
  const link = stack.use(await openGatewayLink({ url, readToken, clock, onEvent: tell }));
  const refused = new Map<string, Readonly<Record<string, number>>>();
  const doors = { bus, clock, epoch: log.epoch, buffer_records_max: BUFFER_RECORDS_MAX };
  const { publishers, run } = createCollecting(loaded, doors, {
    onReport: reports(logger),
    onRejected: (source, counts) => void refused.set(source, counts),
  });
  const cut = new AbortController();
  const process_run = String(integerBelow(systemRandom, Number.MAX_SAFE_INTEGER));
  let ended: readonly LinkGap[] | null = null; // then what the log does not say
  const losses = (): readonly LinkGap[] => ended ?? givenUp(publishers, process_run);
  const parts = { bus, log, link, disk, clock, random: systemRandom, losses, run: process_run, cut: cut.signal };
  const forwarder = new Forwarder({ ...parts, onEvent: tell });
  const forwarding = forwarder.run(cut.signal);
  const report = lossReport(publishers, refused, logger);
  const stop = new AbortController();
  const running = run(stop.signal, () => {
    releaseStart();
    options.onReady?.({ url });
    logger.info({ url, sources: publishers.map((publisher) => publisher.counts().source) }, 'the sidecar is running');
  });
  const settled = clock.sleep(SETTLED_MS, stop.signal).then(releaseStart, () => undefined); // the end came first
  const onError = (error: unknown): void => logger.error({ error: String(error) }, 'the report of losses failed');
  const reporting = every(clock, LOSS_REPORT_MS, async () => report(), { signal: stop.signal, onError });
  const signalled = new Promise<void>((resolve) => {
    if (options.signal.aborted) resolve();
    options.signal.addEventListener('abort', () => resolve(), { once: true });
  });
  await Promise.race([signalled, running, forwarding]); // the last two end by themselves only when they fail
  stop.abort();
  bus.hurry();
  await Promise.all([running, reporting, settled]);
  ended = await noteGivenUp(
    log,
    givenUpAtEnd(publishers, process_run, (source) => bus.begunOf(source)),
    logger,
  );
  await drained({ bus, forwarder, clock });
  cut.abort();
  await forwarding;
  report();
  const waiting = bus.backlog().in_flight.reduce((sum, { records }) => sum + records, 0);
  if (waiting > 0) logger.warn({ records: waiting }, 'ended with records in the spool: the next start sends them');
}

type LocalBus = { readonly bus: ForwardSpool; readonly log: ForwardLog; readonly disk: SpoolDisk };

/** The spool of this node, and the log of what of it the gateway has. */
async function openBus(
  { config, paths }: LoadedConfig,
  onEvent: (event: { readonly kind: string; readonly reason: string }) => void,
): Promise<LocalBus> {
  const { spool } = config;
  const data_dir = join(paths.data_dir, 'sidecar'); // not that of a service that used this directory before
  const intervals = Object.values(config.collectors).map(({ interval_ms }) => interval_ms);
  const together_ms = Math.min(TOGETHER_MS_MAX, TOGETHER_INTERVALS * Math.min(...intervals));
  const disk = forwardDisk(spool.fsync);
  const newEpoch = (): number => integerBelow(systemRandom, Number.MAX_SAFE_INTEGER);
  const log = await ForwardLog.open(disk, join(data_dir, 'spool'), newEpoch, spool.fsync);
  const opened = await openSpool({
    data_dir,
    ...spool,
    reserve_bytes: Math.min(RESERVE_BYTES_MAX, await reserveBytes(paths.data_dir, spool.bytes_max)),
    clock: systemClock,
    known: { sequences: log.known(), lineage_max: 0n },
    onEvent,
    disk,
    close_ms: together_ms,
    segment_rows_max: SEGMENT_ROWS_MAX,
    segment_bytes_max: Math.min(SEGMENT_BYTES_MAX, spool.bytes_max / 16),
  });
  return { bus: new ForwardSpool(opened, log, { clock: systemClock, pace_ms: together_ms * PACE_SHARE }), log, disk };
}

/** Resolves when the spool is empty and what was given up is told, when the gateway does not answer, or after DRAIN_MS. */
async function drained(parts: {
  readonly bus: ForwardSpool;
  readonly forwarder: Forwarder;
  readonly clock: Clock;
}): Promise<void> {
  const { bus, forwarder, clock } = parts;
  const never = new AbortController().signal;
  const until_ms = clock.elapsed_ms() + DRAIN_MS;
  while (bus.backlog().frames > 0 && forwarder.isReaching && clock.elapsed_ms() < until_ms)
    await clock.sleep(DRAIN_LOOK_MS, never);
  await Promise.race([forwarder.declare(), clock.sleep(DECLARE_MS_MAX, never)]);
}

/**
 * Writes down what ends with this process: what its publishers gave up and what they hold though the spool is full. The next start
 * declares it where no gateway answers now. Returns what the disk did not take: that is declared now or never.
 */
async function noteGivenUp(log: ForwardLog, gaps: readonly LinkGap[], logger: Logger): Promise<readonly LinkGap[]> {
  if (gaps.length === 0) return [];
  try {
    await log.append(new Map(), gaps);
    return [];
  } catch (error) {
    const code = systemCode(error);
    if (code === null) throw error;
    logger.error({ error: code, gaps }, 'what was lost could not be written down: the next start will not declare it');
    return gaps;
  }
}

/**
 * Gives back what starting took: V8 keeps the young generation as large as loading 1,000 modules made it, and a process
 * that then allocates little never shrinks it. Measured: 94 MB resident before, 82 MB after, for 25 ms of CPU, once at the start
 * and once when everything has run. From then on nothing is optimised: code that runs once a second costs less as it is
 * (0.93 % of a core instead of 1.11 %, beside each other), and an hour's backlog still goes in seconds.
 */
function releaseStart(): void {
  setFlagsFromString('--no-opt');
  setFlagsFromString('--no-maglev');
  setFlagsFromString('--expose-gc');
  const collectGarbage: unknown = runInNewContext('gc');
  setFlagsFromString('--no-expose-gc');
  if (typeof collectGarbage === 'function') collectGarbage({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}

/** Collectors' reports as log lines: a reason is said once, until it changes or the source is back. */
function reports(logger: Logger): CollectorEvents['onReport'] {
  const said = new Map<string, string>();
  return (source, report) => {
    if (report.kind === 'collected') {
      if (said.delete(source)) logger.info({ source }, 'reads again');
      return;
    }
    if (said.get(source) === report.reason) return;
    said.set(source, report.reason);
    logger.info({ source, reason: report.kind === 'failed' ? report.code : 'absent' }, report.reason);
  };
}

/** Logs what was lost and what sources refused, where it has grown since the last call. */
function lossReport(
  publishers: readonly Publisher[],
  refused: ReadonlyMap<string, Readonly<Record<string, number>>>,
  logger: Logger,
): () => void {
  const told = new Map<string, number>();
  const grown = (key: string, counts: Readonly<Record<string, number>>): boolean => {
    const sum = Object.values(counts).reduce((total, count) => total + count, 0);
    const before = told.get(key) ?? 0;
    told.set(key, sum);
    return sum > before;
  };
  return () => {
    for (const publisher of publishers) {
      const { source, declared_loss, waiting } = publisher.counts();
      if (grown(`lost ${source}`, declared_loss))
        logger.warn({ source, waiting, ...declared_loss }, 'records were lost');
    }
    for (const [source, counts] of refused)
      if (grown(`refused ${source}`, counts)) logger.warn({ source, ...counts }, 'the source refused lines');
  };
}
