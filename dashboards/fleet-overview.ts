import { CLICKHOUSE, clickHouseQuery } from './clickhouse-query.ts';
import { type Board, buildDashboard, type Choice, type Dashboard, type Panel, type Row } from './grafana.ts';

// Tables and columns are those of src/core/tables.ts. FINAL drops the rows that a replay wrote twice.

type Text = { readonly title: string; readonly description: string };

function graph(text: Text & { unit: string; max?: number }, sql: string): Panel {
  return { kind: 'timeseries', ...text, query: clickHouseQuery('timeseries', sql) };
}

function stat(text: Text, sql: string): Panel {
  return { kind: 'stat', ...text, unit: 'short', query: clickHouseQuery('table', sql) };
}

const OF_JOB = '$__conditionalAll(job IN (${job:singlequote}), $job)';
const OF_MODEL = '$__conditionalAll(model IN (${model:singlequote}), $model)';

const now: Row = {
  title: 'In the selected time',
  panels: [
    stat(
      { title: 'Training jobs', description: 'Jobs that reported at least one step.' },
      `SELECT uniqExact(job) AS jobs FROM leeway.step WHERE $__timeFilter_ms(at) AND ${OF_JOB}`,
    ),
    stat(
      { title: 'Ranks', description: 'Ranks that reported at least one step, over all jobs.' },
      `SELECT uniqExact(job, rank) AS ranks FROM leeway.step WHERE $__timeFilter_ms(at) AND ${OF_JOB}`,
    ),
    stat(
      { title: 'GPUs', description: 'GPUs that sent at least one sample.' },
      'SELECT uniqExact(node, gpu) AS gpus FROM leeway.gpu WHERE $__timeFilter_ms(at)',
    ),
    stat(
      {
        title: 'Model versions serving',
        description: 'Pairs of model and version that answered at least one request.',
      },
      `SELECT uniqExact(model, version) AS versions FROM leeway.inference
WHERE $__timeFilter_ms(at) AND requests > 0 AND ${OF_MODEL}`,
    ),
  ],
};

const training: Row = {
  title: 'Training',
  panels: [
    graph(
      {
        title: 'Step time by job',
        description:
          'Median duration of a training step over all ranks of the job. Evaluation and checkpoint steps are left out.',
        unit: 'ms',
      },
      `SELECT $__timeInterval(at) AS time, job, quantile(0.5)(duration_ms) AS step_ms
FROM leeway.step FINAL
WHERE $__timeFilter_ms(at) AND phase = 'train' AND ${OF_JOB}
GROUP BY time, job ORDER BY time`,
    ),
    graph(
      {
        title: 'Slowest rank against the median rank',
        description:
          "Own work (compute + data) of the slowest rank ÷ that of the median rank; 1 = all alike. A first look: Leeway's incidents correct for warm-up, node and network.",
        unit: 'none',
      },
      `SELECT time, job, max(own_ms) / quantile(0.5)(own_ms) AS slowest_ratio FROM (
  SELECT $__timeInterval(at) AS time, job, rank, quantile(0.5)(compute_ms + data_ms) AS own_ms
  FROM leeway.step FINAL
  WHERE $__timeFilter_ms(at) AND phase = 'train' AND ${OF_JOB}
  GROUP BY time, job, rank
) GROUP BY time, job HAVING quantile(0.5)(own_ms) > 0 ORDER BY time`,
    ),
    graph(
      {
        title: 'Loss by job',
        description: 'Mean of the loss that the ranks reported; ranks that report none are left out.',
        unit: 'none',
      },
      `SELECT $__timeInterval(at) AS time, job, avg(loss) AS mean_loss
FROM leeway.step FINAL
WHERE $__timeFilter_ms(at) AND phase = 'train' AND isFinite(loss) AND ${OF_JOB}
GROUP BY time, job ORDER BY time`,
    ),
  ],
};

const hardware: Row = {
  title: 'Hardware',
  panels: [
    graph(
      {
        title: 'GPU utilisation by node',
        description: 'Mean over the GPUs of the node. A GPU that cannot tell is left out, never counted as 0.',
        unit: 'percentunit',
        max: 1,
      },
      `SELECT $__timeInterval(at) AS time, node, avg(utilization) AS utilization_ratio
FROM leeway.gpu FINAL
WHERE $__timeFilter_ms(at) AND utilization IS NOT NULL
GROUP BY time, node ORDER BY time`,
    ),
    graph(
      { title: 'Hottest GPU by node', description: 'Highest GPU temperature seen on the node.', unit: 'celsius' },
      `SELECT $__timeInterval(at) AS time, node, max(temperature_c) AS hottest_c
FROM leeway.gpu FINAL
WHERE $__timeFilter_ms(at) AND temperature_c IS NOT NULL
GROUP BY time, node ORDER BY time`,
    ),
    graph(
      {
        title: 'CPU utilisation by node',
        description: 'Mean share of processor time in use on the node.',
        unit: 'percentunit',
        max: 1,
      },
      `SELECT $__timeInterval(at) AS time, node, avg(cpu_utilization) AS cpu_ratio
FROM leeway.host FINAL
WHERE $__timeFilter_ms(at) AND cpu_utilization IS NOT NULL
GROUP BY time, node ORDER BY time`,
    ),
  ],
};

