import { readdir, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import type { SelftestReport } from '../../src/cli/selftest/report.ts';
import { systemClock } from '../../src/core/clock.ts';
import { bodyOf, encodeFrame, scanFrames } from '../../src/transport/frame.ts';
import { openSpool } from '../../src/transport/spool.ts';
import { steps } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { LeewayProcess, listAll, runLeeway, until } from './leeway-process.ts';

// The commands of a person who wants to know, on a real service: is everything here, and what of that which is not?

const CONFIG = ['--host', '127.0.0.1', '--port', '0', '--data-dir', 'data'];

type Line = {
  readonly source: string;
  readonly epoch: string;
  readonly emitted: number;
  readonly stored: number;
  readonly in_flight: number;
  readonly declared_loss: Readonly<Record<string, number>>;
};

async function selftestOf(url: string, cwd: string): Promise<SelftestReport> {
  const ran = await runLeeway(['selftest', '--url', url, '--batches', '12', '--format', 'json'], cwd);
  expect([ran.code, ran.err]).toEqual([0, '']);
  return JSON.parse(ran.out) as SelftestReport; // the command's own document
}

/** Five batches of ten steps of node-2 wait in the spool, the third of them of a type that the store does not know. */
async function plantPoison(data_dir: string): Promise<void> {
  const spool = path.join(data_dir, 'spool');
  {
    const known = { sequences: [], lineage_max: 0n };
    await using bus = await openSpool({ data_dir, bytes_max: 1e9, fsync: false, clock: systemClock, known });
    for (const sequence of [1, 2, 3, 4, 5]) {
      const records = steps(sequence * 10, sequence * 10 + 10);
      await bus.publish({ source: 'node-2', epoch: 7, sequence, records }, new AbortController().signal);
    }
  }
  const [name = ''] = await readdir(spool);
  const bytes = await readFile(path.join(spool, name));
  const frames = scanFrames(bytes, 'step').frames.flatMap((frame) => {
    const body = Buffer.from(bodyOf(bytes, frame));
    if (frame.header.sequence === 3) body.write('Strang', body.indexOf('String'));
    return encodeFrame(frame.header, body); // its checksum is right: only the store can tell
  });
  await writeFile(path.join(spool, name), Buffer.concat(frames));
}

test('leeway selftest proves a running service, and what was set aside is replayed into an account that adds up', async () => {
  await using directory = await scratchDirectory();
  const spool = path.join(directory.path, 'data', 'spool');
  await plantPoison(path.join(directory.path, 'data'));
  {
    await using service = new LeewayProcess(['serve', ...CONFIG], directory.path);
    const url = await service.ready;
    const report = await selftestOf(url, directory.path);
    // batch 1: 24 records, 8 more of records: 22 each; 5 and 10 with a copy and a checkpoint more; 3 of 40 samples; closing 3
    const records = 24 + 8 * 22 + 2 + 3 * 40 + 3 + 2; // … and the two series
    expect(report).toMatchObject({
      proven: true,
      sent: { batches: 13, copied_records: 2, retried_batches: 0 },
      account: { emitted: records, stored: records, in_flight: 0, declared_loss: {}, duplicates_absorbed: 2 },
      // 9 batches of 20 steps and 3 of 40 samples
      read_back: { compared: 300, equal: 300, missing: 0, doubled: 0, changed: 0, foreign: 0 },
    });
    // nothing of it is news to anybody: the job has ended, no incident was opened
    const jobs = await listAll<{ state: string }>(url, `/api/v1/jobs?job=${report.job}`);
    expect(jobs).toMatchObject([{ job: report.job, state: 'ended' }]);
    expect(await listAll(url, '/api/v1/incidents')).toEqual([]);
    // what one sender did wrong costs that batch alone
    expect(await listAll<Line>(url, '/api/v1/delivery?source=node-2')).toMatchObject([
      { emitted: 50, stored: 40, in_flight: 0, declared_loss: { quarantined: 10 } },
    ]);
    const stored = [10, 20, 40, 50].flatMap((from) => steps(from, from + 10));
    expect(await listAll(url, '/api/v1/jobs/pretrain/steps')).toEqual(stored);
    const refused = await runLeeway(['deadletter', 'replay', '--all', '--data-dir', 'data'], directory.path);
    expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('error[LW-DATA-DIR-TAKEN]')]);

    // a batch that the service holds in its spool when it is killed at once …
    const body = `${JSON.stringify({ type: 'checkpoint', job: 'j', at_ms: 1_767_225_600_000, step: 7, durable: true })}\n`;
    const headers = { 'content-type': 'application/x-ndjson', 'x-leeway-source': 'node-1', 'x-leeway-epoch': '7' };
    const sent = await fetch(`${url}/v1/events`, {
      method: 'POST',
      headers: { ...headers, 'x-leeway-sequence': '1' },
      body,
    });
    expect(sent.status).toBe(200);
    await service.kill();
  }
  // … becomes a dead letter by hand, as if the store had refused it
  const [name = ''] = (await readdir(spool)).filter((file) => file.endsWith('-checkpoint.native'));
  await rename(path.join(spool, name), path.join(spool, `${name}.rejected`));
  const list = await runLeeway(['deadletter', 'list', '--data-dir', 'data'], directory.path);
  expect(list.out).toContain('1 rows of node-1, epoch 7, sequences 1\n');
  expect(list.out).toMatch(/LW-STORE: .*Strang.*\n {2}10 rows of node-2, epoch 7, sequences 3\n/);
  const replay = await runLeeway(['deadletter', 'replay', '--all', '--data-dir', 'data'], directory.path);
  expect([replay.code, replay.out]).toEqual([0, expect.stringContaining('Put back 2 of ')]);
  await using service = new LeewayProcess(['serve', ...CONFIG], directory.path);
  const url = await service.ready;
  const stored = await until(
    async () => (await listAll<Line>(url, '/api/v1/delivery?source=node-1'))[0],
    (found) => found?.stored === 1,
    10_000,
  );
  expect(stored).toMatchObject({ emitted: 1, stored: 1, in_flight: 0, declared_loss: {} });
}, 60_000);
