import { Decoding, type DecodeResult, type MigDevice, notDecodable, quoted } from './decode-result.ts';
import { captureSections, isErrorLine, linesOf, sectionsOf } from './nvidia-smi-capture.ts';

/** A GPU of `nvidia-smi -L` with the MIG devices listed under it. */
export type ListedGpu = {
  readonly index: string;
  readonly name: string;
  readonly uuid: string;
  readonly mig: MigDevice[];
};

const GPU_LINE = /^GPU (\d{1,6}): (.{1,256}) \(UUID: (\S{1,128})\)$/;
const MIG_LINE = /^MIG (\S{1,64})\s{1,64}Device\s{1,64}(\d{1,6}): \(UUID: (\S{1,128})\)$/;

/** One line of `-L`: a GPU, a MIG device of the GPU before it, or neither. */
export function listedGpu(line: string): ListedGpu | null {
  const match = GPU_LINE.exec(line.trim());
  return match === null ? null : { index: match[1] ?? '', name: match[2] ?? '', uuid: match[3] ?? '', mig: [] };
}

function listedMig(line: string): MigDevice | null {
  const match = MIG_LINE.exec(line.trim());
  if (match === null) return null;
  return { 'hw.id': match[3] ?? '', profile: match[1] ?? '', device: Number(match[2]) };
}

/** The GPUs that the `-L` section of a capture lists; empty for a text that is no capture or has no such section. */
export function gpusOfCapture(text: string): readonly ListedGpu[] {
  const section = captureSections(text)?.find((found) => LIST_COMMAND.test(found.command));
  if (section === undefined) return [];
  const gpus: ListedGpu[] = [];
  for (const line of linesOf(section.body)) {
    const gpu = listedGpu(line);
    if (gpu !== null) gpus.push(gpu);
    const mig = gpu === null ? listedMig(line) : null;
    if (mig !== null) gpus.at(-1)?.mig.push(mig);
  }
  return gpus;
}

const LIST_COMMAND = /nvidia-smi\s+(-L|--list-gpus)\b/;

/** `nvidia-smi -L`: the inventory, MIG devices under their GPU. No samples. Throws LW-INPUT when no line is of it. */
export function decodeNvidiaSmiList(text: string): DecodeResult {
  const decoding = new Decoding();
  const gpus: ListedGpu[] = [];
  let known = 0;
  for (const section of sectionsOf(text, LIST_COMMAND, 'nvidia-smi -L'))
    for (const line of linesOf(section.body)) {
      if (line.trim() === '') continue;
      const gpu = listedGpu(line);
      const mig = gpu === null ? listedMig(line) : null;
      if (gpu !== null) gpus.push(gpu);
      else if (mig !== null && gpus.length > 0) gpus.at(-1)?.mig.push(mig);
      else if (!isErrorLine(decoding, line, {})) {
        decoding.warn('LW-DECODE-LINE', quoted(line));
        continue;
      }
      known++;
    }
  if (known === 0) throw notDecodable('no line of nvidia-smi -L', '"GPU 0: name (UUID: …)"');
  for (const gpu of gpus)
    decoding.device({ 'hw.id': gpu.uuid, name: gpu.name, driver: null, mig: gpu.mig, index: Number(gpu.index) });
  return decoding.result();
}
