import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, test } from 'vitest';
import { command } from '../../src/cli/check.ts';
import { openSqliteControl } from '../../src/control/sqlite.ts';
import { systemClock } from '../../src/core/clock.ts';
import { appendAudit } from '../../src/pipeline/audit.ts';
import { temporaryDirectory } from '../server/fixture.ts';
import { runIn } from './terminal.ts';

describe('leeway check config', () => {
  test('is content with no file at all', async () => {
    await using directory = await temporaryDirectory();
    const ran = await runIn(directory.path, command, ['config']);
    expect([ran.exit, ran.err]).toEqual([0, '']);
    expect(ran.out).toContain('no errors');
  });

  test('lists every error on its own line: exit 3', async () => {
    await using directory = await temporaryDirectory();
    await writeFile(
      join(directory.path, 'leeway.config.json'),
      '{"server":{"port":"x"},"spool":{"fsync":1},"colour":2}',
    );
    const ran = await runIn(directory.path, command, ['config']);
    expect(ran.exit).toBe(3);
    expect(ran.err.trimEnd().split('\n').length).toBe(3);
    expect(ran.err).toContain('error[LW-CONFIG]: server.port: got "x", expected an integer 0 to 65535\n');
  });

  test.each([
    ['a file that is no JSON', '{'],
    ['a tokens file that is missing', '{"auth":{"tokens_file":"none"}}'],
  ])('refuses %s: exit 3', async (_what, text) => {
    await using directory = await temporaryDirectory();
    await writeFile(join(directory.path, 'leeway.config.json'), text);
    const ran = await runIn(directory.path, command, ['config', '--format', 'json']);
    expect(ran.exit).toBe(3);
    expect(JSON.parse(ran.out)).toMatchObject({
      version: 1,
      check: 'config',
      ok: false,
      errors: [{ code: 'LW-CONFIG' }],
    });
  });

  test('refuses a damaged tokens file without repeating it', async () => {
    await using directory = await temporaryDirectory();
    await writeFile(join(directory.path, 'leeway.config.json'), '{"auth":{"tokens_file":"tokens"}}');
    await writeFile(join(directory.path, 'tokens'), '{"id":"a","sha256":"hunter2","scopes":["read"]}\nhunter3\n');
    const ran = await runIn(directory.path, command, ['config']);
    expect([ran.exit, ran.err.trimEnd().split('\n').length]).toEqual([3, 2]);
    expect(ran.err).not.toContain('hunter');
  });

  test('finds what the configured files hold wrong, by file and line: exit 3', async () => {
    await using directory = await temporaryDirectory();
    const { path } = directory;
    const cost = { assets_file: 'assets.ndjson', prices_file: 'none.ndjson' };
    await writeFile(
      join(path, 'leeway.config.json'),
      JSON.stringify({ auth: { tokens_file: 'tokens' }, cost, rules_dir: 'rules' }),
    );
    await writeFile(join(path, 'tokens'), 'x\n');
    const price = { type: 'price', asset: 'n1', from_ms: 0, usd_per_hour: 2, source: 's', retrieved_on: '2026-01-01' };
    const good = { ...price, usd_per_hour: '2.00' };
    await writeFile(
      join(path, 'assets.ndjson'),
      `${JSON.stringify(good)}\n\n{"type":"asset" "id"}\n${JSON.stringify(price)}\n`,
    );
    await mkdir(join(path, 'rules', 'folder.json'), { recursive: true });
    const ran = await runIn(path, command, ['config']);
    expect(ran.exit).toBe(3);
    expect(ran.err.trimEnd().split('\n')).toEqual([
      'error[LW-CONFIG]: ' + join(path, 'tokens') + ':1: got a line that is not JSON, expected one object a line',
      'error[LW-CONFIG]: assets.ndjson:3: got LW-COST-JSON: the line is not JSON, expected one asset or price record a line',
      expect.stringMatching(/^error\[LW-CONFIG\]: assets\.ndjson:4: got LW-COST-MONEY: field usd_per_hour/),
      expect.stringMatching(/^error\[LW-CONFIG\]: cost\.prices_file: got none\.ndjson: no such file; /),
      expect.stringMatching(/^error\[LW-CONFIG\]: .*rules.folder\.json: got what cannot be read \(EISDIR\), expected /),
    ]);
  });
});

