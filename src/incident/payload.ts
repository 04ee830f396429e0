import type { Incident } from '../core/incident.ts';

type Data = Readonly<Record<string, unknown>>;

/** `data` of `leeway.incident.*` (contract: api.md). `url` leads to all that does not fit the body. */
export function incidentData(incident: Incident, public_url: string): Data {
  const { id, kind, severity, status, title, subjects, cause, started_at_ms, opened_at_ms, resolved_at_ms } = incident;
  const { coverage_ratio, gpu_seconds_lost, usd_lost, usd_per_hour, rule, runbook_url, job, model, version } = incident;
  return {
    incident: {
      id,
      kind,
      severity,
      status,
      title,
      subjects,
      cause,
      started_at_ms,
      opened_at_ms,
      resolved_at_ms,
      coverage_ratio,
      gpu_seconds_lost,
      usd_lost,
      usd_per_hour,
      rule,
      runbook_url,
      ...(job === null ? {} : { job }),
      ...(model === null ? {} : { model, version }),
    },
    findings: incident.findings,
    url: `${public_url}/incidents/${id}`,
  };
}

/** `data` of `leeway.drift.detected`, from the incident and the evidence of its finding. */
export function driftData(incident: Incident, public_url: string): Data {
  const evidence = incident.findings[0]?.evidence ?? {};
  return {
    model: incident.model,
    version: incident.version,
    incident_id: incident.id,
    detected_at_ms: incident.opened_at_ms,
    estimated_start_ms: incident.started_at_ms,
    features: evidence['features'] ?? [],
    segments: evidence['segments'] ?? [],
    e_value: evidence['e_value'] ?? null,
    samples_per_false_alarm: evidence['samples_per_false_alarm'] ?? null,
    estimated_metrics: evidence['estimated_metrics'] ?? {},
    reference: evidence['reference'] ?? null,
    url: `${public_url}/incidents/${incident.id}`,
  };
}
