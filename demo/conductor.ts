import type { ChildProcess } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../src/core/clock.ts';
import { LeewayError } from '../src/core/errors.ts';
import { awaitMessage, endChild, forkChild, type Message, messageOf, numberIn, textIn } from './child.ts';
import { CLIENT_DEFAULTS, type ClientResult, type Evaluation } from './client.ts';
import { deployModel } from './deploy-request.ts';
import { type DriftKind, LEFT_OUT_CLASSES } from './drifts.ts';
import { type Job, type JobPlan, startJob, TRAINING_RECIPE } from './job.ts';
import { readWeights } from './model-files.ts';
import { toOnnx } from './onnx-export.ts';
import type { RankResult, Recipe } from './rank.ts';
import { openReceivers, type Receivers, type RetrainRequest } from './receivers.ts';
import { type DemoReport, emptyReport } from './report.ts';
import { openSender, type Sender, type SenderAccount } from './sender.ts';
import type { ServeResult } from './serve-model.ts';
import { CLUSTER, jobPlan, openBooks } from './cluster.ts';
import { newSecrets, writeServiceConfig } from './service-config.ts';
import { type ServiceProcess, startService } from './service-process.ts';
import { recentRowsFor, retrainingRecipe, type TrainerResult } from './trainer.ts';
import { finalAccounts, notificationsOf } from './verdict.ts';

export type DemoPlan = {
  readonly ranks: number;
  readonly slow_rank: number;
  readonly drift: DriftKind;
  readonly seed: number;
  readonly port: number;
  readonly directory: string;
  readonly signal: AbortSignal;
  /** One line of what happens, as it happens. */
  readonly say: (text: string) => void;
};

/** Limits of the phases. Waits are for conditions; a loaded machine took at most half of each. */
const LIMIT_MS = {
  trained: 60_000,
  located: 40_000,
  cleared: 40_000,
  reference: 45_000,
  drift: 40_000,
  retrained: 90_000,
  confirmed: 60_000,
};
/** Steps before the model is exported, and before the fault: the detector skips 40 and learns from the next. */
const EXPORT_STEP = 150;
const FAULT_STEP = 170;
const POLL_MS = 400;
/** The fault stays this long after it was named, so that its cost can be seen to grow. */
const FAULT_HELD_MS = 3_000;
/** The slowed rank repeats its forward pass this often: 12 ms of compute become about 22. */
const FAULT_SHARE = 2;
const STOP_MS = 15_000;

type Incident = {
  readonly id: string;
  readonly kind: string;
  readonly status: string;
  readonly state: string;
  readonly title: string;
  readonly subjects: readonly { readonly type: string; readonly id: string }[];
  readonly opened_at_ms: number;
  readonly resolved_at_ms: number | null;
  readonly gpu_seconds_lost: number | null;
  readonly usd_lost: string | null;
};
type Decision = {
  readonly id: string;
  readonly state: string;
  readonly reason: string;
  readonly gates: readonly { readonly gate: string; readonly result: string }[];
};

/** The whole loop with real processes; each step waits for a condition. `close` stops what was started. */
export class Conductor {
  readonly plan: DemoPlan;
  readonly report: DemoReport;
  readonly #accounts: SenderAccount[] = [];
  #service: ServiceProcess | null = null;
  #receivers: Receivers | null = null;
  #books: Sender | null = null;
  #job: Job | null = null;
  #server: ChildProcess | null = null;
  #client: ChildProcess | null = null;
  #trainer: ChildProcess | null = null;
  #step = 0;
  #serving = '';
  #retrain: RetrainRequest | null = null;
  #planted_ms = Infinity;
  /** Ends every wait when it is aborted. */
  #waiting: AbortSignal;
  readonly #secrets = newSecrets();

  constructor(plan: DemoPlan) {
    this.plan = plan;
    this.report = emptyReport(plan);
    this.#waiting = plan.signal;
  }

  get url(): string {
    return this.#leeway.url;
  }

  get #leeway(): ServiceProcess {
    if (this.#service === null) throw new LeewayError('LW-INTERNAL', 'the service has not been started');
    return this.#service;
  }

