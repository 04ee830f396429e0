import { hostname } from 'node:os';
import type { LoadedConfig } from '../config.ts';
import { every, systemClock } from '../core/clock.ts';
import { integerBelow, systemRandom } from '../core/random.ts';
import { INSTALLATION } from '../discover.ts';
import { windowAlpha } from '../drift/alarm-budget.ts';
import { version } from '../files/version.ts';
import { AcknowledgedLog } from '../pipeline/acknowledged-log.ts';
import { analyse } from '../pipeline/analyse.ts';
import { ingest } from '../pipeline/ingest.ts';
import { loadJobMemory, saveJobMemory } from '../pipeline/job-memory.ts';
import { JobWatch } from '../pipeline/job-watch.ts';
import { HISTORY_MS, ModelWatch } from '../pipeline/model-watch.ts';
import { upkeep } from '../pipeline/upkeep.ts';
import { policyFor } from '../retrain/policy.ts';
import { type AcknowledgedReader, acknowledgedReader } from '../read/acknowledged.ts';
import { CostBook } from '../read/costs.ts';
import type { DeclaredLoss } from '../read/delivery.ts';
import { loadModelStates, saveModelStates } from '../read/models.ts';
import { SourceRegistry } from '../read/sources.ts';
import { listen } from '../server/listen.ts';
import { createServer } from '../server/server.ts';
import type { Services } from '../server/services.ts';
import { openTokens } from '../server/tokens.ts';
import { LOG_LINES_DROPPED, logLines } from '../telemetry/log-lines.ts';
import { createLogger, type Logger } from '../telemetry/logger.ts';
import { createServiceMetrics } from '../telemetry/metrics.ts';
import { Quarantine } from '../transport/quarantine.ts';
import { verifyWebhook } from '../transport/webhook-signature.ts';
import type { RunOptions } from './run-options.ts';
import { destinationsOf, loadRules, policiesOf, targetId } from './alerting.ts';
import { createCollecting } from './collecting.ts';
import { costRecords } from './cost-files.ts';
import { createDeciding, type Deciding, type Live } from './deciding.ts';
import { type Doors, type Ground, openDoors } from './doors.ts';
import { EventStream } from './event-stream.ts';
import { givenUpAtEnd } from './given-up.ts';
import { leaseWatch } from './lease-watch.ts';
import { createReadiness } from './readiness.ts';
import { changedPaths, reload } from './reload.ts';
import { type AccountWatch, accountWatch, collectorEvents, ingested, watchdog } from './self-watch.ts';
import { accountSilence, silenceFindings } from './silence.ts';
import { assertShared, type PlannedRole, ROLE_PLANS, type RolePlan } from './role-plan.ts';
import { analysisLag, scrapeGauges } from './scrape.ts';
import { createServices } from './services.ts';
import { judgeSinks, SINKS_MS } from './sink-watch.ts';
import { sourcesOf } from './source-list.ts';
import { untilBroken } from './until-broken.ts';

/** `leeway.watchdog` goes out this often, so that silence is noticed. */
const WATCHDOG_MS = 3_600_000;

/**
 * `--role all`: everything in this process, an embedded store in a child. The roles of a fleet (gateway, worker, console)
 * are the same with parts left out. Ends after the signal, in reverse order of starting; rejects with the failure of a loop
 * that should have gone on.
 */
export async function runServer(loaded: LoadedConfig, options: RunOptions, role: PlannedRole): Promise<void> {
  assertShared(role, loaded);
  const plan = ROLE_PLANS[role];
  const ground = groundOf(loaded);
  const { clock, logger, metrics } = ground;
  const { config, paths } = loaded;
  const rules = await loadRules(paths.rules_dir);
  const configured = await costRecords(loaded);
  const live: Live = { url: '', loaded, rules, destinations: destinationsOf(loaded), policies: policiesOf(loaded) };
  const tokens = await openTokens(paths.tokens_file, clock);

  await using stack = new AsyncDisposableStack();
  const opened = await openDoors(ground, stack, plan);
  const log = acknowledgedLog(ground, opened);
  const doors = log === null ? opened : { ...opened, bus: log.noting(opened.bus) };
  const stream = new EventStream();
  const deciding = createDeciding(ground, doors, { live, stream });
  const reading = await createReading(ground, doors, configured);
  const told = (reason: string): void => logger.warn({ reason }, 'what was refused cannot be kept');
  const quarantine = stack.use(new Quarantine({ data_dir: paths.data_dir, clock, onError: told }));
  const server = await createServer({
    settings: config.server,
    services: servicesOf(ground, { doors, deciding, reading, live, stream, quarantine, plan }),
    logger,
    metrics,
    tokens,
    version: version(),
    installation: INSTALLATION,
    serves: plan.serves,
  });
  const sinks = (): string[] => live.destinations.map(({ id }) => id);
  scrapeGauges(metrics, { ...doors, plan, clock, costs: reading.costs, sinks });
  const { url } = await listen(server, config.server);
  live.url = url;
  const stop = new AbortController();
  const loops = await startLoops(ground, { doors, deciding, reading, stream, live, plan }, stop.signal);
  const working = Promise.allSettled([ended(stop.signal), ...loops]);
  const logged = log?.run(working) ?? working;
  const onHangUp = (): void => {
    const told = (error: unknown): void => logger.error({ error: String(error) }, 'reloading failed, nothing changed');
    void reload({ doors, deciding, live, clock }, 'signal').then(
      (changes) => logger.info(changedPaths(changes), 'configuration reloaded'),
      told,
    );
  };
  process.on('SIGHUP', onHangUp);
  stack.defer(() => void process.off('SIGHUP', onHangUp));
  options.onReady?.({ url });
  logger.info({ url, role, data_dir: paths.data_dir, installation: doors.installation }, 'Leeway is ready');
  const broken = await untilBroken(loops, options.signal);
  if (broken !== null) logger.error({ error: String(broken.error) }, 'a part of Leeway has failed: the process ends');
  logger.info({}, 'draining');
  await server.app.close();
  stop.abort();
  await logged; // what fails now was being stopped
  const told_of_loss = (error: unknown): void =>
    logger.error({ error: String(error) }, 'what collectors lost could not be written down: the account forgets it');
  // of this process's own epoch, so no run is named; the next start's account has it beside what is stored
  await doors.gaps.take(givenUpAtEnd(reading.collecting.publishers, '')).catch(told_of_loss);
  if (broken !== null) throw broken.error;
}

