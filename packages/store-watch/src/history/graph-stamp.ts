import type { Stamp } from "./graph-types.ts";

/** How much of a stamp's text is its time; the origin behind that only breaks ties. */
export const stampDigits = 16;

/** Sorts as text like (ms, counter, origin). */
export function stampText({ ms, counter }: Stamp, origin: string): string {
  return `${ms.toString(16).padStart(12, "0")}${counter.toString(16).padStart(4, "0")}-${origin}`;
}

/** Greatest first. A version of a graph is its stamp as text. */
export function byStamp(one: { readonly version: string }, other: { readonly version: string }): number {
  return one.version < other.version ? 1 : -1;
}

export function laterStamp(one: Stamp, other: Stamp): Stamp {
  return other.ms > one.ms || (other.ms === one.ms && other.counter > one.counter) ? other : one;
}
