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
/** What a full buffer takes, as it is by default. */
const maxKeptBytes = 64 * 1024 * 1024;

/** What all open writers of the process keep for reuse: fresh memory costs more than the encoding that fills it. */
const kept = new Map<number, Slab[]>();
let keptBytes = 0;
/**
 * What is above that is kept for as long as the garbage collector leaves it. Memory beside the heap that is allocated
 * again and again makes the collector run for each 64 MiB of it, which a full buffer goes through in a moment.
 */
const spare = new Map<number, WeakRef<Slab>[]>();
let users = 0;

/** A writer is there that will need slabs. */
export function useSlabs(): void {
  users++;
}

/** A writer is gone. With the last one goes what was kept. */
export function leaveSlabs(): void {
  if (--users > 0) return;
  kept.clear();
  spare.clear();
  keptBytes = 0;
}

export function takeSlab(bytes: number): Slab {
  const slab = kept.get(bytes)?.pop();
  if (slab !== undefined) {
    keptBytes -= bytes;
    return slab;
  }
  const list = spare.get(bytes);
  for (let weak = list?.pop(); weak !== undefined; weak = list?.pop()) {
    const alive = weak.deref();
    if (alive !== undefined) return alive;
  }
  return { bytes: Buffer.allocUnsafeSlow(bytes), frames: 0, isLent: false };
}

/** A frame in it is acknowledged. The slab is used again when it is the last and nobody else can hold it. */
export function releaseFrame(slab: Slab): void {
  slab.frames--;
  const { length } = slab.bytes;
  if (slab.frames > 0 || slab.isLent || length < smallestBytes) return;
  if (keptBytes + length > maxKeptBytes) {
    add(spare, length, new WeakRef(slab));
    return;
  }
  add(kept, length, slab);
  keptBytes += length;
}

function add<T>(lists: Map<number, T[]>, length: number, item: T): void {
  const list = lists.get(length);
  if (list === undefined) lists.set(length, [item]);
  else list.push(item);
}
