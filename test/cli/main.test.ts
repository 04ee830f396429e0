import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { describe, expect, test, vi } from 'vitest';
import { type Command, helpOf } from '../../src/cli/command.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { freePort } from '../integration/leeway-process.ts';

// Real processes on a machine that may be busy with other tests.
vi.setConfig({ testTimeout: 20_000 });

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const LAUNCHER = join(ROOT, 'bin/leeway.js');
const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { version: string }; // our own file

type Ran = { readonly code: number | null; readonly out: string; readonly err: string };

/** Runs the launcher under `node`; standard input is `input`. */
function leeway(argv: readonly string[], { node = process.execPath, input = '', cwd = ROOT } = {}): Promise<Ran> {
  return new Promise((resolve) => {
    const child = execFile(node, [LAUNCHER, ...argv], { cwd }, (error, out, err) =>
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : null, out, err }),
    );
    child.stdin?.end(input);
  });
}

test('leeway --version prints the version of package.json', async () => {
  expect(await leeway(['--version'])).toEqual({ code: 0, out: `${version}\n`, err: '' });
  expect(await leeway(['-v'])).toEqual({ code: 0, out: `${version}\n`, err: '' });
});

test('leeway --help and leeway help list every command with one line on what it does', async () => {
  const help = await leeway(['--help']);
  expect(help.code).toBe(0);
  expect(help.err).toBe('');
  for (const command of ['serve', 'demo', 'drift', 'stragglers', 'cost', 'decode', 'check', 'config', 'token'])
    expect(help.out).toMatch(new RegExp(`^ {2}${command} {2,}\\S.*\\.$`, 'm'));
  expect(await leeway(['help'])).toEqual(help);
});

test('each command helps with its purpose, usage, options with defaults and two examples', async () => {
  const names = [...(await leeway(['--help'])).out.matchAll(/^ {2}([a-z-]+) {2,}/gm)].map((match) => match[1] ?? '');
  expect(names.length).toBeGreaterThanOrEqual(9);
  for (const name of names) {
    const { command } = (await import(`../../src/cli/${name}.ts`)) as { command: Command }; // every file of src/cli/ that is listed
    const help = helpOf(command);
    expect(help).toMatch(new RegExp(`^\\S.+\\.\\n\\nUsage: leeway ${name}\\b`));
    expect(help.split('\nExamples:\n')[1]?.match(/^ {2}\S/gm)?.length, name).toBeGreaterThanOrEqual(2);
  }
});

test('leeway serve --help, leeway help serve and leeway serve -h say the same, options with their defaults', async () => {
  const help = await leeway(['serve', '--help']);
  expect(help).toMatchObject({ code: 0, err: '' });
  expect(help.out).toContain('(default all)');
  expect(await leeway(['help', 'serve'])).toEqual(help);
  expect(await leeway(['serve', '-h'])).toEqual(help);
});

test('without a command the list is shown and the exit code says that nothing was done', async () => {
  const { code, out } = await leeway([]);
  expect([code, out]).toEqual([2, (await leeway(['--help'])).out]);
});

