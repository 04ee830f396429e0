import { ENGINE_STATE } from '../control/collections.ts';
import { LeewayError } from '../core/errors.ts';
import type { Control, Store } from '../core/ports.ts';
import type { RecordOf } from '../core/records.ts';
import { wilsonInterval } from '../math/proportion-intervals.ts';
import type { ModelState, VersionState } from '../pipeline/model-state.ts';
import type { ModelFilter, ModelWindow, Page, Paging } from '../server/services.ts';
import type { ModelDetail, ModelDrift, ModelItem, ModelQuality } from '../server/shapes/telemetry.ts';
import { pageOf } from './page.ts';
import { storedRecords } from './stored-records.ts';

const ENGINE = 'models';
const INFERENCE_RECORDS = 60;
/** Windows that the status and the current accuracy look back on: the hysteresis of the default policy. */
const RECENT_WINDOWS = 4;

/** Keeps a model's state for the console and for a restart. */
export async function saveModelStates(control: Control, states: readonly ModelState[], now_ms: number): Promise<void> {
  await control.transaction(async (tx) => {
    for (const state of states) {
      const id = `${ENGINE}/${state.model}`;
      const known = await tx.get(ENGINE_STATE, id);
      const body = { engine: ENGINE, updated_at_ms: now_ms, state };
      if (known === null) await tx.insert(ENGINE_STATE, id, body);
      else if (JSON.stringify(known.body.state) !== JSON.stringify(state))
        await tx.update(ENGINE_STATE, id, known.revision, body);
    }
  });
}

/** Every kept model state. */
export async function loadModelStates(control: Control): Promise<ModelState[]> {
  const documents = await control.transaction((tx) =>
    tx.list(ENGINE_STATE, { where: [{ field: 'engine', is: '=', value: ENGINE }], limit: 5_000 }),
  );
  return documents.map(({ body }) => body.state as ModelState); // the parse door: written by saveModelStates only
}

/** Models with predictions, by name. */
export async function listModels(control: Control, filter: ModelFilter, paging: Paging): Promise<Page<ModelItem>> {
  const items = (await loadModelStates(control)).map(modelItem);
  const wanted = items.filter(
    (item) =>
      (filter.model === undefined || item.model === filter.model) &&
      (filter.status === undefined || item.status === filter.status),
  );
  return pageOf(wanted, paging, (item) => item.model);
}

/** One model with its versions and its serving figures over the last minute. Throws LW-NOT-FOUND. */
export async function modelDetail(doors: { store: Store; control: Control }, model: string): Promise<ModelDetail> {
  const state = await stateOf(doors.control, model);
  const signal = new AbortController().signal;
  const where = 'model = {model:String}';
  const [deploys, inference] = await Promise.all([
    storedRecords(
      doors.store,
      { type: 'deploy', where, parameters: { model }, order: 'at_ms DESC', limit: 100 },
      signal,
    ),
    storedRecords(
      doors.store,
      { type: 'inference', where, parameters: { model }, order: 'at_ms DESC', limit: INFERENCE_RECORDS },
      signal,
    ),
  ]);
  const versions = state.versions.map((known) => {
    const deploy = deploys.find(({ record }) => record.version === known.version)?.record;
    return {
      version: known.version,
      deployed_at_ms: deploy?.at_ms ?? known.first_ms,
      action: deploy?.action ?? null,
      accuracy: accuracyOf(known.spans),
    };
  });
  return { ...modelItem(state), versions, inference: servingFigures(inference.map(({ record }) => record)) };
}

