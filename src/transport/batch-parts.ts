import { hash } from 'node:crypto';
import { assert } from '../core/assert.ts';
import { LIMITS } from '../core/limits.ts';
import type { Batch } from '../core/ports.ts';
import { SAMPLES } from '../core/tables.ts';
import { encodeColumns } from '../formats/record-rows.ts';
import { encodeSamples } from '../formats/sample-frame.ts';
import type { Part } from './segment.ts';

function digest(text: string): Uint8Array {
  return hash('sha1', text, 'buffer');
}

/** A batch as rows by table, records in their order. Programmer errors of the caller are asserted. */
export function encodeParts(batch: Batch): Part[] {
  assertBatch(batch);
  const byTable = Map.groupBy(batch.records, (record) => record.type);
  const { source, epoch, sequence, samples } = batch;
  const withSamples = samples !== undefined && samples.rows > 0;
  const name = { source, epoch, sequence, parts: byTable.size + (withSamples ? 1 : 0) };
  const parts: Part[] = [];
  for (const [table, records] of byTable)
    parts.push({ ...name, table, rows: records.length, body: encodeColumns(table, records, digest) });
  if (withSamples) parts.push({ ...name, table: SAMPLES, rows: samples.rows, body: encodeSamples(samples) });
  return parts;
}

function assertBatch(batch: Batch): void {
  assert(batch.records.length + (batch.samples?.rows ?? 0) > 0, 'a batch holds at least one record or sample');
  assert(batch.source !== '' && batch.source.length <= LIMITS.source_name_max, 'a source has a name of 1..128');
  assert(batch.source.isWellFormed(), 'the name of a source is well-formed Unicode');
  assert(Number.isSafeInteger(batch.epoch) && batch.epoch >= 0, 'an epoch is an integer in 0..2^53');
  assert(Number.isSafeInteger(batch.sequence) && batch.sequence >= 1, 'a sequence is an integer from 1');
}