test.each([
  [['sevre'], 'error[LW-USAGE]: unknown command "sevre", did you mean "serve"?'],
  [['stragler', '--input', 'x'], 'error[LW-USAGE]: unknown command "stragler", did you mean "stragglers"?'],
  [['zzzzzzzzzz'], 'error[LW-USAGE]: unknown command "zzzzzzzzzz"; "leeway --help" lists them all'],
  [['constructor'], 'error[LW-USAGE]: unknown command "constructor"'],
  [['serve', '--prot', '1'], 'error[LW-USAGE]: unknown option --prot, did you mean --port?'],
  [['drift', '--refrence', 'a.csv'], 'error[LW-USAGE]: unknown option --refrence, did you mean --reference?'],
  [['demo', '--headles'], 'error[LW-USAGE]: unknown option --headles, did you mean --headless?'],
  [['serve', '--port'], 'error[LW-USAGE]: option --port needs a value'],
  [['serve', 'now'], 'error[LW-USAGE]: unexpected argument "now"'],
])('leeway %j is refused in one line with the next step, exit 2', async (argv, expected) => {
  const { code, out, err } = await leeway(argv);
  expect([code, out]).toEqual([2, '']);
  expect(err.startsWith(expected)).toBe(true);
  expect(err).toMatch(/^[^\n]+--help"[^\n]*\n$/);
});

/** A Node older than the one that Leeway needs, where this machine has one. */
function oldNode(): string | null {
  for (const path of ['/usr/bin/node', '/usr/local/bin/node'])
    try {
      const major = Number(execFileSync(path, ['-p', 'process.versions.node'], { encoding: 'utf8' }).split('.')[0]);
      if (major < 24) return path;
    } catch {
      continue; // there is none
    }
  return null;
}

const old = oldNode();

describe.skipIf(old === null)(`under the machine's own older Node (${old ?? 'SKIPPED: none is installed'})`, () => {
  const node = old ?? '';

  test('the launcher goes on under the bundled Node 24', async () => {
    expect(await leeway(['--version'], { node })).toEqual({ code: 0, out: `${version}\n`, err: '' });
  });

  test('the exit code is kept', async () => {
    expect((await leeway(['sevre'], { node })).code).toBe(2);
    expect((await leeway(['drift', '--reference', 'no.csv', '--current', 'no.csv'], { node })).code).toBe(3);
  });

  test('standard input reaches the command', async () => {
    const step = { type: 'step', job: 'piped', rank: 0, step: 1, at_ms: 1_767_225_600_000, phase: 'train' };
    const input = `${JSON.stringify({ ...step, duration_ms: 100, compute_ms: 90, data_ms: 5 })}\n`;
    const ran = await leeway(['stragglers', '--input', '-', '--format', 'json'], { node, input });
    expect(ran).toMatchObject({ code: 0, err: '' });
    expect(JSON.parse(ran.out)).toMatchObject({ version: 1, jobs: [{ job: 'piped', ranks: 1, steps: 1 }] });
  });

  test.each(['SIGTERM', 'SIGINT'] as const)('%s is passed on: the service drains and ends with 0', async (signal) => {
    await using directory = await scratchDirectory();
    const argv = ['serve', '--port', '0', '--data-dir', join(directory.path, 'data')];
    const child = spawn(node, [LAUNCHER, ...argv], { cwd: directory.path, stdio: ['ignore', 'ignore', 'pipe'] });
    try {
      await new Promise<void>((resolve, reject) => {
        let said = '';
        child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
          said += chunk;
          if (said.includes('leeway is ready at')) resolve();
        });
        child.once('exit', () => reject(new Error(said)));
      });
      child.kill(signal);
      expect(await once(child, 'exit')).toEqual([0, null]);
    } finally {
      child.kill('SIGKILL');
    }
  });
});

test('without any Node 24 the launcher says in one line what to do, exit 69', async () => {
  if (old === null) return;
  await using directory = await scratchDirectory();
  await mkdir(join(directory.path, 'bin'));
  await writeFile(join(directory.path, 'package.json'), '{"type":"module"}');
  await writeFile(join(directory.path, 'bin/leeway.js'), await readFile(LAUNCHER));
  await chmod(join(directory.path, 'bin/leeway.js'), 0o755);
  const ran = await new Promise<Ran>((resolve) => {
    execFile(old, [join(directory.path, 'bin/leeway.js'), '--version'], (error, out, err) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : null, out, err }),
    );
  });
  expect(ran.code).toBe(69);
  expect(ran.err).toMatch(
    /^error\[LW-USAGE\]: Leeway needs Node\.js 24\.12 or newer, this is [^\n]+ "npm ci" [^\n]+\n$/,
  );
});

/** Runs the launcher with standard output, standard error or both into a file that no byte can be written to. */
async function intoFull(argv: readonly string[], streams: 'out' | 'err'): Promise<Ran> {
  await using full = await open('/dev/full', 'w');
  const [out, err] = streams === 'out' ? ([full.fd, 'pipe'] as const) : (['pipe', full.fd] as const);
  const child = spawn(process.execPath, [LAUNCHER, ...argv], { cwd: ROOT, stdio: ['ignore', out, err] });
  const ended = once(child, 'close') as Promise<[number | null]>;
  const said = (stream: Readable | null): Promise<string> => (stream === null ? Promise.resolve('') : text(stream));
  const [told, error] = await Promise.all([said(child.stdout), said(child.stderr)]);
  return { code: (await ended)[0], out: told, err: error };
}

