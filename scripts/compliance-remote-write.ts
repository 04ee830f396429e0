/**
 * The remote-write 2.0 receiver suite of prometheus/compliance against a Leeway service of this checkout, and what the
 * suite leaves out: everything that was acknowledged is read back through the API and compared bit for bit.
 *
 * Needs `go` and its module proxy; the suite is built once into node_modules/.cache (a minute or two), none of its sources
 * enter the repository. Prints a table; exits with 1 on any failure. Use: `npm run compliance`.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { scratchDirectory } from '../test/contract/scratch-directory.ts';
import { eventually, get, startService } from '../test/integration/running-service.ts';
import { readBack, recordingProxy } from './compliance-read-back.ts';

const GO = 'go';
/** The suite's own go.mod declares a path that is not where it is published: hence the `replace`. */
const DECLARED = 'github.com/prometheus/complicance/remotewrite2';
const PUBLISHED = 'github.com/prometheus/compliance/remotewrite/receiver';
const VERSION = 'v0.0.0-20260806071727-67b8327a2e93';
/** What the suite of that version holds: fewer would mean that something was not run. */
const TESTS = 39;
const CASES = 205;
/** The suite takes about 3 s. */
const SUITE_MS_MAX = 300_000;

/** Path of the built suite; builds it when it is not there. Exits with 1 and a sentence where there is no Go. */
function suite(): string {
  const directory = resolve(import.meta.dirname, '../node_modules/.cache/leeway-compliance', VERSION);
  const binary = join(directory, 'receiver.test');
  if (existsSync(binary)) return binary;
  if (spawnSync(GO, ['version']).status !== 0) {
    console.error('compliance: `go` 1.25 or newer is needed to build the receiver suite, and it is not on the path');
    process.exit(1);
  }
  mkdirSync(directory, { recursive: true });
  const lines = [
    'module leeway.example/compliance',
    'go 1.25.0',
    `require ${DECLARED} v0.0.0`,
    `replace ${DECLARED} => ${PUBLISHED} ${VERSION}`,
  ];
  writeFileSync(join(directory, 'go.mod'), `${lines.join('\n\n')}\n`);
  console.error(`compliance: building the receiver suite ${VERSION} into ${directory}`);
  const flags = ['test', '-mod=mod', '-p=2', '-c', '-o', `${binary}.tmp`, DECLARED];
  execFileSync(GO, flags, { cwd: directory, stdio: 'inherit', env: { ...process.env, GOWORK: 'off' } });
  renameSync(`${binary}.tmp`, binary);
  return binary;
}

/** Runs the suite against `url`; resolves with all that it printed. */
async function judge(binary: string, url: string, directory: string): Promise<string> {
  const config = join(directory, 'compliance.yml');
  await writeFile(config, `remote_write:\n  - name: leeway\n    url: ${url}/api/v1/write\n`);
  const child = spawn(binary, ['-test.v', `-test.timeout=${SUITE_MS_MAX}ms`], {
    cwd: directory,
    env: { ...process.env, PROMETHEUS_RW2_COMPLIANCE_CONFIG_FILE: config },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  await new Promise((done) => child.once('close', done));
  return text;
}

type Result = { readonly name: string; readonly verdict: string; readonly level: string };

/** Results by name: every line `--- PASS: Name (0.00s)`, with the level that its test declares. */
function resultsOf(text: string): Result[] {
  const levels = new Map(
    [...text.matchAll(/^=== ATTR\s+(\S+) rfcLevel (\S+)$/gm)].map(([, name = '', level = '']) => [name, level]),
  );
  return [...text.matchAll(/^\s*--- (PASS|FAIL|SKIP): (\S+) \(/gm)].map(([, verdict = '', name = '']) => {
    const parents = name.split('/').map((_, index, parts) => parts.slice(0, parts.length - index).join('/'));
    return { name, verdict, level: parents.map((parent) => levels.get(parent)).find((level) => level) ?? 'unlabelled' };
  });
}

function report(results: readonly Result[]): boolean {
  const isLeaf = ({ name }: Result): boolean => !results.some((other) => other.name.startsWith(`${name}/`));
  const tests = results.filter(({ name }) => !name.includes('/'));
  const cases = results.filter(isLeaf);
  console.log('cases passed  failed  skipped  test');
  for (const { name } of tests) {
    const own = cases.filter((one) => one.name === name || one.name.startsWith(`${name}/`));
    const count = (verdict: string): string => String(own.filter((one) => one.verdict === verdict).length);
    console.log(`${count('PASS').padStart(12)}${count('FAIL').padStart(8)}${count('SKIP').padStart(9)}  ${name}`);
  }
  for (const { name } of cases.filter(({ verdict }) => verdict !== 'PASS')) console.log(`not passed: ${name}`);
  const passed = (all: readonly Result[]): string =>
    `${all.filter(({ verdict }) => verdict === 'PASS').length}/${all.length}`;
  const levels = [...new Set(cases.map(({ level }) => level))].map(
    (level) => `${level} ${passed(cases.filter((one) => one.level === level))}`,
  );
  console.log(`tests ${passed(tests)}, cases ${passed(cases)} (${levels.join(', ')})`);
  const isWhole = tests.length === TESTS && cases.length === CASES;
  if (!isWhole) console.log(`expected ${TESTS} tests and ${CASES} cases`);
  return isWhole && results.every(({ verdict }) => verdict === 'PASS');
}

type Account = { readonly items: readonly { readonly in_flight: number }[] };

const binary = suite();
await using directory = await scratchDirectory();
await using service = await startService(directory.path, {
  server: { port: 0 },
  collectors: { host: { enabled: false } },
});
await using proxy = await recordingProxy(service.url);
const isPassed = report(resultsOf(await judge(binary, proxy.url, directory.path)));
await eventually('an empty spool', async () => {
  const { items } = await get<Account>(service, '/api/v1/delivery');
  return items.every(({ in_flight }) => in_flight === 0);
});
const { compared, requests, differences } = await readBack(service.url, proxy.exchanges);
console.log(
  `answers: ${Object.entries(requests)
    .map(([status, count]) => `${status} ×${count}`)
    .join(', ')}`,
);
console.log(
  `read back: ${Object.entries(compared)
    .map(([kind, count]) => `${count} ${kind}`)
    .join(', ')}, ${differences.length} differ`,
);
for (const difference of differences.slice(0, 50)) console.log(`  ${difference.slice(0, 500)}`);
if (!isPassed || differences.length > 0) process.exitCode = 1;
