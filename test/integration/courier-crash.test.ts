import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Receiver } from '../transport/receiver.ts';

test('a courier killed after its request arrived and before the answer is told again by the next one, under the same id', async () => {
  const data_dir = mkdtempSync(join(tmpdir(), 'leeway-courier-'));
  const children: ChildProcessWithoutNullStreams[] = [];
  const start = (port: number): ChildProcessWithoutNullStreams => {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'courier-host.ts'), data_dir, String(port)]);
    children.push(child);
    return child;
  };
  try {
    await using receiver = await Receiver.open((response, count) => {
      if (count === 1) children[0]?.kill('SIGKILL');
      else response.writeHead(204).end();
    });
    await once(start(receiver.port), 'exit');
    expect(receiver.received).toHaveLength(1);
    const second = start(receiver.port);
    const [said] = await once(second.stdout, 'data');
    expect(String(said)).toBe('delivered 2\n');
    expect(receiver.received.map(({ headers }) => headers['webhook-id'])).toEqual(
      Array(2).fill(receiver.received[0]?.headers['webhook-id']),
    );
    expect(receiver.received[0]?.headers['webhook-id']).toMatch(/^msg_/);
  } finally {
    for (const child of children) child.kill('SIGKILL');
    rmSync(data_dir, { recursive: true });
  }
}, 20_000);