describe.skipIf(!existsSync('/dev/full'))('a stream that cannot be written (/dev/full)', () => {
  test.each([[['--version']], [['--help']], [['config', '--format', 'json']]])(
    'leeway %j says in one line that its answer is not whole, exit 1',
    async (argv) => {
      const { code, err } = await intoFull(argv, 'out');
      expect([code, err.split('\n').length]).toEqual([1, 2]);
      expect(err).toMatch(/^error\[LW-OUTPUT\]: standard output: cannot be written \(ENOSPC\)/);
    },
  );

  test('an error that cannot be told keeps its exit code', async () => {
    expect(await intoFull(['sevre'], 'err')).toEqual({ code: 2, out: '', err: '' });
    expect(await intoFull(['sevre'], 'out')).toMatchObject({
      code: 2,
      err: expect.stringMatching(/^error\[LW-USAGE\][^\n]+\n$/),
    });
  });

  test('the service serves on, and drains at SIGTERM, when no line of its log can be written', async () => {
    await using directory = await scratchDirectory();
    await using full = await open('/dev/full', 'w');
    const port = await freePort();
    const argv = ['serve', '--port', String(port), '--data-dir', join(directory.path, 'data')];
    const child = spawn(process.execPath, [LAUNCHER, ...argv], {
      cwd: directory.path,
      stdio: ['ignore', 'ignore', full.fd],
    });
    const ended = once(child, 'exit');
    try {
      const healthy = (): Promise<boolean> =>
        fetch(`http://127.0.0.1:${port}/healthz`).then(
          (answer) => answer.ok,
          () => false,
        );
      await vi.waitUntil(() => child.exitCode !== null || healthy(), { timeout: 15_000 });
      expect(child.exitCode).toBeNull();
      child.kill('SIGTERM');
      expect(await ended).toEqual([0, null]);
    } finally {
      child.kill('SIGKILL');
    }
  });
});

test.each([
  [['drift', '--reference', '-', '--current', 'package.json'], 'SIGINT'],
  [['cost', '--input', '-'], 'SIGTERM'],
  [['stragglers', '--input', '-'], 'SIGINT'],
  [['decode', '--source', 'prometheus', '-'], 'SIGTERM'],
] as const)('leeway %j that waits for its input is ended by the first %s', async (argv, signal) => {
  const child = spawn(process.execPath, [LAUNCHER, ...argv], { cwd: ROOT, stdio: 'pipe' });
  const ended = once(child, 'exit');
  try {
    child.stdin.on('error', () => undefined); // the process ends before it has read it all
    await new Promise((resolve) => child.stdin.write('\n'.repeat(2 ** 20), resolve)); // more than a pipe holds: it reads
    child.kill(signal);
    expect(await ended).toEqual([null, signal]);
  } finally {
    child.kill('SIGKILL');
  }
});

test('a file name with control characters does not steer the terminal', async () => {
  const { code, err } = await leeway(['decode', '--source', 'dcgm', 'no\u001b[2Jfile']);
  expect([code, err.split(':')[1]]).toEqual([3, ' no\ufffd[2Jfile']);
});

test('a reader that leaves early (| head -1) ends a command quietly', async () => {
  const child = spawn(process.execPath, [LAUNCHER, '--help'], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.destroy();
  const [err, [code]] = await Promise.all([text(child.stderr), once(child, 'close') as Promise<[number | null]>]);
  expect([code, err]).toEqual([0, '']);
});

test('leeway --version is measured: the median of five runs', async () => {
  const runs: number[] = [];
  for (let run = 0; run < 5; run++) {
    const began_ms = performance.now();
    await leeway(['--version']);
    runs.push(performance.now() - began_ms);
  }
  const median_ms = runs.toSorted((a, b) => a - b)[2];
  console.log(`leeway --version: median ${median_ms?.toFixed(0)} ms of ${runs.map((ms) => ms.toFixed(0)).join(', ')}`);
  expect(runs).toHaveLength(5);
});
