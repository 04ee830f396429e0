import { describe, expect, test } from 'vitest';
import { parseXml } from '../../src/files/xml-document.ts';
import { decodeNvidiaSmiXml as decodeWith } from '../../src/formats/nvidia-smi-xml.ts';
import type { DecodeResult } from '../../src/formats/decode-result.ts';
import { absentOf, corpusFiles, corpusText, describeCorpus, samplesOf, valuesOf, warningCodes } from './corpus.ts';

const MIB = 1_048_576;

function decodeNvidiaSmiXml(text: string): DecodeResult {
  return decodeWith(text, parseXml);
}

/** A document of one GPU with `body` inside, as driver 535 prints it. */
function log(body: string, version = '12'): string {
  return `<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v${version}.dtd">
<nvidia_smi_log><driver_version>535.54.03</driver_version><attached_gpus>1</attached_gpus>
<gpu id="00000000:01:00.0"><product_name>GPU of the test</product_name><uuid>GPU-1</uuid>${body}</gpu></nvidia_smi_log>`;
}

const REFUSED = expect.objectContaining({ code: 'LW-INPUT' });

describe('decodeNvidiaSmiXml', () => {
  test.each([
    ['11', '<power_readings><power_draw>26.78 W</power_draw></power_readings>', {}],
    ['12', '<gpu_power_readings><power_draw>26.78 W</power_draw></gpu_power_readings>', {}],
    [
      '13',
      '<gpu_power_readings><instant_power_draw>26.78 W</instant_power_draw></gpu_power_readings>',
      { 'power.window': 'instant' },
    ],
    [
      '12',
      '<gpu_power_readings><average_power_draw>26.78 W</average_power_draw></gpu_power_readings>',
      { 'power.window': 'average' },
    ],
  ])('power is read under the tags of DTD v%s', (version, body, attributes) => {
    expect(valuesOf(decodeNvidiaSmiXml(log(body, version)), 'hw.power', attributes)).toEqual([26.78]);
  });

  test('the limit in force and the limit asked for keep their meaning from v11 to v12', () => {
    const old = decodeNvidiaSmiXml(
      log(
        '<power_readings><power_limit>300 W</power_limit><enforced_power_limit>250 W</enforced_power_limit></power_readings>',
        '11',
      ),
    );
    const later = decodeNvidiaSmiXml(
      log(
        '<gpu_power_readings><requested_power_limit>300 W</requested_power_limit><current_power_limit>250 W</current_power_limit></gpu_power_readings>',
      ),
    );
    expect(later.samples).toEqual(old.samples);
    expect(valuesOf(later, 'hw.power.limit', { 'hw.limit_type': 'enforced' })).toEqual([250]);
  });

  test('throttle reasons are read under both names', () => {
    const old =
      '<clocks_throttle_reasons><clocks_throttle_reason_sw_power_cap>Active</clocks_throttle_reason_sw_power_cap></clocks_throttle_reasons>';
    for (const body of [old, old.replaceAll('throttle', 'event')])
      expect(valuesOf(decodeNvidiaSmiXml(log(body)), 'hw.gpu.throttle.active', { reason: 'sw_power_cap' })).toEqual([
        1,
      ]);
  });

  test('a version that is not known is read by tag and told', () => {
    const result = decodeNvidiaSmiXml(log('<fb_memory_usage><used>7 MiB</used></fb_memory_usage><warp>9</warp>', '99'));
    expect(valuesOf(result, 'hw.gpu.memory.usage')).toEqual([7 * MIB]);
    expect(result.warnings.map(({ code, message }) => `${code} ${message}`)).toEqual([
      'LW-DECODE-VERSION DTD version 99, known are 10 to 13',
      'LW-DECODE-UNKNOWN-FIELD warp',
    ]);
  });

  test('negative thresholds of v13 are read', () => {
    const body = '<temperature><gpu_temp_max_tlimit_threshold>-5 C</gpu_temp_max_tlimit_threshold></temperature>';
    expect(valuesOf(decodeNvidiaSmiXml(log(body, '13')), 'hw.gpu.temperature.margin.limit')).toEqual([-5]);
  });

  test('remapped rows are a group or one text for all of it', () => {
    const group =
      '<remapped_rows><remapped_row_corr>3</remapped_row_corr><remapped_row_pending>Yes</remapped_row_pending></remapped_rows>';
    const counted = decodeNvidiaSmiXml(log(group));
    expect(valuesOf(counted, 'hw.gpu.rows.remapped', { 'error.type': 'corrected' })).toEqual([3]);
    expect(valuesOf(counted, 'hw.gpu.rows.remap_pending')).toEqual([1]);
    const none = decodeNvidiaSmiXml(
      log('<mig_mode><current_mig>Enabled</current_mig></mig_mode><remapped_rows>N/A</remapped_rows>'),
    );
    expect(absentOf(none, 'hw.gpu.rows.remapped').map(({ reason }) => reason)).toEqual([
      'mig_unsupported',
      'mig_unsupported',
    ]);
  });

  test('supported clocks are not read, not even when they are not well-formed', () => {
    const result = decodeNvidiaSmiXml(
      log('<supported_clocks><supported_mem_clock>naked<value>1 MHz</supported_clocks><fan_speed>30 %</fan_speed>'),
    );
    expect(valuesOf(result, 'hw.fan.speed_ratio')).toEqual([0.3]);
  });

  test('process names keep their characters: entities of XML once, replacement characters as they are', () => {
    const body =
      '<processes><process_info><pid>7</pid><process_name>a &amp;lt; b \ufffd</process_name><used_memory>2 MiB</used_memory></process_info></processes>';
    expect(samplesOf(decodeNvidiaSmiXml(log(body)), 'process.gpu.memory.usage')).toMatchObject([
      { value: 2 * MIB, attributes: { 'process.pid': '7', 'process.name': 'a &lt; b \ufffd' } },
    ]);
  });

  test('two GPUs of one document stay apart', () => {
    const two = log(
      '<fan_speed>10 %</fan_speed></gpu><gpu id="00000000:02:00.0"><uuid>GPU-2</uuid><fan_speed>20 %</fan_speed>',
    );
    const result = decodeNvidiaSmiXml(two);
    expect(valuesOf(result, 'hw.fan.speed_ratio', { 'hw.id': 'GPU-1' })).toEqual([0.1]);
    expect(valuesOf(result, 'hw.fan.speed_ratio', { 'hw.id': 'GPU-2' })).toEqual([0.2]);
    expect(warningCodes(result)).toEqual(['LW-DECODE-GPU-COUNT']);
  });

  test('of a tag that repeats in one GPU the first counts and it is told; attributes and CDATA do not hide a text', () => {
    const result = decodeNvidiaSmiXml(
      log(
        '<fan_speed>30 %</fan_speed><fan_speed>40 %</fan_speed><fb_memory_usage><used unit="x">1 MiB</used></fb_memory_usage><fb_memory_usage><used>2 MiB</used></fb_memory_usage><utilization><gpu_util><![CDATA[50 %]]></gpu_util></utilization>',
      ),
    );
    expect(result.samples.map(({ value }) => value)).toEqual([0.3, MIB, 0.5]);
    expect(result.warnings.map(({ message }) => message)).toEqual([
      'fan_speed occurs twice in one GPU',
      'fb_memory_usage occurs twice in one GPU',
    ]);
  });

  test('a document cut off anywhere is refused, never half read', () => {
    const whole = log('<fb_memory_usage><total>81920 MiB</total></fb_memory_usage>');
    for (let end = 0; end < whole.length - 1; end += 7)
      expect(() => decodeNvidiaSmiXml(whole.slice(0, end)), `cut at ${end}`).toThrow(REFUSED);
  });

  test('declared entities are refused unread: a billion laughs, a file, a parameter entity', () => {
    const laughs = Array.from(
      { length: 10 },
      (_, level) => `<!ENTITY l${level + 1} "${`&l${level};`.repeat(10)}">`,
    ).join('');
    for (const declaration of [
      `<!ENTITY l0 "ha">${laughs}`,
      '<!ENTITY x SYSTEM "file:///etc/passwd">',
      '<!entity % p "x">',
    ])
      expect(() =>
        decodeNvidiaSmiXml(
          `<!DOCTYPE nvidia_smi_log [${declaration}]><nvidia_smi_log><gpu><uuid>&l10;</uuid></gpu></nvidia_smi_log>`,
        ),
      ).toThrow(REFUSED);
  });

  test('a hundred thousand nested elements and 17 MiB of text are refused', () => {
    expect(() => decodeNvidiaSmiXml(`<nvidia_smi_log>${'<a>'.repeat(100_000)}`)).toThrow(REFUSED);
    expect(() => decodeNvidiaSmiXml(log(`<serial>${' '.repeat(17 * MIB)}</serial>`))).toThrow(REFUSED);
  });

  test('a text field of 2 MB is carried without a value made of it', () => {
    const result = decodeNvidiaSmiXml(
      log(`<fb_memory_usage><used>${'9'.repeat(2_000_000)} MiB</used></fb_memory_usage>`),
    );
    expect(result.samples).toEqual([]);
    expect(absentOf(result, 'hw.gpu.memory.usage')).toMatchObject([{ reason: 'parse_error' }]);
  });

  test('tags named like properties of objects are refused and change nothing', () => {
    for (const tag of ['constructor', '__proto__', 'prototype'])
      expect(() => decodeNvidiaSmiXml(log(`<${tag}><polluted>1</polluted></${tag}>`))).toThrow(REFUSED);
    expect({}).not.toHaveProperty('polluted');
  });

  test.each(['', '<html></html>', 'NVIDIA-SMI has failed', '<nvidia_smi_log></nvidia_smi_lo>', '{"gpu":1}'])(
    '%j is refused',
    (text) => {
      expect(() => decodeNvidiaSmiXml(text)).toThrow(REFUSED);
    },
  );
});

