import { describe, expect, test } from 'vitest';
import { decodeNcclRas } from '../../src/formats/nccl-ras.ts';
import { absentOf, corpusText, describeCorpus, samplesOf, valuesOf, warningCodes } from './corpus.ts';

const REFUSED = expect.objectContaining({ code: 'LW-INPUT' });

/** An answer with one communicator of `size` ranks of which those of `counts` answered. */
function status(size: number, counts: readonly unknown[], missing: readonly number[] = []): string {
  const ranks = counts.map((collective_counts, rank) => ({
    rank,
    host: 'h',
    pid: 100 + rank,
    nvml_dev: rank,
    status: { init_state: 0, abort_flag: false },
    collective_counts,
  }));
  const gone = missing.map((rank) => ({
    rank,
    host: 'h',
    pid: 100 + rank,
    status: { unresponsive: true, considered_dead: false },
  }));
  const communicator = {
    hash: '0xa',
    size,
    ranks_count: ranks.length,
    missing_ranks_count: gone.length,
    ranks,
    missing_ranks: gone,
  };
  return JSON.stringify({ nccl_version: '2.29.1', communicators_count: 1, communicators: [communicator] });
}

describe('decodeNcclRas, JSON', () => {
  test('counts are told by rank and operation', () => {
    const result = decodeNcclRas(
      status(2, [
        { AllReduce: 7, Broadcast: 1 },
        { AllReduce: 6, Broadcast: 1 },
      ]),
    );
    expect(valuesOf(result, 'nccl.rank.collective_count', { 'nccl.op': 'AllReduce' })).toEqual([7, 6]);
    expect(valuesOf(result, 'nccl.rank.aborting', { rank: '1' })).toEqual([0]);
    expect(result.warnings).toEqual([]);
  });

  test('a missing rank has no counts: each is lost', () => {
    const result = decodeNcclRas(status(2, [{ AllReduce: 7, Broadcast: 1 }], [1]));
    expect(valuesOf(result, 'nccl.rank.collective_count', { rank: '1' })).toEqual([]);
    expect(
      absentOf(result, 'nccl.rank.collective_count', { rank: '1' }).map(({ reason, attributes }) => [
        attributes['nccl.op'],
        reason,
      ]),
    ).toEqual([
      ['AllReduce', 'lost'],
      ['Broadcast', 'lost'],
    ]);
    expect(valuesOf(result, 'nccl.rank.unresponsive', { rank: '1' })).toEqual([1]);
    expect(valuesOf(result, 'nccl.rank.considered_dead', { rank: '1' })).toEqual([0]);
  });

  test('with every rank missing the counts are lost as a whole', () => {
    expect(absentOf(decodeNcclRas(status(1, [], [0])), 'nccl.rank.collective_count')).toHaveLength(1);
  });

  test('ranks that do not add up to the size are told', () => {
    expect(warningCodes(decodeNcclRas(status(8, [{ AllReduce: 1 }])))).toEqual(['LW-DECODE-IMPLAUSIBLE']);
  });

  test('fields of another kind are absent, never cast', () => {
    const result = decodeNcclRas(status(1, [{ AllReduce: '7', Reduce: null, Broadcast: -0.5 }]));
    expect(absentOf(result, 'nccl.rank.collective_count').map(({ reason }) => reason)).toEqual([
      'parse_error',
      'parse_error',
    ]);
    expect(samplesOf(result, 'nccl.rank.collective_count')).toMatchObject([{ value: -0.5, quality: 'suspect' }]);
  });

  test('the events of the monitor come one after the other', () => {
    const event = (name: string): string =>
      JSON.stringify({
        timestamp: 't',
        group: 'LIFECYCLE',
        event: name,
        peer: { host: 'h', pid: 5, nvml_devs: [1, 2] },
      });
    const result = decodeNcclRas(`${event('PEER_DEAD')}\n${event('PEER_JOIN')}\n`);
    expect(samplesOf(result, 'nccl.event').map(({ attributes }) => attributes['event'])).toEqual([
      'PEER_DEAD',
      'PEER_JOIN',
    ]);
    expect(result.samples[0]?.attributes).toMatchObject({ 'host.name': 'h', 'process.pid': '5', gpu: '1,2' });
  });

  test.each([
    ['cut off', status(2, [{ AllReduce: 7 }]).slice(0, -20)],
    ['of another kind', '{"a": 1}'],
    ['nested without end', '{"communicators":'.repeat(50_000)],
    ['empty', ''],
    ['not of NCCL', 'hello world'],
    ['an array', '[1,2]'],
  ])('an answer %s is refused', (_, text) => {
    expect(() => decodeNcclRas(text)).toThrow(REFUSED);
  });

  test('keys named like properties of objects are data', () => {
    const result = decodeNcclRas(status(1, [JSON.parse('{"__proto__": 3, "constructor": 4}')]));
    expect(valuesOf(result, 'nccl.rank.collective_count')).toEqual([3, 4]);
  });
});

