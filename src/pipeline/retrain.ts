import { type OutboxRow, RETRAIN_DECISIONS, RETRAIN_RUNS } from '../control/collections.ts';
import { canonicalJson } from '../core/canonical.ts';
import type { Clock } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import type { Control, ControlTransaction, Document } from '../core/ports.ts';
import type { Decision, DecisionState, RetrainRun } from '../core/retraining.ts';
import { APPROVABLE_STATES, judgeOutcome, OPEN_STATES, resolveDecision } from '../retrain/decision.ts';
import { judgeGates } from '../retrain/gates.ts';
import { policyFor, type RetrainPolicy } from '../retrain/policy.ts';
import { appendAudit } from './audit.ts';
import { windowsAfter } from './model-after.ts';
import type { ModelState } from './model-state.ts';
import type { ModelAnalysis } from './model-watch.ts';
import { closesEpisode, type Episode, episodeId, openedDecision, promotedBy } from './retrain-episode.ts';
import { REQUESTED, requestedRun, type RunReport, runRank, withdrawRequest } from './retrain-dispatch.ts';
import { dataOf, driftOf, requestData, situationOf } from './retrain-request.ts';

const EVENTS_MAX = 200;

/** Puts a webhook into the outbox within the decision's own transaction. */
export type Tell = (
  tx: ControlTransaction,
  message: {
    readonly type: string;
    readonly subject: string;
    readonly at_ms: number;
    readonly data: Readonly<Record<string, unknown>>;
    /** The policy's target alone, the sinks alone, or both. */
    readonly to: 'target' | 'sinks' | 'both';
    readonly decision_id: string;
    /** After this nothing is dispatched; null = no end. */
    readonly expires_at_ms: number | null;
    readonly policy: string;
  },
) => Promise<void>;

export type RetrainingOptions = {
  readonly control: Control;
  readonly clock: Clock;
  readonly policies: readonly RetrainPolicy[];
  readonly installation: string;
  readonly public_url: () => string;
  readonly tell: Tell;
  /** A decision changed its state; `saved` is what it is now. */
  readonly onDecision: (saved: Decision) => void;
  readonly window_ms: number;
};

/** Decides, dispatches once an episode and attempt, follows the run and confirms that it helped. */
export class Retraining {
  readonly #options: RetrainingOptions;
  #policies: readonly RetrainPolicy[];

  constructor(options: RetrainingOptions) {
    this.#options = options;
    this.#policies = options.policies;
  }

  /** From here on these policies decide, also about what is open. */
  reload(policies: readonly RetrainPolicy[]): void {
    this.#policies = policies;
  }

