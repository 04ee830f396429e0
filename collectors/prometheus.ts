import Type, { type Static } from 'typebox';
import type { Clock } from '../src/core/clock.ts';
import { defineCollector, type OpenCollector } from '../src/core/define.ts';
import { LeewayError, systemCode } from '../src/core/errors.ts';
import { ok, type Outcome, reject, retry } from '../src/core/outcome.ts';
import type { LeewayRecord } from '../src/core/records.ts';
import type { ExportedHost } from '../src/formats/exporter-records.ts';
import type { ScrapedServing } from '../src/formats/scraped-serving.ts';
import { type CpuTimes, cpuShares } from '../src/formats/proc-stat.ts';

const target = Type.Object({
  /** The whole address, path included: `http://10.0.0.7:9400/metrics`. */
  url: Type.String({
    pattern: '^https?://[^\\s]+$',
    maxLength: 2048,
    description: 'an address that starts with https:// or http://',
  }),
  /** Name of the machine in its records; null = what the exporter says, else the host of the address. */
  node: Type.Union([Type.Null(), Type.String({ minLength: 1, maxLength: 512 })], { default: null }),
  timeout_ms: Type.Integer({ minimum: 1, maximum: 600_000, default: 5_000 }),
});
const config = Type.Object({
  /** Exporters refresh every 5 to 30 s; asking more often repeats old values under new times. */
  interval_ms: Type.Integer({ minimum: 100, maximum: 86_400_000, default: 10_000 }),
  targets: Type.Array(target, { maxItems: 1_000, default: [] }),
});

/** A dcgm-exporter of 16 GPUs answers 200 KiB, a large kube-state-metrics 10 MiB. */
const BODY_BYTES_MAX = 16 * 1_048_576;
/** Targets asked at once: at most 4 × 16 MiB of text in memory. */
const LANES = 4;

/**
 * Exporters of other machines, scraped as Prometheus does: dcgm-exporter becomes `gpu` records, node-exporter `host`
 * records, the metrics of model servers (vLLM, NIM, TGI, Triton, KServe, BentoML) `inference` records, one a scrape and one
 * scrape late. Samples of other families are counted as LW-DECODE-UNKNOWN-FIELD and not kept. A target that does not answer
 * is counted under its reason and costs nothing but itself; loopback and private addresses are the normal case here,
 * since only the operator's file names targets.
 */
export const collector = defineCollector({
  name: 'prometheus',
  about: 'GPUs, machines and model servers behind their exporters, scraped',
  config,
  open: async ({ settings, clock }): Promise<OpenCollector> => {
    if (settings.targets.length === 0)
      return {
        collect: async () => reject('LW-NOT-FOUND', 'absent: no targets configured'),
        [Symbol.asyncDispose]: async () => undefined,
      };
    const rejected: Record<string, number> = {};
    const scrapers = settings.targets.map((one) => createScraper(one, clock, rejected));
    return {
      collect: (signal) => scrapeAll(scrapers, rejected, signal),
      rejected: () => rejected,
      [Symbol.asyncDispose]: async () => undefined,
    };
  },
});

type Scraper = (signal: AbortSignal) => Promise<Outcome<readonly LeewayRecord[]>>;

/** Records of all targets that answered; retry only when none did. */
async function scrapeAll(
  scrapers: readonly Scraper[],
  rejected: Record<string, number>,
  signal: AbortSignal,
): Promise<Outcome<readonly LeewayRecord[]>> {
  const waiting = [...scrapers];
  const outcomes: Outcome<readonly LeewayRecord[]>[] = [];
  const lane = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) outcomes.push(await next(signal));
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  const records: LeewayRecord[] = [];
  let failure: Outcome<readonly LeewayRecord[]> | null = null;
  let answered = 0;
  for (const outcome of outcomes) {
    if (outcome.kind === 'ok') {
      answered++;
      for (const record of outcome.value) records.push(record);
    } else {
      rejected[outcome.code] = (rejected[outcome.code] ?? 0) + 1;
      failure ??= outcome;
    }
  }
  return answered === 0 && failure !== null ? failure : ok(records);
}

