import { describe, expect, test } from 'vitest';
import { readInfinibandTree } from '../../src/files/infiniband-tree.ts';
import { decodeInfiniband, type SysFile } from '../../src/formats/infiniband.ts';
import { absentOf, CORPUS, describeCorpus, samplesOf, valuesOf, warningCodes } from './corpus.ts';

const REFUSED = expect.objectContaining({ code: 'LW-INPUT' });

function port(files: Readonly<Record<string, string>>): readonly SysFile[] {
  return Object.entries(files).map(([name, text]) => ({
    path: `/sys/class/infiniband/mlx5_0/ports/1/${name}`,
    text: `${text}\n`,
  }));
}

describe('decodeInfiniband', () => {
  test('data counters count 4-byte words on every link width', () => {
    for (const rate of ['100 Gb/sec (4X EDR)', '25 Gb/sec (1X EDR)', '200 Gb/sec (2X NDR)'])
      expect(valuesOf(decodeInfiniband(port({ 'counters/port_xmit_data': '1000', rate })), 'hw.network.io')).toEqual([
        4000,
      ]);
  });

  test('bytes beyond 2^53 stay exact', () => {
    const result = decodeInfiniband(port({ 'counters/port_rcv_data': '4611686018427387903' }));
    expect(valuesOf(result, 'hw.network.io')).toEqual([18_446_744_073_709_551_612n]); // (2^62 − 1) × 4
  });

  test.each([
    ['100 Gb/sec (4X EDR)', 12_500_000_000],
    ['2.5 Gb/sec (1X SDR)', 312_500_000],
    ['40 Gb/sec', 5_000_000_000],
  ])('the rate %s is an eighth of its bits in bytes', (rate, bytes) => {
    expect(valuesOf(decodeInfiniband(port({ rate })), 'hw.network.bandwidth.limit')).toEqual([bytes]);
  });

  test('states are their number with their word', () => {
    const result = decodeInfiniband(port({ state: '1: DOWN', phys_state: '3: Disabled' }));
    expect(samplesOf(result, 'hw.network.port.state')).toMatchObject([
      { value: 1, attributes: { 'hw.state': 'DOWN' } },
    ]);
    expect(samplesOf(result, 'hw.network.port.physical_state')).toMatchObject([{ value: 3 }]);
  });

  test('a counter that the card lacks, or answers N/A for, is absent', () => {
    const result = decodeInfiniband(port({ state: '4: ACTIVE', 'counters/port_xmit_data': 'N/A (no PMA)' }));
    expect(absentOf(result, 'hw.network.io').map(({ reason }) => reason)).toEqual(['unsupported', 'unsupported']);
    expect(absentOf(result, 'hw.network.rdma.events', { event: 'out_of_sequence' })).toMatchObject([
      { reason: 'unsupported' },
    ]);
    expect(result.samples).toHaveLength(1);
  });

  test('RoCE counters are read, those without a name of ours too', () => {
    const result = decodeInfiniband(
      port({ 'hw_counters/np_cnp_sent': '12', 'hw_counters/new_event': '3', 'hw_counters/lifespan': '10' }),
    );
    expect(valuesOf(result, 'hw.network.rdma.events', { event: 'np_cnp_sent' })).toEqual([12]);
    expect(valuesOf(result, 'hw.network.rdma.events', { event: 'new_event' })).toEqual([3]);
    expect(samplesOf(result, 'hw.network.rdma.events', { event: 'lifespan' })).toEqual([]);
  });

  test('a counter at the end of its register is suspect', () => {
    const result = decodeInfiniband(
      port({ 'counters/port_xmit_data': '4294967295', 'counters/symbol_error': '65535' }),
    );
    expect(result.samples.map(({ quality }) => quality)).toEqual(['suspect', 'suspect']);
  });

  test.each(['-5', '1.5', '12 34', 'abc', '9'.repeat(21)])('the counter text %s is no value', (text) => {
    const result = decodeInfiniband(port({ 'counters/link_downed': text }));
    expect(result.samples).toEqual([]);
    expect(absentOf(result, 'hw.errors', { 'error.type': 'link_downed' })).toMatchObject([{ reason: 'parse_error' }]);
    expect(warningCodes(result)).toEqual(['LW-DECODE-LINE']);
  });

  test('two ports of two devices stay apart', () => {
    const files = ['mlx5_0', 'mlx5_1'].map((device, index) => ({
      path: `${device}/ports/${index + 1}/counters/link_downed`,
      text: `${index}`,
    }));
    const result = decodeInfiniband(files);
    expect(
      valuesOf(result, 'hw.errors', { 'hw.id': 'mlx5_1', 'network.port': '2', 'error.type': 'link_downed' }),
    ).toEqual([1]);
    expect(result.inventory.map((item) => item['hw.id'])).toEqual(['mlx5_0', 'mlx5_1']);
  });

  test('files that belong to no port are refused', () => {
    expect(() => decodeInfiniband([])).toThrow(REFUSED);
    expect(() => decodeInfiniband([{ path: '/proc/stat', text: 'cpu' }])).toThrow(REFUSED);
  });
});

describeCorpus('decodeInfiniband on an mlx4 card', () => {
  const places = ['procfs', 'procfs/sys', 'procfs/sys/class/infiniband', 'procfs/sys/class/infiniband/mlx4_0'];

  test.each(places)('%s: both ports, data times four, newer counters absent', async (place) => {
    const result = decodeInfiniband(await readInfinibandTree(`${CORPUS}${place}`, '/'));
    const bytes = (network: string): readonly unknown[] =>
      valuesOf(result, 'hw.network.io', { 'network.port': network });
    // port_xmit_data, port_rcv_data of the files × 4
    expect(bytes('1')).toEqual([26_509_113_295 * 4, 2_221_223_609 * 4]);
    expect(bytes('2')).toEqual([26_540_356_890 * 4, 2_460_436_784 * 4]);
    expect(valuesOf(result, 'hw.network.transmit.wait')).toEqual([3599, 3846]);
    expect(valuesOf(result, 'hw.network.bandwidth.limit')).toEqual([5e9, 5e9]);
    expect(valuesOf(result, 'hw.errors').every((value) => value === 0)).toBe(true);
    expect(valuesOf(result, 'hw.errors')).toHaveLength(2 * 12);
    // per port: four unicast and multicast counters, eight hw_counters
    expect(result.absent).toHaveLength(2 * (4 + 8));
    expect(result.inventory).toMatchObject([{ 'hw.id': 'mlx4_0', name: 'MT4099', firmware: '2.31.5050' }]);
  });

  test.each(['', 'ports/2', 'ports'])('one device, its ports or one port is enough: %s', async (below) => {
    const files = await readInfinibandTree(`${CORPUS}procfs/sys/class/infiniband/mlx4_0/${below}`, '/');
    expect(
      valuesOf(decodeInfiniband(files), 'hw.network.packets', {
        'network.port': '2',
        'network.io.direction': 'transmit',
      }),
    ).toEqual([88_622_850]);
  });

  test('a place without a device, a file and nothing are refused', async () => {
    const failure = { code: 'LW-INPUT-FILE' };
    await expect(readInfinibandTree(`${CORPUS}nccl-ras`, '/')).rejects.toMatchObject(failure);
    await expect(readInfinibandTree(`${CORPUS}README.md`, '/')).rejects.toMatchObject(failure);
    await expect(readInfinibandTree('nowhere', CORPUS)).rejects.toMatchObject(failure);
  });
});
