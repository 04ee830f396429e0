import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type LoadedConfig, loadConfig, differences } from '../config.ts';
import { openSqliteControl } from '../control/sqlite.ts';
import { every, systemClock } from '../core/clock.ts';
import { integerBelow, systemRandom } from '../core/random.ts';
import { INSTALLATION } from '../discover.ts';
import { windowAlpha } from '../drift/alarm-budget.ts';
import { readLines, writeWhole } from '../files/input.ts';
import { version } from '../files/version.ts';
import { analyse } from '../pipeline/analyse.ts';
import { createDesk } from '../pipeline/decide.ts';
import { createCourier, type Courier, recipientOf } from '../pipeline/deliver.ts';
import { ingest } from '../pipeline/ingest.ts';
import { JobWatch } from '../pipeline/job-watch.ts';
import { HISTORY_MS, ModelWatch } from '../pipeline/model-watch.ts';
import { Retraining } from '../pipeline/retrain.ts';
import { policyFor } from '../retrain/policy.ts';
import { CostBook } from '../read/costs.ts';
import type { DeclaredLoss } from '../read/delivery.ts';
import { loadModelStates, saveModelStates } from '../read/models.ts';
import { SourceRegistry } from '../read/sources.ts';
import { listen } from '../server/listen.ts';
import { createServer } from '../server/server.ts';
import type { StreamEvent } from '../server/services.ts';
import { openTokens } from '../server/tokens.ts';
import { openEmbeddedStore } from '../store/embedded.ts';
import { createLogger } from '../telemetry/logger.ts';
import { createServiceMetrics } from '../telemetry/metrics.ts';
import { createHttpClient } from '../transport/http-client.ts';
import { openSpool } from '../transport/spool.ts';
import { signWebhook, verifyWebhook } from '../transport/webhook-signature.ts';
import type { RunOptions } from './run-options.ts';
import { destinationsOf, loadRules, policiesOf, targetId } from './alerting.ts';
import { createCollecting } from './collecting.ts';
import {
  accountWatch,
  collectorEvents,
  countedBus,
  ingested,
  judgeSink,
  scrapeGauges,
  silenceFindings,
  watchdog,
} from './self-watch.ts';
import { createServices } from './services.ts';

/** `leeway.watchdog` goes out this often, so that silence is noticed. */
const WATCHDOG_MS = 3_600_000;

