/** Memory that frames are cut out of. */
export interface Slab {
  readonly bytes: Buffer;
  /** Frames in it that are not acknowledged. */
  frames: number;
  /** Somebody may still hold what is in it, such as a stream that was cancelled, so it must not be written again. */
  isLent: boolean;
}

/** Smaller ones are not worth keeping. */
const smallestBytes = 64 * 1024;
const maxKeptBytes = 16 * 1024 * 1024;

/** What all writers of the process keep for reuse: fresh memory costs more than the encoding that fills it. */
const kept = new Map<number, Slab[]>();
let keptBytes = 0;

export function takeSlab(bytes: number): Slab {
  const slab = kept.get(bytes)?.pop();
  if (slab === undefined) return { bytes: Buffer.allocUnsafeSlow(bytes), frames: 0, isLent: false };
  keptBytes -= bytes;
  return slab;
}

/** A frame in it is acknowledged. The slab is used again when it is the last and nobody else can hold it. */
export function releaseFrame(slab: Slab): void {
  slab.frames--;
  const { length } = slab.bytes;
  if (slab.frames > 0 || slab.isLent || length < smallestBytes || keptBytes + length > maxKeptBytes) return;
  const list = kept.get(length);
  if (list === undefined) kept.set(length, [slab]);
  else list.push(slab);
  keptBytes += length;
}