const serving: Row = {
  title: 'Serving',
  panels: [
    graph(
      {
        title: 'Requests by model',
        description: 'Requests a second, errors included. The first and last interval may be cut and read low.',
        unit: 'reqps',
      },
      `SELECT $__timeInterval(at) AS time, model, sum(requests) / $__interval_s AS requests_per_second
FROM leeway.inference FINAL
WHERE $__timeFilter_ms(at) AND ${OF_MODEL}
GROUP BY time, model ORDER BY time`,
    ),
    graph(
      {
        title: 'Latency p99 by model',
        description:
          'Upper bound of the histogram bucket that holds the 99th percentile of the whole request time. At the highest bound it means that or more.',
        unit: 'ms',
      },
      `SELECT time, model, quantileExactWeighted(0.99)(bucket.1, toUInt64(round(bucket.2))) AS latency_ms_p99 FROM (
  SELECT $__timeInterval(at) AS time, model, JSONExtract(total_ms, 'bounds', 'Array(Float64)') AS bounds,
    arrayJoin(arrayZip(arrayPushBack(bounds, arrayMax(bounds)),
      arrayResize(JSONExtract(total_ms, 'counts', 'Array(Float64)'), length(bounds) + 1))) AS bucket
  FROM leeway.inference FINAL
  WHERE $__timeFilter_ms(at) AND notEmpty(bounds) AND ${OF_MODEL}
) WHERE bucket.2 > 0 GROUP BY time, model ORDER BY time`,
    ),
    graph(
      {
        title: 'Errors by model',
        description: 'Failed requests ÷ all requests; nothing where no request came.',
        unit: 'percentunit',
        max: 1,
      },
      `SELECT $__timeInterval(at) AS time, model, sum(errors) / sum(requests) AS error_ratio
FROM leeway.inference FINAL
WHERE $__timeFilter_ms(at) AND requests > 0 AND ${OF_MODEL}
GROUP BY time, model ORDER BY time`,
    ),
  ],
};

/** Predictions of the selected time beside the latest label of each; labels come later, so only their start is bounded. */
const LABELLED = `SELECT $__timeInterval(p.at) AS time, p.model AS model, p.prediction AS prediction, l.latest AS label
  FROM (SELECT at, model, request_id, prediction FROM leeway.prediction FINAL WHERE $__timeFilter_ms(at) AND ${OF_MODEL}) AS p
  LEFT JOIN (
    SELECT model, request_id, toNullable(argMax(label, at)) AS latest FROM leeway.label FINAL
    WHERE at >= $__fromTime_ms AND ${OF_MODEL} GROUP BY model, request_id
  ) AS l ON l.model = p.model AND l.request_id = p.request_id`;

const models: Row = {
  title: 'Models, money and delivery',
  panels: [
    graph(
      {
        title: 'Accuracy by model',
        description:
          'Share of predictions that equal their label, by the time of the prediction. For classifiers; predictions without a label are left out.',
        unit: 'percentunit',
        max: 1,
      },
      `SELECT time, model, avg(prediction = label) AS accuracy_ratio FROM (
  ${LABELLED}
) WHERE label IS NOT NULL GROUP BY time, model ORDER BY time`,
    ),
    graph(
      {
        title: 'Predictions with a label',
        description: 'Share of predictions whose label has arrived: how far the accuracy beside it can be trusted.',
        unit: 'percentunit',
        max: 1,
      },
      `SELECT time, model, avg(label IS NOT NULL) AS labelled_ratio FROM (
  ${LABELLED}
) GROUP BY time, model ORDER BY time`,
    ),
    graph(
      {
        title: 'GPU-hours claimed by team',
        description:
          'GPUs × hours that the claims of each team cover, hour by hour, cut to the selected time. Money is in the ledger of Leeway, exact to the nano-dollar.',
        unit: 'none',
      },
      `SELECT toDateTime(hour_ms / 1000, 'UTC') AS time, team,
  sum(gpus * (least(to_ms, end_ms, hour_ms + 3600000) - greatest(from_ms, begin_ms, hour_ms)) / 3600000) AS gpu_hours
FROM (
  SELECT toFloat64(toUnixTimestamp64Milli($__fromTime_ms)) AS begin_ms,
    toFloat64(toUnixTimestamp64Milli($__toTime_ms)) AS end_ms, from_ms,
    assumeNotNull(to_ms) AS to_ms, JSONExtractString(tenant, 'team') AS team,
    toFloat64OrZero(trim(BOTH '"' FROM JSONExtractRaw(rest, 'gpus'))) AS gpus,
    arrayJoin(range(toUInt64(greatest(from_ms, begin_ms) / 3600000),
      toUInt64(ceil(least(to_ms, end_ms) / 3600000)))) * 3600000. AS hour_ms
  FROM leeway.claim FINAL
  WHERE from_ms < end_ms AND to_ms > begin_ms
) GROUP BY time, team ORDER BY time`,
    ),
    graph(
      {
        title: 'Records stored by source',
        description:
          'New records a second by the source that sent them; those that were there already are not counted again.',
        unit: 'wps',
      },
      `SELECT $__timeInterval(stored_at) AS time, source, sum(rows - duplicates) / $__interval_s AS records_per_second
FROM leeway.frames FINAL
WHERE $__timeFilter_ms(stored_at)
GROUP BY time, source ORDER BY time`,
    ),
  ],
};

function choice(name: string, label: string, table: string): Choice {
  const sql = `SELECT DISTINCT ${name} FROM leeway.${table} WHERE $__timeFilter_ms(at) ORDER BY ${name} LIMIT 1000`;
  return { name, label, query: clickHouseQuery('table', sql) };
}

const BOARD: Board = {
  uid: 'leeway-fleet-overview',
  title: 'Leeway: fleet overview',
  description:
    'Training, hardware, serving, model quality, claims and delivery in one page, read from the telemetry tables.',
  tags: ['leeway'],
  plugin: CLICKHOUSE,
  choices: [choice('job', 'Job', 'step'), choice('model', 'Model', 'inference')],
  rows: [now, training, hardware, serving, models],
};

/** Fleet overview over the telemetry tables in ClickHouse. */
export function fleetOverview(): Dashboard {
  return buildDashboard(BOARD);
}
