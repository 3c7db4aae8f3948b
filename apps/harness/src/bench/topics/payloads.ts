import { seededRng } from "@tidemark/clock";

/** How many different ones there are: a power of two. */
const variety = 256;

/** Random bytes, so nothing can shrink them, and made beforehand, so nobody pays for making them. */
export function payloadsOf(bytes: number): readonly Buffer[] {
  const random = Buffer.from(seededRng(1).bytes(bytes + variety));
  return Array.from({ length: variety }, (_, start) => random.subarray(start, start + bytes));
}

export const payloadMask = variety - 1;