const FACTORS: Readonly<Record<string, readonly [string, number]>> = {
  MiB: ['By', MIB],
  W: ['W', 1],
  C: ['Cel', 1],
  MHz: ['Hz', 1_000_000],
  mV: ['V', 0.001],
  'KB/s': ['By/s', 1_000],
};

/** Every `<tag>number unit</tag>` of a document outside the supported clocks, by a scan that knows no tag: `unit value`. */
function printedQuantities(xml: string): readonly string[] {
  const without = xml.replace(/<supported_clocks>[\s\S]*?<\/supported_clocks>/g, '');
  const found = [...without.matchAll(/>\s*(-?\d+(?:\.\d+)?) (MiB|W|C|MHz|mV|KB\/s)\s*</g)].map((match) => {
    const [unit, factor] = FACTORS[match[2] ?? ''] ?? ['', 0];
    return `${unit} ${Math.round(Number(match[1]) * factor * 1_000) / 1_000}`;
  });
  return found.toSorted();
}

describeCorpus('decodeNvidiaSmiXml on documents of five machines', () => {
  test.each(corpusFiles('nvidia-smi-xml', '.xml'))(
    '%s: all printed quantities come out, once each, and nothing else',
    (file) => {
      const text = corpusText(`nvidia-smi-xml/${file}`);
      const units = new Set(Object.values(FACTORS).map(([unit]) => unit));
      const found = decodeNvidiaSmiXml(text)
        .samples.filter(({ unit }) => units.has(unit))
        .map(({ unit, value }) => `${unit} ${Math.round(Number(value) * 1_000) / 1_000}`);
      expect(found.toSorted()).toEqual(printedQuantities(text));
    },
  );

  test.each(corpusFiles('nvidia-smi-xml', '.xml'))('%s: all values are ok', (file) => {
    const { samples } = decodeNvidiaSmiXml(corpusText(`nvidia-smi-xml/${file}`));
    expect(samples.filter(({ quality }) => quality !== 'ok')).toEqual([]);
  });

  test('tesla-t4: named values are where they belong', () => {
    const result = decodeNvidiaSmiXml(corpusText('nvidia-smi-xml/tesla-t4.xml'));
    expect(valuesOf(result, 'hw.gpu.memory.usage')).toEqual([1032 * MIB]);
    expect(valuesOf(result, 'hw.gpu.memory.limit')).toEqual([15_360 * MIB]);
    expect(valuesOf(result, 'hw.power')).toEqual([26.78]);
    expect(valuesOf(result, 'hw.gpu.pcie.width', { scope: 'current' })).toEqual([8]);
    expect(valuesOf(result, 'hw.gpu.speed', { clock_domain: 'memory' })).toEqual([5_000_000_000]);
    expect(valuesOf(result, 'process.gpu.memory.usage', { 'process.pid': '5762' })).toEqual([1005 * MIB]);
    expect(absentOf(result, 'hw.fan.speed_ratio')).toMatchObject([{ reason: 'unsupported' }]);
    expect(result.inventory).toMatchObject([{ name: 'Tesla T4', driver: '515.105.01', mig: [] }]);
  });

  test('a100 under MIG: parent utilisation mig_unsupported, four devices with their memory, the missing GPUs told', () => {
    const result = decodeNvidiaSmiXml(corpusText('nvidia-smi-xml/a100-sxm4-v12.xml'));
    expect(absentOf(result, 'hw.gpu.utilization').map(({ reason }) => reason)).toEqual(
      Array.from({ length: 5 }, () => 'mig_unsupported'),
    );
    for (const gi of ['3', '4', '5', '6']) {
      expect(valuesOf(result, 'hw.gpu.memory.limit', { 'mig.gi': gi })).toEqual([19_968 * MIB]);
      expect(valuesOf(result, 'hw.gpu.mig.multiprocessors', { 'mig.gi': gi })).toEqual([14]);
    }
    expect(valuesOf(result, 'hw.gpu.voltage')).toEqual([0.9125]);
    expect(result.inventory[0]?.mig.map((device) => device['gpu_instance_id'])).toEqual([3, 4, 5, 6]);
    expect(result.warnings).toEqual([
      { code: 'LW-DECODE-GPU-COUNT', message: 'attached_gpus says 4, the document holds 1' },
    ]);
  });

  test('rtx-3090 v13: deprecated texts are deprecated, the throttle counter is in seconds', () => {
    const result = decodeNvidiaSmiXml(corpusText('nvidia-smi-xml/3090-v13.xml'));
    expect(absentOf(result, 'hw.gpu.speed.application', { setting: 'current' }).map(({ reason }) => reason)).toEqual([
      'deprecated',
      'deprecated',
    ]);
    expect(absentOf(result, 'hw.gpu.info', { field: 'display_mode' })).toMatchObject([{ reason: 'deprecated' }]);
    expect(valuesOf(result, 'hw.gpu.throttle.time', { reason: 'sw_power_cap' })).toEqual([9_840.338777]);
    expect(valuesOf(result, 'hw.gpu.throttle.active', { reason: 'sw_power_cap' })).toEqual([1]);
    expect(valuesOf(result, 'hw.power', { 'power.window': 'instant' })).toEqual([35.15]);
  });

  test('rtx-3080: memory of all five processes, commas and blanks in their names kept', () => {
    const result = decodeNvidiaSmiXml(corpusText('nvidia-smi-xml/rtx-3080-v12.xml'));
    expect(valuesOf(result, 'process.gpu.memory.usage', { 'process.pid': '835' })).toEqual([550 * MIB]);
    expect(samplesOf(result, 'process.gpu.memory.usage')).toHaveLength(5);
    expect(
      samplesOf(result, 'process.gpu.memory.usage', { 'process.pid': '2214' })[0]?.attributes['process.name'],
    ).toContain('--enable-crash-reporter=, --change-stack-guard-on-fork=enable');
  });
});