/** `--role all`: everything in this process, the store in a child. Ends after the signal, in reverse order of starting. */
export async function runAll(loaded: LoadedConfig, options: RunOptions): Promise<void> {
  const { config, paths } = loaded;
  const clock = systemClock;
  const logger = createLogger({
    level: config.log.level,
    format: config.log.format,
    isTerminal: process.stderr.isTTY === true,
    color: process.stderr.isTTY === true,
    write: (line) => void process.stderr.write(line),
  });
  const metrics = createServiceMetrics(version());
  const rules = await loadRules(paths.rules_dir);
  const destinations = destinationsOf(loaded);
  const tokens = await openTokens(paths.tokens_file, clock);

  await using stack = new AsyncDisposableStack();
  const warn = (event: { readonly kind: string; readonly reason: string }): void =>
    event.kind === 'store_child_started'
      ? logger.debug({ kind: event.kind }, event.reason)
      : logger.warn({ kind: event.kind }, event.reason);
  const store = stack.use(await openEmbeddedStore({ data_dir: paths.data_dir, clock, onEvent: warn }));
  const never = new AbortController().signal;
  const known = { sequences: await store.sequences(never), lineage_max: await store.lineageMax(never) };
  const spool = stack.use(
    await openSpool({
      data_dir: paths.data_dir,
      bytes_max: config.spool.bytes_max,
      fsync: config.spool.fsync,
      clock,
      known,
      onEvent: warn,
    }),
  );
  const bus = countedBus(spool, metrics);
  const control = stack.use(await openSqliteControl({ data_dir: paths.data_dir, clock }));
  const installation = await installationId(paths.data_dir);
  const stream = new EventStream();
  const live = { url: '', loaded, rules, destinations };
  const publicUrl = (): string => config.server.public_url ?? live.url;

  const holder: { courier: Courier | null } = { courier: null };
  const desk = createDesk({
    control,
    clock,
    rules,
    recipients: destinations.map(recipientOf),
    public_url: publicUrl,
    onEvent: (event) => {
      if (event.kind === 'incident') stream.emit({ event: 'incident', data: { id: event.id, change: event.change } });
      else holder.courier?.wake();
    },
  });
  const courier = createCourier({
    control,
    clock,
    random: systemRandom,
    door: createHttpClient({ egress: config.egress, clock, timeout_ms: config.delivery.timeout_ms }),
    destinations,
    readSecret: (path) => loaded.readSecret(path),
    sign: signWebhook,
    installation,
    policy: config.delivery,
    onAttempt: ({ id, row, attempt }) => {
      metrics.notifications({ sink: row.sink, outcome: attempt.outcome });
      metrics.notificationAgeSeconds({}, (clock.now_ms() - row.at_ms) / 1000);
      stream.emit({ event: 'delivery', data: { id, sink: row.sink, outcome: attempt.outcome } });
    },
    onDisabled: (sink, reason) => judgeSink(desk, sink, reason),
    onEnabled: (sink) => judgeSink(desk, sink, null),
    onError: (error) => logger.error({ error: String(error) }, 'delivering failed'),
  });
  holder.courier = courier;

  const costs = new CostBook(store, await costRecords(loaded));
  const policies = policiesOf(loaded);
  const retraining = new Retraining({
    control,
    clock,
    policies,
    installation,
    public_url: publicUrl,
    window_ms: config.drift.window_ms,
    onDecision: ({ id, state, gates }) => {
      const held = gates.find((gate) => gate.result === 'fail') ?? gates.find((gate) => gate.result === 'defer');
      metrics.retrainDecisions({ outcome: state, gate: held?.gate ?? 'none' });
      stream.emit({ event: 'decision', data: { id, state } });
    },
    tell: async (tx, { to, policy, decision_id, ...message }) => {
      const target = targetId(policy);
      const told = to !== 'sinks' && live.destinations.some(({ id }) => id === target); // without one a person runs it
      const sinks = to !== 'target';
      await desk.enqueue(tx, { ...message, decision_id, event: message.type, sinks, ...(told ? { target } : {}) });
    },
  });
  const models = new ModelWatch(
    store,
    {
      window_ms: config.drift.window_ms,
      rows_min: config.drift.rows_min,
      reference_rows: config.drift.reference.rows,
      false_alarms_per_month: config.drift.false_alarms_per_month,
      hysteresis_windows: (model) => policyFor(policies, model)?.hysteresis.windows ?? 4,
    },
    await loadModelStates(control),
  );
  const jobs = new JobWatch(store, { detector: config.stragglers, history_ms: HISTORY_MS });

  const sources = new SourceRegistry();
  const epoch = integerBelow(systemRandom, Number.MAX_SAFE_INTEGER);
  const collecting = createCollecting(loaded, { bus, clock, epoch }, collectorEvents({ sources, metrics, logger }));
  const losses = (): DeclaredLoss[] =>
    collecting.publishers.map((publisher) => {
      const { source, epoch: own, declared_loss } = publisher.counts();
      return { source, epoch: own, reasons: declared_loss };
    });
  const watchAccount = accountWatch({ store, bus, losses });

  const services = createServices({
    bus,
    store,
    control,
    clock,
    desk,
    courier,
    retraining,
    costs,
    sources,
    epoch,
    losses,
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
    reload: async () => {
      const next = await loadConfig(live.loaded.source);
      const changed = differences(live.loaded.config, next.config);
      const fresh = { rules: await loadRules(next.paths.rules_dir), destinations: destinationsOf(next) };
      desk.reload({ rules: fresh.rules, recipients: fresh.destinations.map(recipientOf) });
      courier.reload(fresh.destinations);
      Object.assign(live, fresh, { loaded: next });
      return changed;
    },
    subscribe: (listener) => stream.subscribe(listener),
  });
  const server = await createServer({
    settings: config.server,
    services,
    logger,
    metrics,
    tokens,
    version: version(),
    installation: INSTALLATION,
  });
  scrapeGauges(metrics, { bus, costs, control });

  const stop = new AbortController();
  const failed = (what: string) => (error: unknown) => {
    if (!stop.signal.aborted)
      logger.error(
        { error: error instanceof Error ? (error.stack ?? error.message) : String(error) },
        `${what} failed`,
      );
  };
  const { url } = await listen(server, config.server);
  live.url = url;
  const loops = [
    ingest(
      {
        bus,
        store,
        clock,
        onEvent: ({ frames, rows, outcome, duration_ms }) =>
          ingested(metrics, { frames, rows, ok: outcome.kind === 'ok', duration_ms }),
      },
      stop.signal,
    ),
    collecting.run(stop.signal),
    analyse(
      {
        clock,
        control,
        desk,
        jobs,
        models,
        retraining,
        ownFindings: async (now_ms, signal) => [
          ...(await watchAccount(now_ms, signal)),
          ...silenceFindings(sources, now_ms),
        ],
        saveModels: (states, now_ms) => saveModelStates(control, states, now_ms),
        holder: `${process.pid}@${installation}`,
        onAnalysed: (engine, seconds) => metrics.analysisLagSeconds({ engine }, seconds),
        onFinding: ({ key, name, value }) => stream.emit({ event: 'finding', data: { id: key, name, value } }),
        onError: failed('analysis'),
      },
      stop.signal,
    ),
    courier.run(stop.signal),
    every(clock, WATCHDOG_MS, () => watchdog(control, desk), { signal: stop.signal, onError: failed('watchdog') }),
  ].map((loop) => loop.catch(failed('a loop')));
  options.onReady?.({ url });
  logger.info({ url, data_dir: paths.data_dir, installation }, 'Leeway is ready');
  await ended(options.signal);
  logger.info({}, 'draining');
  await server.app.close();
  stop.abort();
  await Promise.all(loops);
}

/** Resolves when the signal fires. */
function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** A name for this installation that stays the same over restarts: `ce-source` and dispatch keys carry it. */
async function installationId(data_dir: string): Promise<string> {
  const path = join(data_dir, 'installation');
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch {
    const id = randomUUID(); // the first start in this directory
    await writeWhole(path, `${id}\n`);
    return id;
  }
}

/** Asset and price records of the configured files; lines that are no JSON are the ledger's to reject. */
async function costRecords({ config, source }: LoadedConfig): Promise<unknown[]> {
  const records: unknown[] = [];
  for (const path of [config.cost.assets_file, config.cost.prices_file]) {
    if (path === null) continue;
    for await (const { text } of readLines({ path, cwd: source.cwd, stdin: process.stdin }))
      if (text.trim() !== '') records.push(JSON.parse(text));
  }
  return records;
}

/** The hub of `GET /api/v1/stream`. */
class EventStream {
  readonly #listeners = new Set<(event: StreamEvent) => void>();

  subscribe(listener: (event: StreamEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  emit(event: StreamEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}