/** Drift by window and feature of one version. Throws LW-NOT-FOUND. */
export async function modelDrift(
  control: Control,
  model: string,
  window: ModelWindow,
  alpha: number,
): Promise<ModelDrift> {
  const known = versionOf(await stateOf(control, model), window.version);
  const reference = known.reference;
  return {
    model,
    version: known.version,
    reference:
      reference === null
        ? null
        : {
            version: known.version,
            edges_id: reference.edges_id,
            rows: reference.n,
            accuracy: ratioOf(known.reference_quality),
          },
    alpha,
    windows: known.windows
      .filter((item) => within(item.from_ms, window))
      .slice(-(window.limit ?? 500))
      .map(({ rows: _rows, ...item }) => item),
    features: known.features.map((verdict) => {
      const frozen = reference?.features[verdict.name];
      const edges =
        frozen === undefined
          ? []
          : frozen.binning.kind === 'numeric'
            ? frozen.binning.edges
            : frozen.binning.categories;
      const { name, statistic, value, p_value, drifted, contribution } = verdict;
      return {
        name,
        statistic,
        value,
        p_value,
        drifted,
        contribution,
        edges: [...edges],
        reference_ratios: shares(frozen?.counts ?? []),
        current_ratios: shares(known.current[name]?.counts ?? []),
      };
    }),
  };
}

/** Realised accuracy by window, over all versions unless one is asked for. Throws LW-NOT-FOUND. */
export async function modelQuality(
  control: Control,
  model: string,
  window: ModelWindow,
  window_ms: number,
): Promise<ModelQuality> {
  const state = await stateOf(control, model);
  const known = versionOf(state, window.version);
  const shown = window.version === undefined ? state.versions : [known];
  const items = shown.flatMap(({ version, spans }) =>
    spans
      .filter((span) => within(span.from_ms, window))
      .map(({ from_ms, predicted, labelled, correct }) => {
        const interval = labelled === 0 ? null : wilsonInterval(correct, labelled, 0.95);
        return {
          from_ms,
          to_ms: from_ms + window_ms,
          version,
          predicted,
          labelled,
          accuracy: labelled === 0 ? null : correct / labelled,
          low: interval?.low ?? null,
          high: interval?.high ?? null,
          completeness_ratio: predicted === 0 ? 0 : Math.min(1, labelled / predicted),
        };
      }),
  );
  items.sort((a, b) => a.from_ms - b.from_ms);
  const quality = known.reference_quality;
  const reference = quality === null ? null : { accuracy: ratioOf(quality), labelled: quality.labelled };
  return { model, version: known.version, reference, items: items.slice(-(window.limit ?? 500)) };
}

async function stateOf(control: Control, model: string): Promise<ModelState> {
  const document = await control.transaction((tx) => tx.get(ENGINE_STATE, `${ENGINE}/${model}`));
  if (document === null) throw new LeewayError('LW-NOT-FOUND', `no model ${model} has sent predictions`);
  return document.body.state as ModelState; // the parse door: written by saveModelStates only
}

function versionOf(state: ModelState, version = state.active_version): VersionState {
  const known = state.versions.find((candidate) => candidate.version === version);
  if (known === undefined) throw new LeewayError('LW-NOT-FOUND', `model ${state.model} has no version ${version}`);
  return known;
}

function modelItem(state: ModelState): ModelItem {
  const known = versionOf(state);
  const assessed = known.windows.filter((window) => window.status !== 'insufficient').slice(-RECENT_WINDOWS);
  const newest = assessed.at(-1);
  return {
    model: state.model,
    version: known.version,
    status: statusOf(
      known,
      assessed.some((window) => window.status === 'drift'),
    ),
    accuracy: accuracyOf(known.spans.slice(-2 * RECENT_WINDOWS)),
    reference_accuracy: ratioOf(known.reference_quality),
    predictions: state.versions.reduce((total, version) => total + version.predictions, 0),
    last_at_ms: known.last_ms,
    features_drifted: newest?.features_drifted ?? null,
    window: newest === undefined ? null : { from_ms: newest.from_ms, to_ms: newest.to_ms },
  };
}

function statusOf(known: VersionState, drifting: boolean): ModelItem['status'] {
  if (known.reference === null) return 'no_reference';
  if (drifting) return 'drifting';
  return known.windows.at(-1)?.status === 'insufficient' || known.windows.length === 0 ? 'insufficient' : 'stable';
}

