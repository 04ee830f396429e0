import { LeewayError } from '../../../src/core/errors.ts';
import { parseAlerts } from '../../../src/incident/external-message.ts';
import { parseJsonBody } from '../../../src/server/request.ts';
import { type FuzzTarget, outcomeWord } from '../fuzz.ts';
import { reshaped } from '../reshape-json.ts';

const ALERTS = [
  {
    labels: { alertname: 'GpuHot', severity: 'page', gpu: '3', empty: '' },
    annotations: { summary: 'x', description: 'ü' },
    startsAt: '2026-01-01T00:00:00.123Z',
    endsAt: '0001-01-01T00:00:00Z',
    generatorURL: 'http://prometheus/graph?g0.expr=up',
  },
  { labels: { alertname: 'Other' }, endsAt: '2026-01-01T01:00:00+02:00', startsAt: null, more: [1] },
];
const WORDS =
  '{|}|[|]|,|:|""|null|"labels"|"__proto__"|"constructor"|"startsAt"|"2026-13-45T99:99:99Z"|"2026-01-01T00:00:00.999999999999-23:59"|1e999|[[[[[[[[|\\u0000|\ud800|~1'.split(
    '|',
  );

/** `POST /api/v2/alerts`: the body, then each alert by itself. */
export const target = (): FuzzTarget => ({
  seeds: [Buffer.from(JSON.stringify(ALERTS)), ...ALERTS.map((alert) => Buffer.from(JSON.stringify([alert])))],
  words: WORDS,
  reshape: reshaped,
  run: (bytes) => {
    try {
      const { messages, errors } = parseAlerts(parseJsonBody(Buffer.from(bytes), 'application/json'));
      if (messages.some(({ labels }) => Object.keys(labels).length === 0)) throw new Error('an alert without labels');
      if (
        messages.some(({ starts_ms, ends_ms }) =>
          [starts_ms, ends_ms].some((at) => at !== null && !Number.isFinite(at)),
        )
      )
        throw new Error('a time that is none');
      return outcomeWord('ok', messages.length, [...new Set(errors.map(({ expected }) => expected))].toSorted().join());
    } catch (error) {
      if (error instanceof LeewayError && error.code === 'LW-BODY') return outcomeWord('refused', error.message);
      throw error;
    }
  },
});
