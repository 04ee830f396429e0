#!/usr/bin/env node
// Plain JavaScript that any Node >= 14 parses: finds a Node >= 24.12 and runs src/main.ts with it.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const self = fileURLToPath(import.meta.url);
const root = dirname(dirname(self));
const [major, minor] = process.versions.node.split('.').map(Number);

/**
 * A service takes in many bodies that are garbage at once: a young generation that fits the processor's cache, collected by
 * one thread, costs a third less CPU and 60 MB less memory than V8's defaults at full speed. Flags of the caller win.
 */
const SERVICE_FLAGS = ['--max-semi-space-size=8', '--no-parallel-scavenge'];
const isService = process.argv[2] === 'serve';
const isTuned = process.execArgv.some((flag) => flag.includes('semi-space-size'));
const flags = isService && !isTuned ? SERVICE_FLAGS : [];

if (major > 24 || (major === 24 && minor >= 12)) {
  // the same process begins again: V8 takes these flags at its start alone
  if (flags.length > 0 && process.execve && process.platform !== 'win32')
    process.execve(process.execPath, [process.execPath, ...flags, ...process.execArgv, ...process.argv.slice(1)]);
  const { enableCompileCache } = await import('node:module');
  enableCompileCache?.(); // stripped and compiled modules are kept between starts: less time, and 15 MB less memory
  const { main } = await import('../src/main.ts');
  process.exitCode = await main(process.argv.slice(2));
} else {
  runUnderBundledNode();
}

function runUnderBundledNode() {
  const found = [
    join(root, 'node_modules', `node-${process.platform}-${process.arch}`, 'bin', 'node'),
    join(root, 'node_modules', 'node', 'bin', 'node'),
    join(root, 'node_modules', '.bin', 'node'),
  ].find((path) => existsSync(path));
  if (!found) {
    process.stderr.write(
      `error[LW-USAGE]: Leeway needs Node.js 24.12 or newer, this is ${process.versions.node} on ${process.platform}-${process.arch}. ` +
        'Run "npm ci" (it brings Node 24 on linux-x64) or install Node 24 and start again.\n',
    );
    process.exit(69);
  }
  const child = spawn(found, [...flags, ...process.execArgv, self, ...process.argv.slice(2)], { stdio: 'inherit' });
  // A terminal's Ctrl-C reaches the whole process group: the child has had SIGINT and SIGQUIT already when stdin is a TTY.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2'])
    process.on(signal, () => {
      if (!(process.stdin.isTTY && (signal === 'SIGINT' || signal === 'SIGQUIT'))) child.kill(signal);
    });
  child.on('error', (error) => {
    process.stderr.write(`error[LW-INTERNAL]: could not start ${found}: ${error.message}\n`);
    process.exit(69);
  });
  child.on('exit', (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : code));
}
