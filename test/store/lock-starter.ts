// A process that takes the lock of a data directory and frees it, when it is told to. Started by embedded-process.test.ts.
import { lockDataDir } from '../../src/store/data-dir-lock.ts';

const [, , data_dir = ''] = process.argv;
let lock: AsyncDisposable | null = null;

async function answer(command: unknown): Promise<string> {
  if (command === 'lock') {
    lock = await lockDataDir(data_dir).catch(() => null);
    return lock === null ? 'refused' : 'locked';
  }
  await lock?.[Symbol.asyncDispose]();
  lock = null;
  return 'free';
}

process.on('message', (command) => void answer(command).then((told) => process.send?.(told)));
process.on('disconnect', () => process.exit());
process.send?.('ready');