  /** Starts the service, the books, the model server and the training job. */
  async start(): Promise<void> {
    const { directory, port, say } = this.plan;
    for (const folder of ['train', 'retrain']) await mkdir(join(directory, folder), { recursive: true });
    this.#receivers = await openReceivers(this.#secrets, (request) => {
      this.#retrain = request;
    });
    const config = await writeServiceConfig(directory, {
      port,
      receivers_port: this.#receivers.port,
      secrets: this.#secrets,
    });
    this.#service = await startService(config, directory, join(directory, 'service.log'));
    say(`Leeway runs; its console is at ${this.url}`);
    this.#books = openSender(this.#target('demo-books'));
    openBooks(this.#books);
    this.#server = forkChild('serve-model', {
      model: CLUSTER.model,
      replica: 'replica-0',
      port: 0,
      deploy_secret: this.#secrets.deploy,
      claim: { asset: CLUSTER.asset, gpu_index: this.plan.ranks, tenant: { team: CLUSTER.team, model: CLUSTER.model } },
      leeway: this.#target('demo-server'),
    });
    const listening = messageOf((await awaitMessage(this.#server, 'listening', 30_000))['listening']);
    this.#serving = `http://127.0.0.1:${numberIn(listening, 'port')}`;
    this.#job = await startJob(
      this.#plan('train', CLUSTER.job, { ...TRAINING_RECIPE, seed: this.plan.seed, left_out_classes: this.#leftOut() }),
      (rank, message) => this.#heard(rank, message),
    );
    say(`${this.plan.ranks} training ranks have joined their ring`);
  }

  /** Trains until the first export, deploys version 1 and lets the client begin. */
  async deployFirst(): Promise<void> {
    const { directory, say } = this.plan;
    await this.#until('the first model', LIMIT_MS.trained, async () => this.#step >= EXPORT_STEP);
    await this.#deploy('1', join(directory, 'train', 'weights.f32'));
    this.#client = forkChild('client', {
      ...CLIENT_DEFAULTS,
      model: CLUSTER.model,
      base_url: this.#serving,
      seed: this.plan.seed,
      left_out_classes: this.#leftOut(),
      leeway: this.#target('demo-client'),
    });
    await awaitMessage(this.#client, 'ready', 30_000);
    say(`Version 1 is served by ONNX Runtime after ${this.#step} steps; the client sends 60 real digits a second`);
  }

  /** Really slows one rank, waits for the incident that names it, lifts the fault and waits for the resolution. */
  async straggler(): Promise<void> {
    const { slow_rank, say } = this.plan;
    const { training } = this.report;
    await this.#until('steps before the fault', LIMIT_MS.trained, async () => this.#step >= FAULT_STEP);
    const planted_ms = systemClock.now_ms();
    this.#job?.slow(slow_rank, FAULT_SHARE);
    say(`Rank ${slow_rank} now runs its forward pass three times: it really computes longer`);
    const incident = await this.#incident((item) => item.kind === 'slow_rank', 'the slow rank', LIMIT_MS.located);
    training.detected_rank = Number(incident.subjects.find((subject) => subject.type === 'rank')?.id ?? Number.NaN);
    training.detected_after_s = seconds(incident.opened_at_ms - planted_ms);
    say(`Incident after ${training.detected_after_s} s: ${incident.title}`);
    await systemClock.sleep(FAULT_HELD_MS, this.plan.signal);
    this.#job?.slow(slow_rank, 0);
    const lifted_ms = systemClock.now_ms();
    const resolved = await this.#incident(
      (item) => item.id === incident.id && item.status === 'resolved',
      'its resolution',
      LIMIT_MS.cleared,
    );
    training.cleared_after_s = seconds((resolved.resolved_at_ms ?? systemClock.now_ms()) - lifted_ms);
    say(
      `The fault was lifted; resolved ${training.cleared_after_s} s later, cost ${resolved.gpu_seconds_lost?.toFixed(2)} GPU-seconds, $${resolved.usd_lost}`,
    );
    await this.#stopTraining();
  }

  /** Waits for a baseline, drifts the client's inputs, and waits for the incident and the decision. */
  async drift(): Promise<void> {
    const { drift, say } = this.plan;
    const { serving } = this.report;
    await this.#until('a baseline of the model', LIMIT_MS.reference, async () => {
      const { items } = await this.#leeway.get<{ items: { status: string }[] }>('/api/v1/models');
      return items[0]?.status === 'stable';
    });
    serving.accuracy_before = await this.#evaluate('1');
    say(`Baseline frozen; accuracy on the fixed hold-out ${percent(serving.accuracy_before)}`);
    this.#planted_ms = systemClock.now_ms();
    this.#client?.send({ drift });
    say(`The client's digits now drift: ${drift}`);
    const incident = await this.#incident(
      (item) => item.kind === 'drift' || item.kind === 'features',
      'the drift',
      LIMIT_MS.drift,
    );
    serving.detected_after_s = seconds(incident.opened_at_ms - this.#planted_ms);
    say(`Incident after ${serving.detected_after_s} s: ${incident.title}`);
    serving.accuracy_drifted = await this.#evaluate('1');
    say(`Accuracy on the drifted hold-out ${percent(serving.accuracy_drifted)}`);
  }

  /** Takes the signed request, really trains on recent labelled rows, deploys, and waits for the confirmation. */
  async retrain(): Promise<void> {
    const { say } = this.plan;
    const { serving } = this.report;
    await this.#until('a retraining decision', LIMIT_MS.retrained, async () => this.#retrain !== null);
    const request = this.#retrain as unknown as RetrainRequest; // set by the receiver; the wait above says so
    const decision = await this.#leeway.get<Decision>(`/api/v1/decisions/${request.decision_id}`);
    serving.decision = decision.state;
    Object.assign(serving, { gates: decision.gates });
    say(
      `Decision: ${decision.gates.filter((gate) => gate.result === 'pass').length} of ${decision.gates.length} gates passed; retraining requested, signature verified`,
    );
    const status = new URL(request.status_url).pathname;
    await this.#leeway.post(status, { state: 'running', at_ms: systemClock.now_ms() });
    const trained = await this.#train();
    say(`Retrained in ${seconds(trained.duration_ms)} s on recent labelled digits, ${trained.steps} steps`);
    await this.#deploy('2', trained.weights_path);
    await this.#leeway.post(status, {
      state: 'succeeded',
      at_ms: systemClock.now_ms(),
      version: '2',
      metrics: { loss: trained.loss },
    });
    serving.retrained_version = '2';
    serving.accuracy_after = await this.#evaluate('2');
    say(`Version 2 is served; accuracy on the same drifted hold-out ${percent(serving.accuracy_after)}`);
    await this.#until('the confirmation', LIMIT_MS.confirmed, async () => {
      const { state } = await this.#leeway.get<Decision>(`/api/v1/decisions/${request.decision_id}`);
      serving.decision = state;
      return state === 'confirmed' || state === 'not_fixed';
    });
    serving.confirmed = serving.decision === 'confirmed';
    say(serving.confirmed ? 'Confirmed: the new version fixed it' : 'Not fixed');
  }

  /** Stops the cluster, waits until everything is stored and told, and fills in the accounts. */
  async settle(): Promise<void> {
    this.#waiting = new AbortController().signal; // Ctrl-C ended the run; what was sent is still waited for
    await this.#stopTraffic();
    const { training } = this.report;
    const incidents = await this.#incidents();
    const expected = (item: Incident): boolean =>
      (item.kind === 'slow_rank' && Number(item.subjects[0]?.id) === this.plan.slow_rank) ||
      item.kind === 'drift' ||
      item.kind === 'features' ||
      (item.kind === 'quality' && item.opened_at_ms >= this.#planted_ms); // the accuracy that the drift cost, seen first
    const unplanted = incidents.filter((item) => !expected(item));
    training.false_incidents = unplanted.length;
    for (const { kind, title } of unplanted) this.plan.say(`An incident that nobody planted (${kind}): ${title}`);
    await this.#until('every record in the store', 20_000, async () => {
      Object.assign(this.report.delivery, (await finalAccounts(this.#leeway, this.#accounts)).delivery);
      return this.report.delivery.emitted === this.report.delivery.stored;
    }).catch(() => undefined); // the report shows the difference
    Object.assign(this.report.cost, (await finalAccounts(this.#leeway, this.#accounts)).cost);
    await this.#until('every notification', 20_000, async () => {
      this.report.notifications.splice(
        0,
        Number.POSITIVE_INFINITY,
        ...(await notificationsOf(
          this.#leeway,
          incidents.map(({ id }) => id),
        )),
      );
      return this.report.notifications.every((item) => item.status === 'delivered');
    }).catch(() => undefined); // the report shows which
  }

  /** Ends whatever still runs, in reverse order of starting. Never throws. */
  async close(): Promise<void> {
    const children = [this.#client, this.#trainer, this.#server, ...(this.#job?.ranks ?? [])];
    // before the service: what they still hold has somewhere to go, and none outlives the demo
    await Promise.all(children.filter((child) => child !== null).map((child) => endChild(child, STOP_MS)));
    await this.#books?.close(1_000).catch(() => undefined); // the service may be gone already
    await this.#service?.stop();
    await this.#receivers?.close();
  }

  #target(source: string): { base_url: string; source: string; token: null } {
    return { base_url: this.url, source, token: null };
  }

  #plan(folder: 'train' | 'retrain', job: string, recipe: Recipe): JobPlan {
    const { ranks, directory } = this.plan;
    return jobPlan({ job, ranks, directory: join(directory, folder), recipe, leeway: this.#target(`demo-${folder}`) });
  }

  #leftOut(): readonly number[] {
    return this.plan.drift === 'class-mix' ? LEFT_OUT_CLASSES : [];
  }

  #heard(rank: number, message: Message): void {
    const step = numberIn(messageOf(message['progress']), 'step');
    if (rank === 0 && step !== null) this.#step = step;
  }

  async #deploy(version: string, weights_path: string): Promise<void> {
    const onnx = toOnnx(await readWeights(weights_path), version);
    await deployModel({ base_url: this.#serving, secret: this.#secrets.deploy, version, onnx });
  }

  async #evaluate(version: string): Promise<number | null> {
    if (this.#client === null) return null;
    const answer = awaitMessage(this.#client, 'evaluation', 60_000);
    this.#client.send({ evaluate: version });
    return ((await answer)['evaluation'] as Evaluation).accuracy; // the parse door: client.ts's own JSON
  }

  async #train(): Promise<TrainerResult> {
    const { drift, directory, seed } = this.plan;
    const rows = recentRowsFor(drift);
    const recent_path = join(directory, 'recent.rows');
    await this.#until('recent labelled rows', LIMIT_MS.retrained, () => this.#writeRecent(recent_path, rows));
    const recipe = retrainingRecipe({
      drift,
      recent_path,
      seed: seed + 1,
      weights_path: join(directory, 'train', 'weights.f32'),
      left_out_classes: this.#leftOut(),
    });
    const plan = this.#plan('retrain', `${CLUSTER.job}-2`, recipe);
    this.#trainer = forkChild('trainer', { version: '2', plan });
    const done = (await awaitMessage(this.#trainer, 'done', LIMIT_MS.retrained))['done'] as TrainerResult; // trainer.ts's own JSON
    this.#accounts.push(...done.ranks.map((rank) => rank.account));
    return done;
  }

  /** Asks the client for its newest rows; true when all of them are younger than the drift. */
  async #writeRecent(path: string, rows: number): Promise<boolean> {
    if (this.#client === null) return false;
    const drifted_s = (systemClock.now_ms() - this.#planted_ms - CLIENT_DEFAULTS.label_delay_ms) / 1000;
    if (drifted_s * CLIENT_DEFAULTS.requests_per_second < rows) return false;
    const answer = awaitMessage(this.#client, 'recent', 10_000);
    this.#client.send({ write_recent: path, rows });
    return textIn(messageOf((await answer)['recent']), 'error') === null;
  }

  async #stopTraining(): Promise<void> {
    if (this.#job === null) return;
    this.#job.stop();
    const results: readonly RankResult[] = await this.#job.done;
    this.#accounts.push(...results.map((result) => result.account));
    this.#job = null;
    this.plan.say(`Training ended together at step ${results[0]?.steps}`);
  }

  async #stopTraffic(): Promise<void> {
    for (const child of [this.#client, this.#server]) {
      if (child === null) continue;
      const done = awaitMessage(child, 'done', STOP_MS);
      child.send({ stop: true });
      this.#accounts.push(((await done)['done'] as ClientResult | ServeResult).account); // the demo's own JSON
    }
    this.#client = null;
    this.#server = null;
    if (this.#books === null) return;
    await this.#books.close(5_000);
    this.#accounts.push(this.#books.account());
  }

  async #incidents(): Promise<readonly Incident[]> {
    return (await this.#leeway.get<{ items: Incident[] }>('/api/v1/incidents?limit=500')).items;
  }

  async #incident(is: (incident: Incident) => boolean, what: string, limit_ms: number): Promise<Incident> {
    const found: Incident[] = [];
    await this.#until(what, limit_ms, async () => {
      found.push(...(await this.#incidents()).filter(is));
      return found.length > 0;
    });
    return found[0] as Incident; // the wait above found it
  }

  async #until(what: string, limit_ms: number, holds: () => Promise<boolean>): Promise<void> {
    const end_ms = systemClock.elapsed_ms() + limit_ms;
    while (!(await holds())) {
      if (systemClock.elapsed_ms() > end_ms) throw new LeewayError('LW-TIMEOUT', `waited ${limit_ms} ms for ${what}`);
      await systemClock.sleep(POLL_MS, this.#waiting);
    }
  }
}

function seconds(duration_ms: number): number {
  return Math.round(duration_ms / 10) / 100;
}

function percent(ratio: number | null): string {
  return ratio === null ? 'unknown' : `${(100 * ratio).toFixed(1)} %`;
}
