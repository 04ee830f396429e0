/**
 * Fetches the jars of the Kafka broker that tests run (test/integration/kafka/pom.xml) into node_modules/.cache, once.
 * Needs `mvn` on the path; 46 jars, 43 MiB. Use: `node scripts/fetch-kafka.ts`.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';

const MAVEN = 'mvn';
const root = resolve(import.meta.dirname, '..');
const pom = join(root, 'test/integration/kafka/pom.xml');
const version = /<kafka\.version>([^<]+)</.exec(readFileSync(pom, 'utf8'))?.[1];
if (version === undefined) throw new Error(`${pom} names no kafka.version`);
const target = join(root, 'node_modules/.cache/leeway-kafka', version);
const partial = `${target}.tmp`;

if (existsSync(target)) process.exit(0);
rmSync(partial, { recursive: true, force: true });
mkdirSync(partial, { recursive: true });
const goal = ['dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${partial}`];
execFileSync(MAVEN, ['-q', '-B', '-f', pom, ...goal], { stdio: 'inherit' });
rmSync(target, { recursive: true, force: true });
renameSync(partial, target);
console.log(`Kafka ${version} is in ${target}`);
