import { systemClock } from "@tidemark/clock";
import { expect, test } from "vitest";
import { SourceProbe } from "../src/testing/source-probe.ts";

test("a probe keeps copies, also of buffers that the source uses again", () => {
  const probe = new SourceProbe(systemClock, 1_000);
  const key = Buffer.from("a");
  const value = Buffer.from("first");
  probe.write({ type: "change", key, value });
  value.write("other");
  key.write("b");
  probe.write({ type: "commit", cursor: "1" });
  const [change] = probe.groups[0]?.changes ?? [];
  expect([Buffer.from(change?.key ?? []).toString(), Buffer.from(change?.value ?? []).toString()]).toEqual([
    "a",
    "first",
  ]);
});