  /** Judges one model after an analysis, in the desk's transaction: opens or continues the episode's decision, then confirms finished runs. */
  async consider(tx: ControlTransaction, analysis: ModelAnalysis, episode: Episode | null): Promise<void> {
    const policy = policyFor(this.#policies, analysis.state.model);
    if (policy === null) return;
    await this.#confirm(tx, policy, analysis.state);
    await this.#continueOpen(tx, policy, analysis);
    if (episode !== null) await this.#open(tx, policy, analysis, episode);
  }

  /** A person approves. Throws LW-NOT-FOUND, or LW-CONFLICT when the decision is closed or already under way. */
  async approve(id: string, actor: string, note: string): Promise<Decision> {
    return this.#options.control.transaction(async (tx) => {
      const found = await this.#decision(tx, id);
      if (!APPROVABLE_STATES.includes(found.body.state))
        throw new LeewayError('LW-CONFLICT', `decision ${id} is ${found.body.state}; only an open one can be approved`);
      if (found.body.expires_at_ms <= this.#options.clock.now_ms())
        throw new LeewayError(
          'LW-CONFLICT',
          `decision ${id} expired at ${found.body.expires_at_ms}; wait for the next one`,
        );
      await this.#audit(tx, { actor, action: 'decision.approve', subject: id, note });
      return this.#save(
        tx,
        found,
        { ...found.body, state: 'approved', approved_by: actor },
        { kind: 'approved', note, actor },
      );
    });
  }

  /** A person rejects an open decision, or cancels one that is open or dispatched: its run ends, its target is told. */
  async close(id: string, actor: string, note: string, state: 'rejected' | 'cancelled'): Promise<Decision> {
    return this.#options.control.transaction(async (tx) => {
      const found = await this.#decision(tx, id);
      const closable: readonly DecisionState[] = state === 'rejected' ? OPEN_STATES : [...OPEN_STATES, 'dispatched'];
      if (!closable.includes(found.body.state))
        throw new LeewayError('LW-CONFLICT', `decision ${id} is ${found.body.state} and cannot be ${state}`);
      const action = state === 'rejected' ? 'decision.reject' : 'decision.cancel';
      await this.#audit(tx, { actor, action, subject: id, note });
      const saved = await this.#save(tx, found, { ...found.body, state, reason: note }, { kind: state, note, actor });
      if (found.body.state === 'dispatched') {
        await this.#cancelRun(tx, saved, note);
        await withdrawRequest(tx, id, { reason: `${state} before it was delivered`, now_ms: saved.updated_at_ms });
        await this.#tellOutcome(tx, saved, 'leeway.retrain.cancelled', 'target', { note });
      }
      return saved;
    });
  }

  /** A cancelled run is over for the gates, whether its pipeline says so or never answers. */
  async #cancelRun(tx: ControlTransaction, decision: Decision, reason: string): Promise<void> {
    const run = decision.run_id === null ? null : await tx.get(RETRAIN_RUNS, decision.run_id);
    if (run === null || runRank(run.body.state) === 2) return;
    const updated_at_ms = this.#options.clock.now_ms();
    await tx.update(RETRAIN_RUNS, run.id, run.revision, { ...run.body, state: 'cancelled', reason, updated_at_ms });
  }

  /** Takes a report of the pipeline. Repeats and steps back change nothing. Throws LW-NOT-FOUND. */
  async report(run_id: string, report: RunReport, actor: string): Promise<RetrainRun> {
    return this.#options.control.transaction(async (tx) => {
      const run = await tx.get(RETRAIN_RUNS, run_id);
      if (run === null) throw new LeewayError('LW-NOT-FOUND', `no retraining run ${run_id}`);
      const rank = runRank(run.body.state);
      if (runRank(report.state) < rank || rank === 2) return run.body;
      const reported: RetrainRun = {
        ...run.body,
        state: report.state,
        version: report.version ?? run.body.version,
        metrics: report.metrics === undefined ? run.body.metrics : { ...report.metrics },
        url: report.url ?? run.body.url,
        reason: report.reason ?? run.body.reason,
      };
      if (canonicalJson(reported) === canonicalJson(run.body)) return run.body;
      const body = { ...reported, updated_at_ms: this.#options.clock.now_ms() };
      await tx.update(RETRAIN_RUNS, run_id, run.revision, body);
      await this.#audit(tx, { actor, action: `run.${body.state}`, subject: run_id, note: report.reason ?? '' });
      if (body.state !== run.body.state) await this.#afterReport(tx, body);
      return body;
    });
  }

  /** A notification failed for good. Where it asked for a run, the run and its decision end with it. */
  async undelivered(tx: ControlTransaction, { type, decision_id, reason }: OutboxRow): Promise<void> {
    if (type === REQUESTED && decision_id !== null) await this.#neverArrived(tx, decision_id, reason ?? 'no reason');
  }

  /** The run that nobody started is over, and the next attempt has room. */
  async #neverArrived(tx: ControlTransaction, decision_id: string, reason: string): Promise<void> {
    const found = await tx.get(RETRAIN_DECISIONS, decision_id);
    const run_id = found?.body.run_id ?? null;
    const run = run_id === null ? null : await tx.get(RETRAIN_RUNS, run_id);
    if (run === null || runRank(run.body.state) !== 0) return; // a report says that its pipeline has it all the same
    const told = `its request was not delivered: ${reason}`;
    const body: RetrainRun = {
      ...run.body,
      state: 'failed',
      reason: told,
      updated_at_ms: this.#options.clock.now_ms(),
    };
    await tx.update(RETRAIN_RUNS, run.id, run.revision, body);
    await this.#afterReport(tx, body);
  }

  async #audit(
    tx: ControlTransaction,
    of: { readonly actor: string; readonly action: string; readonly subject: string; readonly note: string },
  ): Promise<void> {
    const { note, ...entry } = of;
    await appendAudit(tx, { ...entry, at_ms: this.#options.clock.now_ms(), detail: { note } });
  }

  async #afterReport(tx: ControlTransaction, run: RetrainRun): Promise<void> {
    const found = await tx.get(RETRAIN_DECISIONS, run.decision_id);
    if (found === null || found.body.state !== 'dispatched') return;
    const note = `run ${run.state}${run.version === null ? '' : `, version ${run.version}`}${run.reason === null ? '' : `: ${run.reason}`}`;
    const failed = run.state === 'failed' || run.state === 'cancelled';
    const state: DecisionState = failed ? (run.state === 'failed' ? 'not_fixed' : 'cancelled') : 'dispatched';
    const saved = await this.#save(
      tx,
      found,
      { ...found.body, state, reason: failed ? note : found.body.reason },
      { kind: `run_${run.state}`, note, actor: null },
    );
    if (run.state === 'failed')
      await this.#tellOutcome(tx, saved, 'leeway.retrain.not_fixed', 'both', { reason: note });
  }

  async #open(tx: ControlTransaction, policy: RetrainPolicy, analysis: ModelAnalysis, episode: Episode): Promise<void> {
    if (analysis.situation.windows_drifted === 0) return;
    const episode_id = episodeId(episode);
    const all = await tx.list(RETRAIN_DECISIONS, {
      where: [{ field: 'incident_id', is: '=', value: episode.incident_id }],
      limit: 500,
    });
    const known = all.filter((document) => document.body.episode_id === episode_id);
    if (known.some(({ body }) => closesEpisode(body, analysis.situation.version))) return;
    const now_ms = this.#options.clock.now_ms();
    const { installation } = this.#options;
    const decision = openedDecision(policy, analysis, { ...episode, attempt: known.length + 1, installation, now_ms });
    await tx.insert(RETRAIN_DECISIONS, decision.id, decision);
    await this.#judge(tx, policy, { id: decision.id, revision: 1, body: decision }, analysis);
  }

  async #continueOpen(tx: ControlTransaction, policy: RetrainPolicy, analysis: ModelAnalysis): Promise<void> {
    const open = await tx.list(RETRAIN_DECISIONS, {
      where: [
        { field: 'model', is: '=', value: analysis.state.model },
        { field: 'state', is: 'in', value: OPEN_STATES },
      ],
      limit: 100,
    });
    for (const document of open)
      if (document.body.version === analysis.situation.version) await this.#judge(tx, policy, document, analysis);
      else await this.#replaced(tx, document, analysis.situation.version);
  }

  /** Another version serves: what was decided about the one before is of no use any more. */
  async #replaced(tx: ControlTransaction, found: Document<Decision>, version: string): Promise<void> {
    const note = `version ${version} serves now`;
    const body: Decision = { ...found.body, state: 'suppressed', reason: note };
    await this.#save(tx, found, body, { kind: 'suppressed', note, actor: null });
  }

  /** Ends open decisions whose time is over, and dispatched ones that did not reach their target in it; whatever the model sends. */
  async expire(tx: ControlTransaction): Promise<void> {
    const now_ms = this.#options.clock.now_ms();
    const alive = await tx.list(RETRAIN_DECISIONS, {
      where: [{ field: 'state', is: 'in', value: [...OPEN_STATES, 'dispatched'] }],
      limit: 10_000,
    });
    const note = 'expiry: nothing is dispatched on old evidence';
    for (const found of alive.filter(({ body }) => body.expires_at_ms <= now_ms))
      if (found.body.state !== 'dispatched') {
        const body: Decision = { ...found.body, state: 'expired', reason: note };
        await this.#save(tx, found, body, { kind: 'expired', note, actor: null });
      } else if (await withdrawRequest(tx, found.id, { reason: note, now_ms })) {
        await this.#neverArrived(tx, found.id, note);
      }
  }

  async #judge(
    tx: ControlTransaction,
    policy: RetrainPolicy,
    found: Document<Decision>,
    analysis: ModelAnalysis,
  ): Promise<void> {
    const now_ms = this.#options.clock.now_ms();
    const gates = judgeGates(policy, await situationOf(tx, policy, { decision: found.body, analysis, now_ms }));
    const resolution = resolveDecision(policy, gates);
    const same = resolution.state === found.body.state && resolution.reason === found.body.reason;
    const fresh: Decision = {
      ...found.body,
      gates,
      state: resolution.state,
      reason: resolution.reason,
      drift: driftOf(analysis, found.body.drift),
      data: dataOf(analysis, now_ms),
      accuracy_drifted: analysis.situation.accuracy?.accuracy ?? found.body.accuracy_drifted,
    };
    if (resolution.dispatch) return this.#dispatch(tx, policy, found, fresh);
    const event = same ? null : { kind: resolution.state, note: resolution.reason, actor: null };
    await this.#save(tx, found, fresh, event);
  }

  async #dispatch(
    tx: ControlTransaction,
    policy: RetrainPolicy,
    found: Document<Decision>,
    decision: Decision,
  ): Promise<void> {
    const now_ms = this.#options.clock.now_ms();
    const run_id = `run_${decision.id.replace(/^dec_/, '')}`;
    const reserved = policy.estimated_run_nano_usd;
    const dispatched = { ...decision, run_id, dispatched_at_ms: now_ms, reserved_nano_usd: String(reserved) };
    await tx.insert(RETRAIN_RUNS, run_id, requestedRun(decision, run_id, now_ms));
    await this.#save(tx, found, dispatched, { kind: 'dispatched', note: `run ${run_id} requested`, actor: null });
    await this.#options.tell(tx, {
      type: REQUESTED,
      subject: `decision/${decision.id}`,
      at_ms: now_ms,
      to: 'target',
      policy: policy.id,
      decision_id: dispatched.id,
      expires_at_ms: dispatched.expires_at_ms,
      data: requestData(dispatched, run_id, this.#options.public_url()),
    });
  }

  async #confirm(tx: ControlTransaction, policy: RetrainPolicy, state: ModelState): Promise<void> {
    const dispatched = await tx.list(RETRAIN_DECISIONS, {
      where: [
        { field: 'model', is: '=', value: state.model },
        { field: 'state', is: '=', value: 'dispatched' },
      ],
      limit: 100,
    });
    for (const found of dispatched) {
      const run = found.body.run_id === null ? null : await tx.get(RETRAIN_RUNS, found.body.run_id);
      if (run === null || run.body.state !== 'succeeded') continue;
      const promoted = promotedBy(run.body, found.body, state);
      if (promoted !== null) await this.#confirmOne(tx, policy, { found, ...promoted }, state);
    }
  }

  async #confirmOne(
    tx: ControlTransaction,
    policy: RetrainPolicy,
    { found, version, since_ms }: { found: Document<Decision>; version: string; since_ms: number },
    state: ModelState,
  ): Promise<void> {
    const now = { window_ms: this.#options.window_ms, now_ms: this.#options.clock.now_ms() };
    const of = { version, before: found.body.version, since_ms };
    const after = windowsAfter(state, of, now).slice(0, policy.hysteresis.windows);
    const labelled = after.reduce((total, window) => total + window.labelled, 0);
    const correct = after.reduce((total, window) => total + window.correct, 0);
    const body: Decision = {
      ...found.body,
      after: after.map(({ from_ms, to_ms, drifted, accuracy_worse }) => ({ from_ms, to_ms, drifted, accuracy_worse })),
      accuracy_after: labelled === 0 ? null : correct / labelled,
    };
    const outcome = judgeOutcome(policy, body.after);
    if (outcome === null) {
      if (body.after.length !== found.body.after.length) await this.#save(tx, found, body, null);
      return;
    }
    const note = `${body.after.filter((window) => window.drifted || window.accuracy_worse).length} of ${body.after.length} windows of ${version} drift or are worse`;
    const saved = await this.#save(
      tx,
      found,
      { ...body, state: outcome, reason: note },
      { kind: outcome, note, actor: null },
    );
    await this.#tellOutcome(tx, saved, `leeway.retrain.${outcome}`, 'both', {
      version,
      previous_version: found.body.version,
      note,
    });
  }

  async #tellOutcome(
    tx: ControlTransaction,
    decision: Decision,
    type: string,
    to: 'target' | 'both',
    evidence: Readonly<Record<string, unknown>>,
  ): Promise<void> {
    const { accuracy_before, accuracy_drifted, accuracy_after, after } = decision;
    await this.#options.tell(tx, {
      type,
      subject: `decision/${decision.id}`,
      at_ms: this.#options.clock.now_ms(),
      to,
      policy: decision.policy,
      decision_id: decision.id,
      expires_at_ms: null,
      data: {
        decision_id: decision.id,
        model: decision.model,
        version: evidence['version'] ?? decision.version,
        previous_version: decision.version,
        evidence: { ...evidence, accuracy_before, accuracy_drifted, accuracy_after, windows: after },
      },
    });
  }

  async #decision(tx: ControlTransaction, id: string): Promise<Document<Decision>> {
    const found = await tx.get(RETRAIN_DECISIONS, id);
    if (found === null) throw new LeewayError('LW-NOT-FOUND', `no decision ${id}`);
    return found;
  }

  async #save(
    tx: ControlTransaction,
    found: Document<Decision>,
    body: Decision,
    event: { kind: string; note: string; actor: string | null } | null,
  ): Promise<Decision> {
    const at_ms = this.#options.clock.now_ms();
    const events = event === null ? body.events : [...body.events, { at_ms, ...event }].slice(-EVENTS_MAX);
    const saved = { ...body, events, updated_at_ms: at_ms };
    await tx.update(RETRAIN_DECISIONS, found.id, found.revision, saved);
    if (event !== null) tx.afterCommit(() => this.#options.onDecision(saved));
    return saved;
  }
}