describe('leeway check config opens what the configuration names', () => {
  const webhook = { id: 'ops', kind: 'webhook', url: 'https://ops.example/hook' };
  test.each([
    [{ rules_dir: 'no-rules' }, 'rules_dir'],
    [{ server: { tls: { cert_file: 'cert.pem', key_file: 'absent.pem' } } }, 'server.tls.key_file'],
    [{ sinks: [{ ...webhook, secret_file: 'absent' }] }, 'sinks[0].secret_file'],
    [{ sinks: [{ ...webhook, secret_file: 'empty' }] }, 'sinks[0].secret_file'],
    [{ sinks: [{ ...webhook, secret_file: 'env:LEEWAY_TEST_NOT_SET' }] }, 'sinks[0].secret_file'],
    [{ control: { kind: 'postgres', url_file: 'absent' } }, 'control.url_file'],
    [{ gateway: { url: 'http://127.0.0.1:1', token_file: 'absent' } }, 'gateway.token_file'],
  ])('%j is refused at %s: exit 3', async (config, path) => {
    await using directory = await temporaryDirectory();
    for (const [name, text] of [
      ['cert.pem', 'x'],
      ['empty', '\n'],
    ] as const)
      await writeFile(join(directory.path, name), text);
    await writeFile(join(directory.path, 'leeway.config.json'), JSON.stringify(config));
    const ran = await runIn(directory.path, command, ['config']);
    expect(ran.exit).toBe(3);
    expect(ran.err).toMatch(new RegExp(`^error\\[LW-CONFIG\\]: ${RegExp.escape(path)}: got [^\\n]+\\n$`));
  });

  test('a rule that is none is refused as the service refuses it, and what can be read is let through', async () => {
    await using directory = await temporaryDirectory();
    await mkdir(join(directory.path, 'rules'));
    await writeFile(join(directory.path, 'secret'), 'whsec_c2VjcmV0\n');
    const config = { rules_dir: 'rules', sinks: [{ ...webhook, secret_file: 'secret' }] };
    await writeFile(join(directory.path, 'leeway.config.json'), JSON.stringify(config));
    expect(await runIn(directory.path, command, ['config'])).toMatchObject({ exit: 0, err: '' });
    await writeFile(join(directory.path, 'rules', 'nonsense.json'), 'nonsense');
    const ran = await runIn(directory.path, command, ['config']);
    expect(ran.exit).toBe(3);
    expect(ran.err).toContain('error[LW-CONFIG-RULE]: nonsense.json: ');
  });
});

describe('leeway check rules', () => {
  test('lists the errors of every rule file: exit 3', async () => {
    await using directory = await temporaryDirectory();
    await writeFile(join(directory.path, 'leeway.config.json'), '{"rules_dir":"rules"}');
    await mkdir(join(directory.path, 'rules'));
    await writeFile(join(directory.path, 'rules', 'broken.json'), '{"id":"broken"}');
    await writeFile(join(directory.path, 'rules', 'nonsense.json'), 'nonsense');
    const ran = await runIn(directory.path, command, ['rules']);
    expect(ran.exit).toBe(3);
    expect(ran.err).toContain('error[LW-CONFIG-RULE]: broken.json: ');
    expect(ran.err).toContain('error[LW-CONFIG-RULE]: nonsense.json: ');
  });

  test('refuses a rule file that cannot be read, by its name', async () => {
    await using directory = await temporaryDirectory();
    await writeFile(join(directory.path, 'leeway.config.json'), '{"rules_dir":"rules"}');
    await mkdir(join(directory.path, 'rules', 'folder.json'), { recursive: true });
    const ran = await runIn(directory.path, command, ['rules']);
    expect(ran.exit).toBe(3);
    expect(ran.err).toContain('folder.json: got what cannot be read (EISDIR)');
  });

  test.each(['config', 'rules'])(
    '"check %s" refuses a rules_dir that is not there and says what to do',
    async (subject) => {
      await using directory = await temporaryDirectory();
      await writeFile(join(directory.path, 'leeway.config.json'), '{"rules_dir":"none"}');
      const ran = await runIn(directory.path, command, [subject]);
      expect(ran.exit).toBe(3);
      expect(ran.err).toMatch(/rules_dir \S+: cannot be read \(ENOENT\); set rules_dir/);
    },
  );

  test('refuses a folder without rules: nothing would ever be told', async () => {
    await using directory = await temporaryDirectory();
    await writeFile(join(directory.path, 'leeway.config.json'), '{"rules_dir":"rules"}');
    expect((await runIn(directory.path, command, ['rules'])).exit).toBe(3);
  });
});

describe('leeway check audit', () => {
  const entries = async (data_dir: string) => {
    await using control = await openSqliteControl({ data_dir, clock: systemClock });
    for (const subject of ['a', 'b', 'c'])
      await control.transaction((tx) =>
        appendAudit(tx, { at_ms: 1, actor: 'local', action: 'incident.resolve', subject, detail: {} }),
      );
  };

  test('is content with an unbroken chain', async () => {
    await using directory = await temporaryDirectory();
    await entries(join(directory.path, 'leeway-data'));
    const ran = await runIn(directory.path, command, ['audit']);
    expect([ran.exit, ran.out]).toEqual([0, 'audit: 3 entries in one chain, no errors\n']);
  });

  test.each([
    ['changed', `UPDATE doc_audit SET body = replace(body, '"subject":"b"', '"subject":"x"')`],
    ['taken out', `DELETE FROM doc_audit WHERE id LIKE '%2'`],
  ])('finds an entry that was %s behind its back: exit 3', async (_what, sql) => {
    await using directory = await temporaryDirectory();
    const data_dir = join(directory.path, 'leeway-data');
    await entries(data_dir);
    const database = new DatabaseSync(join(data_dir, 'control.sqlite'));
    expect(database.prepare(sql).run().changes).not.toBe(0);
    database.close();
    const ran = await runIn(directory.path, command, ['audit']);
    expect(ran.exit).toBe(3);
    expect(ran.err).toContain('entry 2');
  });

  test('without a log is exit 4, and makes none', async () => {
    await using directory = await temporaryDirectory();
    const ran = await runIn(directory.path, command, ['audit']);
    expect([ran.exit, ran.error?.code]).toEqual([4, 'LW-NOT-FOUND']);
    expect((await runIn(directory.path, command, ['audit'])).exit).toBe(4);
  });
});

test('leeway check without a known subject is exit 2 and lists them', async () => {
  await using directory = await temporaryDirectory();
  for (const argv of [[], ['everything']]) {
    const ran = await runIn(directory.path, command, argv);
    expect([ran.exit, ran.error?.message]).toEqual([2, expect.stringContaining('config, rules, dashboards, audit')]);
  }
});