/** Kafka does not say whose messages wait in it: its gateways do, in the control store. */
function acknowledgedLog({ loaded, clock, logger }: Ground, { control }: Doors): AcknowledgedLog | null {
  if (loaded.config.bus.kind !== 'kafka') return null;
  const onError = (error: unknown): void =>
    logger.warn({ error: String(error) }, 'what was acknowledged could not be written down; trying again');
  const run = integerBelow(systemRandom, Number.MAX_SAFE_INTEGER);
  return new AcknowledgedLog({ control, clock, run: `${hostname()}/${process.pid}/${run}`, onError });
}

function groundOf(loaded: LoadedConfig): Ground {
  const { level, format } = loaded.config.log;
  const isTerminal = process.stderr.isTTY === true;
  const write = logLines(process.stderr, (lines_count) => logger.warn({ lines_count }, LOG_LINES_DROPPED));
  const logger: Logger = createLogger({ level, format, isTerminal, color: isTerminal, write });
  const onUnread = (reading: string, error: unknown): void =>
    logger.warn({ reading, error: String(error) }, 'a scrape is without these metrics; this is told once');
  return { loaded, clock: systemClock, logger, metrics: createServiceMetrics(version(), { onUnread }) };
}

/** What is collected here and what the console reads beside the stores. */
type Reading = {
  readonly sources: SourceRegistry;
  readonly costs: CostBook;
  readonly collecting: ReturnType<typeof createCollecting>;
  readonly epoch: number;
  readonly losses: () => DeclaredLoss[];
  readonly acknowledged: AcknowledgedReader | null;
};

async function createReading(
  { loaded, clock, logger, metrics }: Ground,
  { store, bus, control }: Doors,
  configured: readonly unknown[],
): Promise<Reading> {
  const sources = new SourceRegistry();
  const costs = new CostBook(store, configured);
  const epoch = integerBelow(systemRandom, Number.MAX_SAFE_INTEGER);
  const collecting = createCollecting(loaded, { bus, clock, epoch }, collectorEvents({ sources, metrics, logger }));
  const losses = (): DeclaredLoss[] =>
    collecting.publishers.map((publisher) => {
      const { source, epoch: own, declared_loss } = publisher.counts();
      return { source, epoch: own, reasons: declared_loss };
    });
  const acknowledged = loaded.config.bus.kind === 'kafka' ? acknowledgedReader(control) : null;
  return { sources, costs, collecting, epoch, losses, acknowledged };
}

type Parts = {
  readonly doors: Doors;
  readonly deciding: Deciding;
  readonly reading: Reading;
  readonly stream: EventStream;
  readonly live: Live;
};
type RunningParts = Parts & { readonly plan: RolePlan };

type ServedParts = Parts & { readonly quarantine: Quarantine; readonly plan: RolePlan };