function createScraper(
  { url, node, timeout_ms }: Static<typeof target>,
  clock: Clock,
  rejected: Record<string, number>,
): Scraper {
  const fallback_node = new URL(url).hostname;
  let before: CpuTimes | null = null;
  let serving: ScrapedServing | null = null;
  return async (signal) => {
    const at_ms = clock.now_ms();
    const text = await fetchText(url, { timeout_ms, clock, signal });
    if (text.kind !== 'ok') return text;
    // only where something is scraped
    const { exporterRecords } = await import('../src/formats/exporter-records.ts');
    serving ??= new (await import('../src/formats/scraped-serving.ts')).ScrapedServing(new URL(url).host);
    try {
      const exported = exporterRecords(text.value, { at_ms, node, fallback_node }, serving);
      const { host, unmapped } = exported;
      const records = [...exported.gpus, ...exported.serving];
      if (unmapped > 0) rejected['LW-DECODE-UNKNOWN-FIELD'] = (rejected['LW-DECODE-UNKNOWN-FIELD'] ?? 0) + unmapped;
      if (host === null) return ok(records);
      const record = hostRecord(host, before, { node: node ?? host.node ?? fallback_node, at_ms });
      before = host.cpu;
      return ok(record === null ? records : [...records, record]);
    } catch (error) {
      if (error instanceof LeewayError) return retry(error.code, `${url}: ${error.message}`);
      throw error;
    }
  };
}

/** Null at the first reading: shares need two. */
function hostRecord(
  host: ExportedHost,
  before: CpuTimes | null,
  at: { node: string; at_ms: number },
): LeewayRecord | null {
  if (before === null) return null;
  const shares = cpuShares(before, host.cpu);
  const { memory_used_bytes } = host;
  const values = {
    cpu_utilization: shares?.cpu_utilization ?? null,
    iowait: shares?.iowait ?? null,
    memory_used_bytes,
  };
  const entries = Object.entries(values);
  const absent = entries.filter(([, value]) => value === null).map(([name]) => [name, 'lost']);
  return {
    type: 'host',
    ...at,
    ...Object.fromEntries(entries.flatMap(([name, value]) => (value === null ? [] : [[name, value]]))),
    ...(absent.length > 0 ? { quality: Object.fromEntries(absent) } : {}),
  };
}

type FetchOptions = { readonly timeout_ms: number; readonly clock: Clock; readonly signal: AbortSignal };

async function fetchText(url: string, { timeout_ms, clock, signal }: FetchOptions): Promise<Outcome<string>> {
  const limit = new AbortController();
  const done = new AbortController();
  const stop = (): void => limit.abort();
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { signal: done.signal });
  clock.sleep(timeout_ms, done.signal).then(stop, () => undefined); // answered in time
  try {
    const headers = { accept: 'text/plain;version=0.0.4' };
    const response = await fetch(url, { headers, redirect: 'manual', signal: limit.signal });
    if (response.status !== 200) return retry('LW-UNREACHABLE', `${url}: answered ${response.status}, expected 200`);
    return await textOf(url, response);
  } catch (error) {
    if (limit.signal.aborted) return retry('LW-TIMEOUT', `${url}: no whole answer within ${timeout_ms} ms`);
    const cause: unknown = error instanceof Error ? error.cause : undefined;
    return retry('LW-UNREACHABLE', `${url}: no answer (${systemCode(cause) ?? systemCode(error) ?? 'unknown reason'})`);
  } finally {
    done.abort();
    limit.abort(); // ends a body that was not read
  }
}

async function textOf(url: string, response: Response): Promise<Outcome<string>> {
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) return retry('LW-BODY-SIZE', `${url}: answers more than ${BODY_BYTES_MAX} bytes`);
    text += decoder.decode(chunk, { stream: true });
  }
  return ok(text + decoder.decode());
}
