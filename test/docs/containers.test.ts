import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { DASHBOARDS } from '../../dashboards/all.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const compose = readFileSync(join(ROOT, 'docker-compose.yml'), 'utf8');
const dockerfile = readFileSync(join(ROOT, 'Dockerfile'), 'utf8');

/** The text of each service of the compose file by name: two spaces of indent below `services:`. */
function services(text: string): Map<string, string> {
  const body = /^services:\n([\s\S]*?)^(?=\w)/m.exec(text)?.[1] ?? '';
  const found = new Map<string, string>();
  for (const part of body.split(/^(?= {2}\w)/m)) {
    const name = /^ {2}([\w-]+):/.exec(part)?.[1];
    if (name !== undefined) found.set(name, part);
  }
  return found;
}

const found = services(compose);
const names = [...found.keys()];

/** What a service lacks of the settings that every one must have. */
function weaknesses(service: string): string[] {
  const ports = [...service.matchAll(/^ {4}ports: \[(.*)\]$/gm)].flatMap((match) => (match[1] ?? '').split(', '));
  return [
    ...(service.includes('<<: *hardened') ? [] : ['not hardened']),
    ...(/^ {4}user: '[1-9][0-9]*:[0-9]+'$/m.test(service) ? [] : ['root']),
    ...(/^ {4}(privileged|cap_add|network_mode|pid|ipc|devices):/m.test(service) ? ['privileges'] : []),
    ...(service.includes('docker.sock') ? ['docker socket'] : []),
    ...(/^ {4}image: \S+:[\w.-]*\d[\w.-]*$/m.test(service) ? [] : ['no version']),
    ...(/(PASSWORD|SECRET|TOKEN|KEY)\w*: (?!\/run\/secrets\/)/.test(service) ? ['secret in the environment'] : []),
    ...ports.filter((port) => !port.startsWith("'127.0.0.1:")).map((port) => `public port ${port}`),
  ];
}

describe('docker-compose.yml', () => {
  test('has the services that it says', () => {
    expect(names).toEqual(['leeway', 'prometheus', 'alertmanager', 'grafana', 'kafka', 'clickhouse', 'postgres']);
  });

  test('the shared settings take every privilege', () => {
    const shared = /^x-hardened: &hardened\n((?: {2}.*\n)+)/m.exec(compose)?.[1] ?? '';
    for (const line of [
      'read_only: true',
      'cap_drop: [ALL]',
      "security_opt: ['no-new-privileges:true']",
      'pids_limit: 512',
    ])
      expect(shared).toContain(`  ${line}\n`);
  });

  test.each(names)(
    '%s is hardened, not root, with a version, ports on this machine only and no secret in sight',
    (name) => {
      expect(weaknesses(found.get(name) ?? '')).toEqual([]);
    },
  );

  test('what this version does not use starts only with the profile "scaled"', () => {
    const scaled = names.filter((name) => found.get(name)?.includes('profiles: [scaled]'));
    expect(scaled).toEqual(['kafka', 'clickhouse', 'postgres']);
  });

  test('every file and folder that it mounts is there, but for the secrets', () => {
    const mounted = [...compose.matchAll(/- (\.\/[^:]+):/g)].map((match) => match[1] ?? '');
    expect(mounted.length).toBeGreaterThanOrEqual(5);
    expect(mounted.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  });

  test.each<[string, string]>([
    ['not hardened', "  a:\n    image: a:1\n    user: '1:1'\n"],
    ['root', '  a:\n    <<: *hardened\n    image: a:1\n'],
    ['root', "  a:\n    <<: *hardened\n    image: a:1\n    user: '0:0'\n"],
    ['privileges', "  a:\n    <<: *hardened\n    image: a:1\n    user: '1:1'\n    privileged: true\n"],
    ['no version', "  a:\n    <<: *hardened\n    image: a:latest\n    user: '1:1'\n"],
    ["public port '80:80'", "  a:\n    <<: *hardened\n    image: a:1\n    user: '1:1'\n    ports: ['80:80']\n"],
    [
      'secret in the environment',
      "  a:\n    <<: *hardened\n    image: a:1\n    user: '1:1'\n    environment:\n      A_PASSWORD: x\n",
    ],
  ])('a service that has "%s" is found', (weakness, service) => {
    expect(weaknesses(service)).toEqual([weakness]);
  });
});

describe('Dockerfile', () => {
  const lines = dockerfile.split('\n');

  test('ends as a user by number that is not root, and copies nothing afterwards', () => {
    const user = lines.findIndex((line) => line.startsWith('USER '));
    expect(lines[user]).toBe('USER 1000:1000');
    expect(lines.slice(user).filter((line) => /^(COPY|ADD|RUN|USER 0|USER root)/.test(line))).toEqual([]);
  });

  test('installs from the lock file without development dependencies, and the scripts of packages stay off', () => {
    expect(dockerfile).toContain('RUN npm ci --omit=dev');
    expect(readFileSync(join(ROOT, '.npmrc'), 'utf8')).toContain('ignore-scripts=true');
  });

  test('asks the health route and names the port of the configuration', () => {
    expect(dockerfile).toContain('HEALTHCHECK');
    expect(dockerfile).toContain("fetch('http://127.0.0.1:8787/healthz')");
    expect(lines).toContain('EXPOSE 8787');
    expect(JSON.parse(readFileSync(join(ROOT, 'deploy/leeway/leeway.config.json'), 'utf8'))).toMatchObject({
      server: { port: 8787 },
      data_dir: '/var/lib/leeway',
    });
  });

  test('copies only what is there and what .dockerignore lets through', () => {
    const allowed = readFileSync(join(ROOT, '.dockerignore'), 'utf8');
    const copied = lines
      .filter((line) => line.startsWith('COPY ') && !line.includes('--from'))
      .flatMap((line) => line.split(' ').slice(1, -1));
    expect(copied.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
    expect(copied.filter((path) => !allowed.includes(`!${path}\n`))).toEqual([]);
  });
});

test('Grafana is given the folder that holds the dashboards', () => {
  const provider = readFileSync(join(ROOT, 'deploy/grafana/provisioning/dashboards/leeway.yml'), 'utf8');
  expect(provider).toContain('path: /etc/leeway/dashboards');
  expect(compose).toContain('- ./dashboards:/etc/leeway/dashboards:ro');
  for (const name of Object.keys(DASHBOARDS)) expect(existsSync(join(ROOT, 'dashboards', `${name}.json`))).toBe(true);
});
