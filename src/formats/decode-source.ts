import { decodeDcgm } from './dcgm.ts';
import type { DecodeResult, Sample } from './decode-result.ts';
import { decodeNcclInspector } from './nccl-inspector.ts';
import { decodeNcclRas } from './nccl-ras.ts';
import { decodeNvidiaSmiCsv } from './nvidia-smi-csv.ts';
import { decodeNvidiaSmiNvlink, decodeNvidiaSmiTopo } from './nvidia-smi-links.ts';
import { decodeNvidiaSmiList } from './nvidia-smi-list.ts';
import { decodeNvidiaSmiDmon, decodeNvidiaSmiPmon } from './nvidia-smi-monitor.ts';
import { decodeNvidiaSmiXml } from './nvidia-smi-xml.ts';
import { decodePrometheus } from './prometheus.ts';
import { decodeTriton } from './triton.ts';
import type { XmlRead } from './xml-node.ts';

/** Decoders of sources that are one text, by the word of `--source` (contract: cli.md "leeway decode"). */
export function textDecoders(readXml: XmlRead): ReadonlyMap<string, (text: string) => DecodeResult> {
  return new Map([
    ['nvidia-smi-xml', (text) => decodeNvidiaSmiXml(text, readXml)],
    ['nvidia-smi-csv', decodeNvidiaSmiCsv],
    ['nvidia-smi-pmon', decodeNvidiaSmiPmon],
    ['nvidia-smi-dmon', decodeNvidiaSmiDmon],
    ['nvidia-smi-nvlink', decodeNvidiaSmiNvlink],
    ['nvidia-smi-topo', decodeNvidiaSmiTopo],
    ['nvidia-smi-list', decodeNvidiaSmiList],
    ['dcgm', decodeDcgm],
    ['triton', decodeTriton],
    ['prometheus', decodePrometheus],
    ['ncclras', decodeNcclRas],
    ['nccl-inspector', decodeNcclInspector],
  ]);
}

/** A value older than this against the time of reading is stale: Prometheus's look-back of five minutes. */
const STALE_AFTER_MS = 300_000;

/** The result as read at `at_ms` (Unix ms): samples without a time of their own get it, older ones are stale. */
export function observedAt(result: DecodeResult, at_ms: number): DecodeResult {
  const samples = result.samples.map((sample): Sample => {
    if (sample.at_ms === undefined) return { ...sample, at_ms };
    return at_ms - sample.at_ms > STALE_AFTER_MS ? { ...sample, quality: 'stale' } : sample;
  });
  return { ...result, samples };
}