describe('decodeNcclRas, text', () => {
  test('a line that is not known is told', () => {
    expect(warningCodes(decodeNcclRas('Warnings\n========\nSomething new happened\n'))).toEqual(['LW-DECODE-LINE']);
  });

  test('several missing ranks are each told', () => {
    const result = decodeNcclRas(
      '#0-0 (cf26) INCOMPLETE\n  Missing communicator data from 2 ranks\n  The missing ranks: 3, 21\n',
    );
    expect(samplesOf(result, 'nccl.rank.missing').map(({ attributes }) => attributes['rank'])).toEqual(['3', '21']);
    expect(valuesOf(result, 'nccl.ranks.missing', { 'nccl.communicator': 'cf26' })).toEqual([2]);
  });
});

describeCorpus('decodeNcclRas on answers of NCCL 2.28 and 2.29', () => {
  const decoded = (file: string): ReturnType<typeof decodeNcclRas> => decodeNcclRas(corpusText(`nccl-ras/${file}`));

  test('healthy: two ranks with two AllReduce each, nothing absent', () => {
    const result = decoded('healthy_2.28.9.json');
    expect(valuesOf(result, 'nccl.rank.collective_count', { 'nccl.op': 'AllReduce' })).toEqual([2, 2]);
    expect(valuesOf(result, 'nccl.ranks.missing')).toEqual([0]);
    expect([result.absent, result.warnings]).toEqual([[], []]);
  });

  test('the answer without its comma is repaired and said', () => {
    const result = decoded('dead_rank_2.28.9.invalid.json');
    expect(warningCodes(result)).toEqual(['LW-DECODE-REPAIRED']);
    expect(valuesOf(result, 'nccl.rank.collective_count', { rank: '0', 'nccl.op': 'AllReduce' })).toEqual([4]);
    expect(valuesOf(result, 'nccl.rank.missing', { rank: '1', 'process.pid': '10017', gpu: '1' })).toEqual([1]);
  });

  test('missing rank: one present, one missing and unresponsive', () => {
    const result = decoded('missing_rank_2.29.1.json');
    expect([valuesOf(result, 'nccl.ranks.present'), valuesOf(result, 'nccl.ranks.missing')]).toEqual([[1], [1]]);
    expect(result.warnings).toEqual([]);
  });

  test('monitor: the peer that died', () => {
    expect(decoded('monitor_peer_dead_2.29.json').samples).toMatchObject([
      { metric: 'nccl.event', value: 1, attributes: { event: 'PEER_DEAD', 'process.pid': '1524345', gpu: '1' } },
    ]);
  });

  test('text: job summary and groups', () => {
    expect(valuesOf(decoded('text_job_summary.txt'), 'nccl.job.size')).toEqual([4, 8, 1, 32, 32]);
    const groups = decoded('text_communicators_ok.txt');
    expect(valuesOf(groups, 'nccl.communicators', { 'nccl.group': '0' })).toEqual([8]);
    expect(valuesOf(groups, 'nccl.communicator.healthy')).toEqual([1]);
    expect(samplesOf(decoded('text_communicators_mismatch.txt'), 'nccl.communicator.healthy')).toMatchObject([
      { value: 0, attributes: { status: 'RUNNING', 'error.type': 'MISMATCH' } },
    ]);
  });

  test('text: 26 ranks ahead, six behind by one, and which', () => {
    const result = decoded('text_warning_mismatch.txt');
    expect(valuesOf(result, 'nccl.communicator.ranks_at_operation', { operation: '6650' })).toEqual([26]);
    expect(valuesOf(result, 'nccl.communicator.ranks_at_operation', { operation: '6649' })).toEqual([6]);
    expect(samplesOf(result, 'nccl.rank.mismatched').map(({ attributes }) => attributes['rank'])).toEqual([
      '0',
      '2',
      '3',
      '4',
      '5',
      '7',
    ]);
    expect(result.warnings).toEqual([]);
  });

  test('text: an incomplete group has a range of ranks a node, a missing rank and timeouts', () => {
    const result = decoded('text_incomplete.txt');
    expect(valuesOf(result, 'nccl.communicator.shape', { what: 'ranks_per_node', bound: 'min' })).toEqual([7]);
    expect(valuesOf(result, 'nccl.communicator.shape', { what: 'ranks_per_node', bound: 'max' })).toEqual([8]);
    expect(valuesOf(result, 'nccl.rank.missing', { rank: '21' })).toEqual([1]);
    expect(valuesOf(result, 'nccl.ras.timeouts')).toEqual([2]);
    expect(absentOf(result, 'nccl.rank.collective_count')).toMatchObject([
      { attributes: { 'process.pid': '3487984', gpu: '5' }, reason: 'lost' },
    ]);
    expect(result.warnings).toEqual([]);
  });
});
