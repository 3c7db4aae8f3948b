import { seededRng } from "@tidemark/clock";
import { backoffBoundMs, backoffDefaults, backoffDelayMs, resolveBackoff } from "@tidemark/stream";
import { expect, test } from "vitest";

test("the bound doubles with each failure up to the maximum of its class", () => {
  const bounds = (retryClass: "fast" | "slow") =>
    Array.from({ length: 12 }, (_, index) => backoffBoundMs(backoffDefaults, retryClass, index + 1));
  expect(bounds("fast")).toEqual([50, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
  expect(bounds("slow")).toEqual([1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000, 60000, 60000, 60000]);
  expect(backoffBoundMs(backoffDefaults, "fast", 1e6)).toBe(30_000);
});

test("the wait is uniform over all of [0, bound]", () => {
  const rng = seededRng(7);
  const counts = Array.from({ length: 10 }, () => 0);
  for (let n = 0; n < 10_000; n++) {
    const decile = Math.floor(backoffDelayMs(backoffDefaults, "slow", 5, rng) / 1600);
    counts[decile] = (counts[decile] ?? 0) + 1;
  }
  expect(counts).toHaveLength(10);
  for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(150);
});

test("options are checked", () => {
  expect(resolveBackoff({})).toEqual(backoffDefaults);
  expect(() => resolveBackoff({ initialDelayMs: 0 })).toThrow("initialDelayMs must be above 0, got 0");
  expect(() => resolveBackoff({ slowInitialDelayMs: 10, slowMaxDelayMs: 9 })).toThrow(
    "slowMaxDelayMs must be at least 10, got 9",
  );
});
