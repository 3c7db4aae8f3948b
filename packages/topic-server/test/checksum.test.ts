import { crc32 } from "node:zlib";
import { seededRng } from "@tidemark/clock";
import { expect, test } from "vitest";
import { joinChecksums } from "../src/storage/checksum.ts";

test("the checksum of two parts follows from that of each", () => {
  const rng = seededRng(1);
  const lengths = [0, 1, 255, 4096, 16 * 1024 * 1024, ...Array.from({ length: 300 }, () => rng.int(0, 5000))];
  for (const length of lengths) {
    const first = rng.bytes(rng.int(0, 200));
    const second = Buffer.alloc(length, rng.bytes(37));
    const whole = crc32(Buffer.concat([first, second]));
    expect(joinChecksums(crc32(first), crc32(second), length)).toBe(whole);
  }
});
