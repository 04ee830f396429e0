import { type InstrumentedSession, instrumentSession } from '../collectors/onnxruntime.ts';
import { systemClock } from '../src/core/clock.ts';
import type { LeewayRecord } from '../src/core/records.ts';
import { inputFeatures, scoreFeatures } from './features.ts';
import { argmax } from './network.ts';
import { pixelsOf, probabilitiesOf, PROVIDER, type Session, type Tensors } from './onnx-session.ts';

/** A session of the demo that reports each run: predictions at once, `inference` and `counts` at each `flush`. */
export type Instrumented = InstrumentedSession<Tensors, Awaited<ReturnType<Session['run']>>>;

/** The one place where the demo meets the instrumentation of ONNX Runtime. */
export function instrument(
  session: Session,
  names: { readonly model: string; readonly version: string; readonly replica: string },
  emit: (record: LeewayRecord) => void,
): Instrumented {
  return instrumentSession({
    ...names,
    session: { run: (input: Tensors) => session.run(input) },
    provider: PROVIDER,
    clock: systemClock,
    emit,
    describe: (input, outputs) => {
      const scores = Array.from(probabilitiesOf(outputs));
      const features = { ...inputFeatures(pixelsOf(input)), ...scoreFeatures(scores) };
      return { features, prediction: argmax(scores), scores };
    },
  });
}
