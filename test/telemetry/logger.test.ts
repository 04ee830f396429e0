import { expect, test } from 'vitest';
import { createLogger, type LoggerOptions } from '../../src/telemetry/logger.ts';

function logger(options: Partial<LoggerOptions> = {}) {
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  return {
    lines,
    logger: createLogger({ level: 'info', format: 'json', isTerminal: false, color: false, write, ...options }),
  };
}

test('one line is one JSON object with time, level, message and fields', () => {
  const { lines, logger: log } = logger();
  log.child({ part: 'server' }).info({ port: 8787 }, 'listening');
  const [line = ''] = lines;
  expect(line.endsWith('\n')).toBe(true);
  const { time, ...rest } = JSON.parse(line);
  expect(rest).toEqual({ level: 'info', part: 'server', port: 8787, message: 'listening' });
  expect(Date.parse(time)).toBeGreaterThan(0);
});

test('lines below the level are not written', () => {
  const { lines, logger: log } = logger({ level: 'warn' });
  log.trace({}, 'a');
  log.debug({}, 'b');
  log.info({}, 'c');
  log.warn({}, 'd');
  log.error({}, 'e');
  expect(lines.map((line) => JSON.parse(line).message)).toEqual(['d', 'e']);
});

test('secrets are masked by the name of their field and by their form, wherever they stand', () => {
  const { lines, logger: log } = logger();
  log.info({ authorization: 'Bearer x1', nested: { secret: 'x2', deeper: { password: 'x3' } } }, 'a');
  log.info({ note: 'used lw_abc_0123456789abcdef and whsec_eDQ=' }, 'token lw_abc_fedcba9876543210');
  const text = lines.join('');
  for (const secret of ['x1', 'x2', 'x3', '0123456789abcdef', 'eDQ', 'fedcba9876543210'])
    expect(text).not.toContain(secret);
});

test('auto is readable on a terminal and JSON elsewhere', () => {
  const terminal = logger({ format: 'auto', isTerminal: true });
  terminal.logger.info({ port: 8787 }, 'listening');
  expect(terminal.lines[0]).toMatch(/^\d\d:\d\d:\d\d\.\d{3} info  listening port=8787\n$/);
  const file = logger({ format: 'auto' });
  file.logger.info({}, 'listening');
  expect(JSON.parse(file.lines[0] ?? '').message).toBe('listening');
});

test('a name with control characters cannot steer the terminal or forge a line', () => {
  const { lines, logger: log } = logger({ format: 'pretty' });
  log.info({ job: '\u001B[2Jgone\r\nfake' }, 'job\u0007');
  for (const control of ['\u001B', '\u0007', '\r']) expect(lines[0]).not.toContain(control);
  expect(
    lines[0]
      ?.split('\n')
      .slice(1)
      .every((line) => line === '' || line.startsWith('    ')),
  ).toBe(true);
});
