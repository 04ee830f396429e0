import type { LeewayRecord } from '../src/core/records.ts';
import { argmax } from './network.ts';
import { probabilitiesOf, type Session, type Tensors } from './onnx-session.ts';
import { unixNow_ms } from './timeline.ts';

/** What to instrument and where its records go. `features` reads the named features out of a session's input. */
export type InstrumentOptions = {
  readonly session: Session;
  readonly model: string;
  readonly version: string;
  readonly replica: string;
  readonly provider: string;
  readonly emit: (record: LeewayRecord) => void;
  readonly features: (input: Tensors) => Record<string, number>;
};

/** A session that reports each run. */
export type Instrumented = {
  run(input: Tensors, request: { readonly request_id: string }): Promise<Awaited<ReturnType<Session['run']>>>;
};

/** The one place where the demo meets the instrumentation of ONNX Runtime. */
export async function instrument(options: InstrumentOptions): Promise<Instrumented> {
  const { session, model, version, emit, features } = options;
  return {
    run: async (input, { request_id }) => {
      const outputs = await session.run(input);
      const scores = probabilitiesOf(outputs);
      emit({
        type: 'prediction',
        model,
        version,
        request_id,
        at_ms: unixNow_ms(),
        features: features(input),
        prediction: argmax(scores),
        scores: Array.from(scores),
      });
      return outputs;
    },
  };
}
