import { describe, expect, test } from 'vitest';
import { decodeNcclInspector } from '../../src/formats/nccl-inspector.ts';
import { absentOf, corpusText, describeCorpus, samplesOf, valuesOf, warningCodes } from './corpus.ts';

const REFUSED = expect.objectContaining({ code: 'LW-INPUT' });
const PERFORMANCE = {
  coll: 'AllReduce',
  coll_sn: 7,
  coll_msg_size_bytes: 1_048_576,
  coll_exec_time_us: 61_974.5,
  coll_algobw_gbs: 277.21,
  coll_busbw_gbs: 485.12,
};

function marker(rank: number): string {
  return JSON.stringify({
    header: { id: '0x7f', rank, n_ranks: 8, nnodes: 1 },
    metadata: { hostname: 'h', pid: 9, dump_timestamp_us: 1_748_030_377_748_202 },
    dump_stats: { coll_dropped_total: 4096, p2p_dropped_total: 0 },
  });
}

describe('decodeNcclInspector', () => {
  test('v4.3: records belong to the marker before them', () => {
    const record = JSON.stringify({ coll_perf: PERFORMANCE });
    const result = decodeNcclInspector(`${marker(2)}\n${record}\n${marker(3)}\n${record}\n`);
    expect(
      samplesOf(result, 'nccl.collective.duration').map(({ attributes, value, at_ms }) => [
        attributes['rank'],
        value,
        at_ms,
      ]),
    ).toEqual([
      ['2', 0.0619745, 1_748_030_377_748.202],
      ['3', 0.0619745, 1_748_030_377_748.202],
    ]);
    expect(valuesOf(result, 'nccl.bus_bandwidth', { rank: '3' })).toEqual([485_120_000_000]);
    expect(valuesOf(result, 'nccl.operations.dropped', { what: 'collective', rank: '2' })).toEqual([4096]);
  });

  test('a record without a marker is suspect', () => {
    const result = decodeNcclInspector(JSON.stringify({ coll_perf: PERFORMANCE }));
    expect(new Set(result.samples.map(({ quality }) => quality))).toEqual(new Set(['suspect']));
    expect(warningCodes(result)).toEqual(['LW-DECODE-NO-IDENTITY']);
  });

  test('fields that are missing or of another kind are absent', () => {
    const result = decodeNcclInspector(
      JSON.stringify({ rank: 0, coll_perf: { coll: 'AllReduce', coll_exec_time_us: '5', coll_sn: 1 } }),
    );
    expect(absentOf(result, 'nccl.collective.duration')).toMatchObject([{ reason: 'parse_error' }]);
    expect(absentOf(result, 'nccl.bus_bandwidth')).toMatchObject([{ reason: 'unsupported' }]);
  });

  test('a line cut off, a line of text and an unknown record are told, what is around them is read', () => {
    const good = JSON.stringify({ rank: 0, coll_perf: PERFORMANCE });
    const result = decodeNcclInspector(
      `${good}\n{"rank":1,"coll_perf":{"coll":"AllRe\nnot json\n{"rank":1,"weather":"fine"}\n${good}`,
    );
    expect(valuesOf(result, 'nccl.collective.sequence')).toEqual([7, 7]);
    expect(result.warnings.map(({ code }) => code)).toEqual([
      'LW-DECODE-LINE',
      'LW-DECODE-LINE',
      'LW-DECODE-UNKNOWN-FIELD',
    ]);
  });

  test('a hundred thousand open braces end in reasonable time', () => {
    expect(() => decodeNcclInspector('{\n'.repeat(100_000))).toThrow(REFUSED);
  });

  test.each(['', 'nothing\n', '[]', '{"a":1}', '7\n'])('%j is refused', (text) => {
    expect(() => decodeNcclInspector(text)).toThrow(REFUSED);
  });
});

describeCorpus('decodeNcclInspector on dumps', () => {
  const decoded = (file: string): ReturnType<typeof decodeNcclInspector> =>
    decodeNcclInspector(corpusText(`nccl-inspector/${file}`));

  // 5663.0 us, 2360832 bytes, 0.416887 and 0.555850 GB/s
  test('a real line of v4.0', () => {
    const result = decoded('dump_v4.0.ndjson');
    expect(result.samples.map(({ metric, value }) => [metric, value])).toEqual([
      ['nccl.collective.duration', 0.005663],
      ['nccl.collective.size', 2_360_832],
      ['nccl.collective.sequence', 8995],
      ['nccl.algorithm_bandwidth', 416_887_000],
      ['nccl.bus_bandwidth', 555_850_000],
    ]);
    expect(result.samples[0]?.attributes).toMatchObject({
      rank: '1',
      'host.name': 'nanogpt-nccl-test-worker-0',
      'nccl.op': 'AllReduce',
    });
  });

  test('a pretty-printed object', () => {
    expect(valuesOf(decoded('readme_v4.0.json'), 'nccl.bus_bandwidth', { rank: '2' })).toEqual([485_119_099_000]);
  });

  test('the flat form: two records, the line between told', () => {
    const result = decoded('synthetic_flat_with_bad_line.ndjson');
    expect(valuesOf(result, 'nccl.collective.duration')).toEqual([0.0619745, 0.062]);
    expect(samplesOf(result, 'nccl.collective.size').map(({ attributes }) => attributes['rank'])).toEqual(['0', '1']);
    expect(result.warnings).toEqual([{ code: 'LW-DECODE-LINE', message: '"this is not json"' }]);
  });

  test('its Prometheus text', () => {
    const result = decoded('readme_prometheus_v5.1.txt');
    expect(valuesOf(result, 'nccl.bus_bandwidth', { 'nccl.op': 'AllReduce' })).toEqual([678_263_000_000]);
    expect(valuesOf(result, 'nccl.collective.duration')).toEqual([0.00949847]);
    expect(valuesOf(result, 'nccl.p2p.bus_bandwidth', { 'nccl.op': 'Send' })).toEqual([464_900_000_000]);
    expect(valuesOf(result, 'nccl.p2p.duration')).toEqual([0.00115487]);
  });
});
