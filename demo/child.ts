import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { LeewayError } from '../src/core/errors.ts';

/** The demo's process kinds; each is the module of that name in this folder. */
export type ChildModule = 'rank' | 'serve-model' | 'client' | 'trainer';

/** A message between a child and its parent: one JSON object whose keys say what it is. */
export type Message = Readonly<Record<string, unknown>>;

/** A child's side of the channel. */
export type Parent = {
  /** Resolves when the message has left this process; a parent that is gone is no error. */
  send(message: Message): Promise<void>;
  /** Calls `handle` for every message after the configuration, including those that came before this call. */
  receive(handle: (message: Message) => void): void;
  /** Aborted when the parent is gone or this process got SIGTERM: finish cleanly now. */
  readonly ending: AbortSignal;
};

/** A child that has not ended this long after losing its parent is cut off, so that none is left behind. */
const ORPHAN_MS_MAX = 8_000;
/** Messages held until `receive`: a parent sends a handful at the start. */
const EARLY_MESSAGES_MAX = 100;

/**
 * Starts a process of the demo and gives it its configuration as the first message (not as an argument: it may hold a
 * secret, and arguments are visible to every user of the machine).
 */
export function forkChild(module: ChildModule, config: object): ChildProcess {
  const child = fork(fileURLToPath(new URL(`./${module}.ts`, import.meta.url)), {
    execArgv: [`--env-file=${fileURLToPath(new URL('./child.env', import.meta.url))}`],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    serialization: 'json',
  });
  child.on('error', () => undefined); // a message to a child that has just ended: its exit says the rest
  child.send({ config });
  return child;
}

/**
 * Body of a child process: waits for the configuration, runs `main`, then ends the process with 0, or with 1 after telling
 * the parent `{failed: reason}`. Ctrl-C reaches the whole process group: children leave it to the parent to stop them.
 */
export function runChild<Config>(main: (config: Config, parent: Parent) => Promise<void>): void {
  if (process.send === undefined)
    throw new LeewayError('LW-USAGE', 'this module is a child process of the demo; start it with "leeway demo"');
  const ending = new AbortController();
  const early: Message[] = [];
  let handler: ((message: Message) => void) | null = null;
  let started = false;
  const parent: Parent = {
    send,
    ending: ending.signal,
    receive: (handle) => {
      handler = handle;
      for (const message of early.splice(0)) handle(message);
    },
  };
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => ending.abort());
  process.on('disconnect', () => {
    ending.abort();
    setTimeout(() => process.exit(1), ORPHAN_MS_MAX).unref();
  });
  process.on('message', (raw) => {
    const message = messageOf(raw);
    if (!started) {
      started = true;
      void finish(main(message['config'] as Config, parent)); // the parse door: forkChild's own JSON
    } else if (handler !== null) handler(message);
    else if (early.length < EARLY_MESSAGES_MAX) early.push(message);
  });
}

async function finish(main: Promise<void>): Promise<void> {
  try {
    await main;
    process.exitCode = 0;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    process.stderr.write(`demo process ${process.pid}: ${reason}\n`);
    await send({ failed: reason });
    process.exitCode = 1;
  }
  process.exit();
}

function send(message: Message): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined || !process.connected) return resolve();
    process.send(message, undefined, {}, () => resolve());
  });
}

/**
 * Asks a child to end by SIGTERM and waits until it has; cuts it off after `limit_ms`. One that has ended already is no
 * error.
 */
export async function endChild(child: ChildProcess, limit_ms: number): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  const late = setTimeout(() => child.kill('SIGKILL'), limit_ms);
  await ended;
  clearTimeout(late);
}

/** A received value as a message: any object; what is none becomes an empty message. */
export function messageOf(value: unknown): Message {
  return typeof value === 'object' && value !== null ? (value as Message) : {}; // the parse door of the channel
}

/** A finite number under `key`, or null. */
export function numberIn(message: Message, key: string): number | null {
  const value = message[key];
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

/** A text under `key`, or null. */
export function textIn(message: Message, key: string): string | null {
  const value = message[key];
  return typeof value === 'string' ? value : null;
}

/**
 * Resolves with the first message of `child` that holds `key`; rejects with LW-INTERNAL when the child ends or fails first,
 * and with LW-TIMEOUT after `timeout_ms`.
 */
export function awaitMessage(child: ChildProcess, key: string, timeout_ms: number): Promise<Message> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      child.off('message', onMessage);
      child.off('exit', onExit);
      act();
    };
    const onMessage = (raw: unknown): void => {
      const message = messageOf(raw);
      const failed = textIn(message, 'failed');
      if (message[key] !== undefined) settle(() => resolve(message));
      else if (failed !== null)
        settle(() => reject(new LeewayError('LW-INTERNAL', `demo process ${child.pid}: ${failed}`)));
    };
    const onExit = (code: number | null, signal: string | null): void =>
      settle(() =>
        reject(new LeewayError('LW-INTERNAL', `demo process ${child.pid} ended (${code ?? signal}) before "${key}"`)),
      );
    const timer = setTimeout(
      () =>
        settle(() =>
          reject(new LeewayError('LW-TIMEOUT', `demo process ${child.pid}: no "${key}" in ${timeout_ms} ms`)),
        ),
      timeout_ms,
    );
    child.on('message', onMessage);
    child.once('exit', onExit);
    if (child.exitCode !== null || child.signalCode !== null) onExit(child.exitCode, child.signalCode);
  });
}
