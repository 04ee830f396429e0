import { crc32 } from 'node:zlib';
import type { TableName } from '../../src/core/tables.ts';
import { NativeReader, NativeWriter } from '../../src/formats/native.ts';
import { frameMessages } from '../../src/transport/kafka-frames.ts';
import { stepRecord } from '../contract/records.ts';

/** What the head of a forged frame says: `epoch` and `sequence` as hexadecimal digits. */
type Forged = { readonly rows: number; readonly epoch?: string; readonly sequence?: string };

/** A frame of `payload` with a right checksum whose head says what it likes. */
export function forgedFrame(table: 'step' | 'samples', { rows, epoch = '1', sequence = '1' }: Forged, payload: Buffer) {
  const columns = columnsOf(table);
  const ending = table === 'samples' ? ' 0000000000000001 00' : '';
  const count = rows.toString(16).padStart(8, '0');
  const fields = `n ${epoch.padStart(14, '0')} ${sequence.padStart(14, '0')} 01 ${count}${ending}`;
  const crc = crc32(payload, crc32(`${columns} ${fields}`));
  const [length, checksum] = [payload.length, crc].map((value) => value.toString(16).padStart(8, '0'));
  const head = new NativeWriter();
  head.varint(columns);
  head.varint(rows);
  const [name, version] = table === 'samples' ? ['id', 'LW2'] : ['lin', 'LW1'];
  head.column(name, `Tuple(\`${version} ${length} ${checksum} ${fields}\` UInt64)`);
  return Buffer.concat([head.take(), payload]);
}

function columnsOf(table: TableName): number {
  if (table === 'samples') return 5; // id, at, mant, exp, src
  const [message] = frameMessages({ source: 'n', epoch: 1, sequence: 1, records: [stepRecord(1)] });
  return new NativeReader(message?.value ?? Buffer.alloc(0)).varint() ?? 0;
}
