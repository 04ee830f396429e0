import { metricOf } from '../core/catalog.ts';
import { recordQuality } from '../core/quality.ts';
import type { LeewayRecord } from '../core/records.ts';
import type { SeriesRow } from '../core/samples.ts';
import type { GpuMapping } from './catalog-mapping.ts';
import { blankReason, throttleReasons } from './dcgm.ts';
import { gpuKey, type GpuName, gpuName, type GpuPlace, gpuPlace, GpuReading } from './gpu-reading.ts';
import { scaled } from './quantity.ts';
import { machineName, scrapedHost } from './serving-name.ts';
import { MOMENT_MS } from './serving-windows.ts';

/** The smallest sentinel of dcgm_fields.h. */
const BLANK_MIN = 2_147_483_632;
/** What is left of the four sentinels of 64 bits in a double. */
const BLANK_DOUBLE = 2 ** 63;

type Device = {
  readonly key: string;
  readonly name: GpuName;
  readonly fallback_node: string;
  series_count: number;
  readings: Map<number, GpuReading>;
};

/** A series whose values go into the records of one device. */
export type GpuSeries = {
  readonly device: Device;
  readonly mapping: GpuMapping;
  readonly place: GpuPlace;
  /** Changes since the last point are summed to the total that the record holds. */
  readonly isDelta: boolean;
  total: number;
  at_ms: number;
};

/**
 * GPU series as `gpu` records: what one body says of a device at one moment is one record, as a scrape of the same exporter
 * would make it (formats/exporter-records.ts). Nothing is carried from body to body, so the same body gives the same
 * records; a scrape that a sender cuts in two gives two records of one time, each with its fields.
 */
export class MappedGpus {
  readonly #devices = new Map<string, Device>();
  #touched = new Set<Device>();

  /** A further series, or null: it names no device, has no place in the record or tells changes of a level. */
  series(row: SeriesRow, mapping: GpuMapping, source: string): GpuSeries | null {
    const place = gpuPlace(mapping.metric, mapping.attributes);
    const name = gpuName(mapping.attributes);
    if (place === null || name === null || row.kind === 'up_down_delta') return null;
    const isDelta = row.kind === 'counter_delta';
    if (isDelta && mapping.kind !== 'counter') return null;
    const fallback_node = machineName(row.labels) ?? scrapedHost(row.labels) ?? source;
    const key = `${fallback_node}|${gpuKey(name)}`;
    const known = this.#devices.get(key);
    const device: Device = known ?? { key, name, fallback_node, series_count: 0, readings: new Map() };
    device.series_count++;
    this.#devices.set(key, device);
    return { device, mapping, place, isDelta, total: 0, at_ms: Number.NEGATIVE_INFINITY };
  }

  /** Forgets a series, and its device with the last one. */
  forget({ device }: GpuSeries): void {
    device.series_count--;
    if (device.series_count === 0) this.#devices.delete(device.key);
  }

  /** One value of a series; `text` its digits. */
  put(series: GpuSeries, at_ms: number, value: number, text: () => string): void {
    const { device, place, mapping } = series;
    this.#touched.add(device);
    const reading = device.readings.get(at_ms) ?? new GpuReading(device.name);
    device.readings.set(at_ms, reading);
    if (!Number.isFinite(value)) return reading.absent(place, 'lost');
    if (mapping.dcgm && value >= BLANK_MIN) {
      const blank =
        blankReason({ text: text(), type: mapping.kind }) ?? (value === BLANK_DOUBLE ? 'unsupported' : null);
      if (blank !== null) return reading.absent(place, recordQuality(blank));
    }
    const own = inBaseUnit(mapping.unit, value, text);
    const [least, most] = metricOf(mapping.metric).range;
    if (place.kind === 'mask') {
      for (const { reason, active } of throttleReasons(own))
        reading.value({ kind: 'throttle', reason }, active ? 1 : 0);
    } else if (place.kind === 'field' && (mapping.suspect || !(own >= least && own <= most)))
      reading.absent(place, 'lost');
    else reading.value(place, series.isDelta ? totalOf(series, at_ms, own) : own);
  }

  /** The records of all values since the last call, device by device in the order of first mention, by time. */
  take(): LeewayRecord[] {
    const records: LeewayRecord[] = [];
    for (const device of this.#touched) {
      const readings = [...device.readings].toSorted(([a], [b]) => a - b);
      device.readings = new Map();
      let held: [at_ms: number, reading: GpuReading] | null = null;
      for (const [at_ms, reading] of readings) {
        if (held !== null && at_ms - held[0] <= MOMENT_MS && held[1].isApartFrom(reading)) {
          held[1].merge(reading);
          held = [at_ms, held[1]];
          continue;
        }
        if (held !== null) records.push(...recordOf(device, held));
        held = [at_ms, reading];
      }
      if (held !== null) records.push(...recordOf(device, held));
    }
    this.#touched = new Set();
    return records;
  }
}

/** What an integer in a unit is multiplied with, or divided by: exact while the product is, and rounded once. */
const FACTORS: Readonly<Record<string, readonly [times: number, over: number]>> = {
  B: [1, 1],
  C: [1, 1],
  W: [1, 1],
  J: [1, 1],
  MiB: [1_048_576, 1],
  MHz: [1_000_000, 1],
  '%': [1, 100],
  mJ: [1, 1_000],
  mW: [1, 1_000],
};

/** The value in the catalog's unit, as `scaled` gives it for the value's digits; NaN where that is none. */
function inBaseUnit(unit: string, value: number, text: () => string): number {
  if (unit === '') return value;
  const factor = FACTORS[unit];
  if (factor !== undefined && Number.isSafeInteger(value * factor[0]) && Number.isInteger(value))
    return (value * factor[0]) / factor[1];
  return Number(scaled(text(), unit) ?? Number.NaN);
}

function recordOf({ fallback_node }: Device, [at_ms, reading]: readonly [number, GpuReading]): LeewayRecord[] {
  return reading.record({ at_ms, node: null, fallback_node });
}

/** The sum of changes up to a point; one that comes again changes nothing. */
function totalOf(series: GpuSeries, at_ms: number, change: number): number {
  if (at_ms > series.at_ms) {
    series.total += change;
    series.at_ms = at_ms;
  }
  return series.total;
}