function accuracyOf(spans: VersionState['spans']): ModelItem['accuracy'] {
  const total = { predicted: 0, labelled: 0, correct: 0 };
  for (const span of spans) {
    total.predicted += span.predicted;
    total.labelled += span.labelled;
    total.correct += span.correct;
  }
  if (total.labelled === 0) return null;
  const { low, high } = wilsonInterval(total.correct, total.labelled, 0.95);
  return {
    value: total.correct / total.labelled,
    low,
    high,
    completeness_ratio: Math.min(1, total.labelled / total.predicted),
  };
}

function ratioOf(quality: VersionState['reference_quality']): number | null {
  return quality === null || quality.labelled === 0 ? null : quality.correct / quality.labelled;
}

function shares(counts: readonly number[]): number[] {
  const total = counts.reduce((sum, count) => sum + count, 0);
  return counts.map((count) => (total === 0 ? 0 : count / total));
}

function within(at_ms: number, { from, to }: ModelWindow): boolean {
  return (from === undefined || at_ms >= from) && (to === undefined || at_ms < to);
}

type HistogramSum = { bounds: readonly number[]; counts: number[]; sum: number };

function servingFigures(records: readonly RecordOf<'inference'>[]): ModelDetail['inference'] {
  const newest = records[0];
  if (newest === undefined) return null;
  const window_ms = records.reduce((total, record) => total + record.window_ms, 0);
  const requests = records.reduce((total, record) => total + record.requests, 0);
  const [queue, compute, total] = (['queue_ms', 'compute_ms', 'total_ms'] as const).map((field) =>
    summed(records.map((record) => record[field])),
  );
  const batch = summed(records.flatMap((record) => (record.batch === undefined ? [] : [record.batch])));
  const runs = batch?.counts.reduce((sum, count) => sum + count, 0) ?? 0;
  return {
    requests_per_s: window_ms > 0 ? (1000 * requests) / window_ms : null,
    errors: records.reduce((sum, record) => sum + record.errors, 0),
    queue_ms_p50: quantile(queue, 0.5),
    compute_ms_p50: quantile(compute, 0.5),
    total_ms_p50: quantile(total, 0.5),
    total_ms_p99: quantile(total, 0.99),
    batch_mean: batch === null || batch === undefined || runs === 0 ? null : batch.sum / runs,
    provider: newest.provider,
  };
}

function summed(histograms: readonly RecordOf<'inference'>['queue_ms'][]): HistogramSum | null {
  const first = histograms[0];
  if (first === undefined) return null;
  const total = { bounds: first.bounds, counts: first.counts.map(() => 0), sum: 0 };
  for (const { bounds, counts, sum } of histograms) {
    if (bounds.length !== total.bounds.length) continue; // another layout: a release changed it meanwhile
    counts.forEach((count, bin) => {
      total.counts[bin] = (total.counts[bin] ?? 0) + count;
    });
    total.sum += sum;
  }
  return total;
}

/** Quantile by linear interpolation inside its bucket, as Prometheus' histogram_quantile; the last bucket answers its bound. */
function quantile(histogram: HistogramSum | null | undefined, share: number): number | null {
  const count = histogram?.counts.reduce((sum, bin) => sum + bin, 0) ?? 0;
  if (histogram === null || histogram === undefined || count === 0) return null;
  let before = 0;
  for (const [bin, inside] of histogram.counts.entries()) {
    const upper = histogram.bounds[bin];
    if (upper === undefined) return histogram.bounds.at(-1) ?? null;
    if (before + inside >= share * count) {
      const lower = histogram.bounds[bin - 1] ?? 0;
      return inside === 0 ? upper : lower + ((upper - lower) * (share * count - before)) / inside;
    }
    before += inside;
  }
  return null;
}
