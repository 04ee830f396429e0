import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { LoadedConfig } from '../../config.ts';
import type { Config } from '../../config/schema.ts';
import { systemClock } from '../../core/clock.ts';
import { integerBelow, systemRandom } from '../../core/random.ts';
import type { KafkaConnection, KafkaDriver } from '../../transport/kafka-driver.ts';
import { type KafkaLetter, kafkaLetters, type LetterTopic, replayKafkaLetter } from '../../transport/kafka-letters.ts';
import { RAW_BYTES_MAX } from '../../transport/spool-letters.ts';
import type { Letter, LetterBox, Replayed } from './letter.ts';

type KafkaSettings = Extract<Config['bus'], { kind: 'kafka' }>;

/** The letters of the scaled bus: its dead-letter topic. Throws as the driver does: LW-UNREACHABLE, LW-KAFKA-AUTH. */
export async function openKafkaBox(loaded: LoadedConfig, bus: KafkaSettings, signal: AbortSignal): Promise<LetterBox> {
  const driver = await openDriver(bus.driver, await connectionOf(loaded, bus));
  return kafkaBox(driver, bus.topic_prefix, signal);
}

/** The letters of a driver's dead-letter topic. */
export function kafkaBox(driver: KafkaDriver, prefix: string, signal: AbortSignal): LetterBox {
  const topics = { frames: `${prefix}frames.v1`, dead_letters: `${prefix}deadletter.v1` };
  const source = (): LetterTopic => {
    const group = `${prefix}deadletter-${integerBelow(systemRandom, 2 ** 48).toString(16)}`;
    return { driver, topic: topics.dead_letters, group, clock: systemClock, signal };
  };
  return {
    place: `topic ${topics.dead_letters}`,
    next: 'the workers store what was put back; the declared loss "quarantined" falls by as much',
    list: async () => {
      const letters = new Map<string, Letter>();
      const replayed = new Set<string>();
      for await (const letter of kafkaLetters(source())) {
        if (letter.replayed === null) letters.set(letter.id, shown(letter));
        else replayed.add(letter.replayed);
      }
      return [...letters.values()]
        .filter(({ id }) => !replayed.has(id))
        .toSorted((one, other) => (one.set_aside_at_ms ?? 0) - (other.set_aside_at_ms ?? 0));
    },
    replay: async (letters) => {
      const wanted = new Map(letters.map((letter) => [letter.id, letter]));
      const done: Replayed[] = [];
      // read a second time: a letter may have half a megabyte, and there may be many
      for await (const letter of kafkaLetters(source())) {
        const rows = wanted.get(letter.id)?.rows;
        if (rows === undefined) continue;
        await replayKafkaLetter(driver, letter, topics);
        done.push({ id: letter.id, rows });
      }
      return done;
    },
    [Symbol.asyncDispose]: () => driver.close(),
  };
}

function shown({ id, message, code, reason, bytes, table, frame }: KafkaLetter): Letter {
  const value = message.value ?? Buffer.alloc(0);
  const header = typeof frame === 'string' ? null : frame;
  const cut = value.length < bytes ? `only ${value.length} of its ${bytes} bytes were kept` : null;
  const sequence = header?.sequence ?? 0;
  return {
    id,
    kind: header === null ? 'unreadable' : 'rejected',
    table,
    bytes,
    frames: header === null ? 0 : 1,
    rows: header?.rows ?? 0,
    contents:
      header === null
        ? []
        : [{ source: header.source, epoch: header.epoch, rows: header.rows, sequences: [[sequence, sequence]] }],
    code,
    reason,
    set_aside_at_ms: message.at_ms,
    not_replayable: cut ?? (typeof frame === 'string' ? frame : null),
    raw: Buffer.from(value.subarray(0, RAW_BYTES_MAX)),
  };
}

async function connectionOf(loaded: LoadedConfig, bus: KafkaSettings): Promise<KafkaConnection> {
  const { brokers, tls, sasl } = bus;
  const password = sasl === null ? '' : ((await loaded.readSecret(sasl.password_file))[0] ?? '');
  return {
    brokers,
    tls: typeof tls === 'boolean' ? tls : { ca: await readFile(resolve(loaded.source.cwd, tls.ca_file), 'utf8') },
    sasl: sasl === null ? null : { mechanism: sasl.mechanism, username: sasl.username, password },
    session_timeout_ms: 10_000,
    heartbeat_ms: 1_000,
  };
}

async function openDriver(name: KafkaSettings['driver'], connection: KafkaConnection): Promise<KafkaDriver> {
  // loaded on demand: the embedded service needs neither package
  if (name === 'kafkajs') return (await import('../../transport/kafkajs-driver.ts')).kafkajsDriver(connection);
  return (await import('../../transport/platformatic-driver.ts')).platformaticDriver(connection);
}
