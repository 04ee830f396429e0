import type { DecodedSamples } from './decoded-samples.ts';
import { concatenated, fieldBytes, varintBytes } from './protobuf-bytes.ts';

/** What an OTLP sender is told: how many data points were refused, and why. 0 and '': everything was taken. */
export type OtlpPartialSuccess = { readonly rejected_points_count: number; readonly message: string };

/** The partial success of a decoded body. Exemplars that were refused are a warning: they are no data points. */
export function partialSuccessOf({ rejections, rejected_points_count }: DecodedSamples): OtlpPartialSuccess {
  return {
    rejected_points_count,
    message: rejections.map(({ code, count, reason }) => `${count} × ${code}: ${reason}`).join('; '),
  };
}

/**
 * ExportMetricsServiceResponse in protobuf: `partial_success = 1 { int64 rejected_data_points = 1; string
 * error_message = 2 }`, left out when there is nothing to tell (collector/metrics/v1/metrics_service.proto).
 */
export function encodeOtlpResponse({ rejected_points_count, message }: OtlpPartialSuccess): Uint8Array {
  const parts: Uint8Array[] = [];
  if (rejected_points_count > 0) parts.push(...fieldBytes(1, 0, varintBytes(BigInt(rejected_points_count))));
  if (message !== '') parts.push(...fieldBytes(2, 2, new TextEncoder().encode(message)));
  return parts.length === 0 ? new Uint8Array(0) : concatenated(fieldBytes(1, 2, concatenated(parts)));
}

/** The same as OTLP/JSON: 64-bit numbers are strings there. */
export function encodeOtlpResponseJson({ rejected_points_count, message }: OtlpPartialSuccess): string {
  if (rejected_points_count === 0 && message === '') return '{}';
  return JSON.stringify({
    partialSuccess: {
      ...(rejected_points_count > 0 ? { rejectedDataPoints: String(rejected_points_count) } : {}),
      ...(message === '' ? {} : { errorMessage: message }),
    },
  });
}
