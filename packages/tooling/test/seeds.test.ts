import { testSeed } from "@tidemark/tooling/seed";
import fc from "fast-check";
import { expect, test } from "vitest";

test("properties take the seed of the run", () => {
  expect(fc.readConfigureGlobal()).toMatchObject({ seed: testSeed });
  const details = fc.check(fc.property(fc.integer(), () => true));
  expect(details.seed).toBe(testSeed);
});

test.skipIf(process.env["TIDEMARK_LONG"] === "1" || process.env["TIDEMARK_SEED"] !== undefined)(
  "every run has the same seed",
  () => {
    expect(testSeed).toBe(20_261_127);
  },
);
