import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { command as cost } from '../../src/cli/cost.ts';
import { configSchema } from '../../src/config/schema.ts';
import { validateRecord } from '../../src/core/parse-record.ts';
import { checkAgainst } from '../../src/core/schema-check.ts';
import { discover } from '../../src/discover.ts';
import { signWebhook } from '../../src/transport/webhook-signature.ts';
import { runIn } from '../cli/terminal.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { codeBlocks, documentAt } from './markdown.ts';

describe('cost-ledger-from-files', () => {
  const page = documentAt('docs/how-to/cost-ledger-from-files.md');
  const [records = ''] = codeBlocks(page, 'json');

  test('its records give the table that it shows', async () => {
    await using directory = await scratchDirectory();
    writeFileSync(join(directory.path, 'money.ndjson'), records);
    const ran = await runIn(directory.path, cost, ['--input', 'money.ndjson', '--group-by', 'team']);
    expect([ran.exit, ran.err]).toEqual([0, '']);
    const [shown = ''] = codeBlocks(page, 'text');
    expect(ran.out.trim()).toBe(shown.trim());
    const [readme = ''] = codeBlocks(documentAt('README.md'), 'console').filter((block) =>
      block.includes('leeway cost'),
    );
    expect(ran.out.startsWith(readme.replace(/^\$.*\n/, ''))).toBe(true);
  });

  test('the sums by hand are right', () => {
    const price_cents = 5504n;
    // vision: 6 of 8 GPUs for 12 h; speech: 2 of 8 for 6 h; the day has 24
    expect((price_cents * 12n * 6n) / 8n).toBe(49_536n);
    expect((price_cents * 6n * 2n) / 8n).toBe(8_256n);
    expect(price_cents * 24n - 49_536n - 8_256n).toBe(74_304n);
  });
});

describe('records and configuration that documents show', () => {
  test.each(['docs/how-to/send-training-records.md', 'docs/how-to/cost-ledger-from-files.md'])(
    '%s: records are valid',
    (path) => {
      const { text } = documentAt(path);
      const lines = [...text.matchAll(/^\s*(?:printf '%s\\n' ')?(\{"type":.*\})/gm)].map((match) => match[1] ?? '');
      expect(lines.length).toBeGreaterThan(0);
      for (const line of lines) expect([line, validateRecord(JSON.parse(line)).kind]).toEqual([line, 'ok']);
    },
  );

  test.each(['docs/how-to/receive-webhooks.md', 'deploy/leeway/leeway.config.json'])(
    '%s: the configuration is valid',
    async (path) => {
      const document = documentAt(path);
      const text = path.endsWith('.md') ? (codeBlocks(document, 'json')[0] ?? '') : document.text;
      const { errors } = checkAgainst(configSchema(await discover()), JSON.parse(text), '');
      expect(errors).toEqual([]);
    },
  );
});

describe('receive-webhooks', () => {
  const [receiver = ''] = codeBlocks(documentAt('docs/how-to/receive-webhooks.md'), 'js');
  const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;

  test('its receiver takes what Leeway signs, once, and nothing else', async () => {
    await using directory = await scratchDirectory();
    writeFileSync(join(directory.path, 'package.json'), '{"type":"module"}');
    writeFileSync(join(directory.path, 'webhook.secret'), `${secret}\n`);
    // a free port instead of 9000, which is told on the first line
    const free = receiver.replace(
      ".listen(9000, '127.0.0.1')",
      ".listen(0, '127.0.0.1', function () { console.log(this.address().port); })",
    );
    expect(free).not.toBe(receiver);
    writeFileSync(join(directory.path, 'receiver.js'), free);
    const child = spawn(process.execPath, ['receiver.js'], {
      cwd: directory.path,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      child.stdout.setEncoding('utf8');
      const [port] = (await once(child.stdout, 'data')).map(String);
      const body = '{"type":"leeway.incident.opened","data":{"incident":{"title":"Rank 2 is slow"}}}';
      const now_s = Math.floor(Date.now() / 1000);
      const send = async (timestamp_s: number, key: string, sent = body): Promise<number> => {
        const signature = signWebhook([key], { id: 'msg_1', timestamp_s, body });
        const headers = {
          'webhook-id': 'msg_1',
          'webhook-timestamp': String(timestamp_s),
          'webhook-signature': signature,
        };
        return (await fetch(`http://127.0.0.1:${Number(port)}/`, { method: 'POST', headers, body: sent })).status;
      };
      const told = once(child.stdout, 'data');
      expect(await send(now_s, secret)).toBe(204);
      expect((await told).map(String)).toEqual(['leeway.incident.opened Rank 2 is slow\n']);
      expect(await send(now_s, secret)).toBe(204); // a retry is taken and not told again
      expect(await send(now_s, secret, body.replace('slow', 'fast'))).toBe(401);
      expect(await send(now_s, `whsec_${Buffer.alloc(32, 8).toString('base64')}`)).toBe(401);
      expect(await send(now_s - 400, secret)).toBe(401); // too old
      child.stdout.once('data', (text) => expect.unreachable(`told again: ${text}`));
    } finally {
      child.kill();
      await once(child, 'exit');
    }
  });
});
