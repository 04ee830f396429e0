import { LeewayError } from '../../../src/core/errors.ts';
import { validateRecord } from '../../../src/core/parse-record.ts';
import { parseExposition } from '../../../src/formats/exposition.ts';
import { exporterRecords } from '../../../src/formats/exporter-records.ts';
import { type FuzzTarget, outcomeWord } from '../fuzz.ts';

const GPU = ['UTIL', 'TEMP', 'POWER_USAGE', 'FB_USED', 'FB_FREE', 'SM_CLOCK', 'XID_ERRORS']
  .flatMap((name, index) => [
    `# HELP DCGM_FI_DEV_GPU_${name} words`,
    `# TYPE DCGM_FI_DEV_GPU_${name} gauge`,
    ...[0, 1].map(
      (gpu) =>
        `DCGM_FI_DEV_GPU_${name}{gpu="${gpu}",UUID="GPU-${gpu}",Hostname="n1",modelName="H100"} ${index * 7 + gpu}`,
    ),
  ])
  .join('\n');
const NODE = [
  '# TYPE node_cpu_seconds_total counter',
  ...['user', 'idle', 'iowait'].map((mode) => `node_cpu_seconds_total{cpu="0",mode="${mode}"} 123.5 1767225600000`),
  'node_memory_MemTotal_bytes 6.4e+10',
  'node_memory_MemAvailable_bytes 3.2e+10',
  'node_uname_info{nodename="n1",release="6.1"} 1',
  '# TYPE x histogram',
  'x_bucket{le="+Inf"} 3 # {trace_id="a"} 0.5 1.0',
  'x_sum 1.5',
  'x_count 3',
  '{"a quoted.name", b="c"} NaN',
  '# EOF',
].join('\n');
const WORDS =
  '# TYPE|# HELP|# EOF|{|}|"|\\"|\\\\|\\n|,|=| |NaN|+Inf|-Inf|1e999|9223372036854775794|0x1p3|\n|\r\n|\t|DCGM_FI_DEV_GPU_UTIL|gauge|stateset|\u0000|\ud800'.split(
    '|',
  );

/** What a scrape says: lines, and the records that are made of them. */
export const target = (): FuzzTarget => ({
  seeds: [Buffer.from(`${GPU}\n`), Buffer.from(`${NODE}\n`)],
  words: WORDS,
  run: (bytes) => {
    const text = Buffer.from(bytes).toString('utf8');
    const { samples, problems } = parseExposition(text);
    const problem = problems.map(({ kind }) => kind);
    try {
      const { gpus, host, unmapped } = exporterRecords(text, {
        at_ms: 1_767_225_600_000,
        node: null,
        fallback_node: 'n',
      });
      for (const record of gpus) {
        const valid = validateRecord(record);
        if (valid.kind !== 'ok') throw new Error(`a record that nobody would take: ${JSON.stringify(valid)}`);
      }
      return outcomeWord(
        samples.length,
        gpus.length,
        host === null ? 'no host' : 'host',
        unmapped,
        [...new Set(problem)].join(),
      );
    } catch (error) {
      if (error instanceof LeewayError && error.code === 'LW-INPUT') return outcomeWord('refused', samples.length);
      throw error;
    }
  },
});
