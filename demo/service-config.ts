import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { STRAGGLER_LIVE_DEMO } from '../src/straggler/options.ts';
import { CLUSTER } from './cluster.ts';

/** The windows of a live demo: 4 s of 60 requests a second, where a product would take an hour. */
const DRIFT = { window_ms: 4_000, rows_min: 120, reference_rows: 500 };
/** A decision asks for three of four drifted windows and this many labels. */
const LABELS_MIN = 500;

export type DemoSecrets = { readonly webhook: string; readonly target: string; readonly deploy: string };

/** Fresh secrets of one run. */
export function newSecrets(): DemoSecrets {
  const secret = (): string => `whsec_${randomBytes(24).toString('base64')}`;
  return { webhook: secret(), target: secret(), deploy: randomBytes(24).toString('hex') };
}

/** Writes the service's configuration and secret files into `directory`; returns the configuration's path. */
export async function writeServiceConfig(
  directory: string,
  of: { readonly port: number; readonly receivers_port: number; readonly secrets: DemoSecrets },
): Promise<string> {
  const file = (name: string): string => join(directory, 'secrets', name);
  await mkdir(join(directory, 'secrets'), { recursive: true, mode: 0o700 });
  const base = `http://127.0.0.1:${of.receivers_port}`;
  const secrets = {
    webhook: of.secrets.webhook,
    target: of.secrets.target,
    slack: `${base}/slack`,
    pagerduty: '0123456789abcdef0123456789abcdef',
  };
  for (const [name, text] of Object.entries(secrets)) await writeFile(file(name), `${text}\n`, { mode: 0o600 });
  const path = join(directory, 'leeway.config.json');
  await writeFile(path, JSON.stringify(serviceConfig(directory, { ...of, base, file }), null, 2));
  return path;
}

type Places = { readonly port: number; readonly base: string; readonly file: (name: string) => string };

function serviceConfig(directory: string, { port, base, file }: Places): Record<string, unknown> {
  return {
    server: { port },
    data_dir: join(directory, 'data'),
    egress: { allow_hosts: ['127.0.0.1'], allow_http: true },
    sinks: [
      { id: 'webhook', kind: 'webhook', url: `${base}/webhook`, secret_file: file('webhook'), types: ['leeway.*'] },
      { id: 'slack', kind: 'slack', url_file: file('slack'), types: ['leeway.*'] },
      { id: 'pagerduty', kind: 'pagerduty', routing_key_file: file('pagerduty'), base_url: base },
      { id: 'alertmanager', kind: 'alertmanager', url: base },
    ],
    drift: {
      window_ms: DRIFT.window_ms,
      rows_min: DRIFT.rows_min,
      reference: { kind: 'first_rows', rows: DRIFT.reference_rows },
    },
    stragglers: stragglerSettings(),
    retraining: {
      policies: [
        {
          id: 'digits',
          model: CLUSTER.model,
          mode: 'auto',
          target: { kind: 'webhook', url: `${base}/retrain`, secret_file: file('target') },
          hysteresis: { windows: 4, drifted_min: 3 },
          labels_min: LABELS_MIN,
          estimated_run_usd: '1',
          evidence: 'performance',
        },
      ],
    },
    delivery: { timeout_ms: 5_000, retry_base_ms: 1_000, retry_max_ms: 10_000 },
    log: { level: 'info', format: 'json' },
  };
}

/** The straggler rule for four ranks on a noisy machine (reference figures: docs/explanation/stragglers.md). */
function stragglerSettings(): Record<string, unknown> {
  const {
    block_steps,
    theta_ratio,
    z_min,
    scale_floor_ratio,
    warmup_steps,
    min_duration_ms,
    lateness_ms,
    job_theta_ratio,
  } = STRAGGLER_LIVE_DEMO;
  return {
    block_steps,
    theta_ratio,
    z_min,
    scale_floor_ratio,
    warmup_steps,
    min_duration_ms,
    lateness_ms,
    job_theta_ratio,
  };
}
