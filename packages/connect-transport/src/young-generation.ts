import { getHeapSpaceStatistics } from "node:v8";

/** The young generation is collected about once for so many bytes received. */
const collectEveryBytes = 16 * 1024 * 1024;
const stepBytes = 64 * 1024;

let sinceStep = 0;
let sinceLook = collectEveryBytes;
/** Elements to allocate for each step. */
let elements = 0;
/** What was allocated last: a compiler may leave out what is never stored. */
const last: { filler: unknown } = { filler: undefined };

/**
 * Tells that a chunk was received, which somebody holds for a short while.
 *
 * V8 collects its young generation when that is full of objects. The buffers that Node reads into are not counted: a stream
 * of views makes few objects, so tens of megabytes of dead buffers wait until their sum forces a full collection, which costs
 * ten times as much and stops the thread. So the young generation is filled in step with what is received: garbage that
 * nobody holds costs only the writing of it. Where it is small, as with `--max-semi-space-size=1`, that is next to nothing.
 */
export function countReceived(bytes: number): void {
  sinceStep += bytes;
  if (sinceStep < stepBytes) return;
  sinceLook += sinceStep;
  sinceStep = 0;
  if (sinceLook >= collectEveryBytes) {
    sinceLook = 0;
    elements = Math.floor((stepBytes / 8) * Math.min(1, youngBytes() / collectEveryBytes));
  }
  // oxlint-disable-next-line unicorn/no-new-array -- to fill it would cost more than all the rest
  last.filler = new Array(elements);
}

function youngBytes(): number {
  const space = getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space");
  return space === undefined ? 0 : space.space_used_size + space.space_available_size;
}