function servicesOf({ loaded, clock }: Ground, parts: ServedParts): Services {
  const { doors, deciding, reading, live, stream, quarantine, plan } = parts;
  const { config } = loaded;
  const { bus, store, control, gaps } = doors;
  const { desk, alerts, courier, retraining } = deciding;
  const { costs, sources, epoch, losses, acknowledged } = reading;
  return createServices({
    bus,
    store,
    control,
    clock,
    desk,
    alerts,
    courier,
    retraining,
    costs,
    sources,
    listSources: sourcesOf(sources, { loaded, clock, store, plan }),
    epoch,
    losses,
    acknowledged,
    gaps,
    quarantine: (aside) => quarantine.add(aside),
    rules: () => live.rules,
    destinations: () => live.destinations,
    drift: { window_ms: config.drift.window_ms, alpha: windowAlpha({ ...config.drift }) },
    verifyTarget: async (policy, signed) => {
      const secret = live.destinations.find(({ id }) => id === targetId(policy))?.settings['secret_file'];
      if (typeof secret !== 'string') return false;
      return verifyWebhook(
        await loaded.readSecret(secret),
        { headers: signed.headers, body: signed.body.toString('utf8') },
        clock.now_ms(),
      );
    },
    readiness: createReadiness({ ...doors, plan, clock }),
    reload: (actor) => reload({ doors, deciding, live, clock }, actor),
    subscribe: (listener) => stream.subscribe(listener),
  });
}

async function startLoops(ground: Ground, parts: RunningParts, signal: AbortSignal): Promise<Promise<void>[]> {
  const { logger } = ground;
  const failed = (what: string) => (error: unknown) => {
    const told = error instanceof Error ? (error.stack ?? error.message) : String(error);
    if (!signal.aborted) logger.error({ error: told }, `${what} failed`);
  };
  return [
    ...(parts.plan.collects ? [parts.reading.collecting.run(signal).catch(failed('collecting'))] : []),
    ...(parts.plan.works ? await workLoops(ground, parts, { signal, failed }) : []),
  ];
}

type Running = { readonly signal: AbortSignal; readonly failed: (what: string) => (error: unknown) => void };

async function workLoops(ground: Ground, parts: RunningParts, { signal, failed }: Running): Promise<Promise<void>[]> {
  const { loaded, clock, metrics } = ground;
  const { doors, deciding, reading, stream, live } = parts;
  const { store, bus, control, holder } = doors;
  const { desk, alerts, courier, retraining } = deciding;
  const { config } = loaded;
  const watching = {
    window_ms: config.drift.window_ms,
    rows_min: config.drift.rows_min,
    reference_rows: config.drift.reference.rows,
    false_alarms_per_month: config.drift.false_alarms_per_month,
    hysteresis_windows: (model: string): number => policyFor(live.policies, model)?.hysteresis.windows ?? 4,
  };
  const straggling = { detector: config.stragglers, history_ms: HISTORY_MS };
  const account = accountOf(ground, parts);
  const lag = analysisLag(metrics, clock);
  const onOther = (): void => {
    account.forget();
    lag.forget();
  };
  return [
    ingest(
      {
        bus,
        store,
        clock,
        onEvent: ({ frames, rows, outcome, duration_ms }) =>
          ingested(metrics, { frames, rows, ok: outcome.kind === 'ok', duration_ms }),
      },
      signal,
    ),
    analyse(
      {
        clock,
        control: leaseWatch(control, onOther),
        desk,
        begin: async () => ({
          jobs: new JobWatch(store, straggling, await loadJobMemory(control, clock.now_ms())),
          models: new ModelWatch(store, watching, await loadModelStates(control)),
        }),
        retraining,
        ownFindings: async (now_ms, aborted) => [
          ...(await account.findings(now_ms, aborted)),
          ...silenceFindings(reading.sources, now_ms),
        ],
        externalFindings: (now_ms) => alerts.findings(now_ms),
        saveModels: (states, now_ms) => saveModelStates(control, states, now_ms),
        saveJobs: (memory, now_ms) => saveJobMemory(control, memory, now_ms),
        holder,
        onAnalysed: lag.onAnalysed,
        onFinding: ({ key, name, value }) => stream.emit({ event: 'finding', data: { id: key, name, value } }),
        onError: failed('analysis'),
      },
      signal,
    ),
    upkeep(
      {
        store,
        control,
        clock,
        holder,
        onError: failed('upkeep'),
        onTooOld: (minutes) =>
          ground.logger.warn(
            { minutes },
            'late samples of days past retention.raw_days are in no roll-up: raise it to backfill',
          ),
      },
      signal,
    ),
    courier.run(signal),
    every(clock, SINKS_MS, () => judgeSinks({ desk, clock, control }, new Set(live.destinations.map(({ id }) => id))), {
      signal,
      onError: failed('looking at the sinks'),
    }),
    every(clock, WATCHDOG_MS, () => watchdog(control, desk), { signal: signal, onError: failed('watchdog') }),
  ];
}

/** The account of the delivery; where other processes have the collectors, it says which of them are silent. */
function accountOf({ loaded, clock, metrics }: Ground, { doors, reading, plan }: RunningParts): AccountWatch {
  const { store, bus } = doors;
  const { acknowledged, losses } = reading;
  const collectors = loaded.extensions.collectors.map(({ name }) => name);
  const silence = plan.collects ? {} : { silence: accountSilence(clock, collectors) };
  return accountWatch({ store, bus, clock, acknowledged, losses, metrics, ...silence });
}

/** Resolves when the signal fires. */
function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
