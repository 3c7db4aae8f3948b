import fc from "fast-check";
import { expect, test } from "vitest";
import { bannerLines } from "../src/warmup-banner.ts";
import { bannerPromises, health } from "./support/banner-contract.ts";

for (const [name, promise] of Object.entries(bannerPromises)) test(name, () => promise(bannerLines));

test("whatever JSON says, nothing throws, and only lists of what is over are silent", () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.array(fc.jsonValue()), fc.boolean(), (any, migrations, isRunning) => {
      bannerLines(any, 0);
      const lines = bannerLines(health(migrations, isRunning), 0);
      if (isRunning || migrations.length > 0) expect(lines.length).toBeGreaterThan(0);
      for (const { text } of lines) expect(text).not.toMatch(/NaN|undefined|Infinity|\[object/);
    }),
  );
});
