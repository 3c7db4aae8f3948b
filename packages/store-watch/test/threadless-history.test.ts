import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@tidemark/clock";
import { expect, onTestFinished, test } from "vitest";
import { FrameBuffer, openHistory } from "../src/index.ts";
import { openThreadlessHistory } from "../src/testing/threadless-history.ts";
import { streamOptions } from "./history/helpers.ts";

test("a history without threads writes the same file, and throws the same errors", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-threadless-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "history.db");
  const history = await openThreadlessHistory({ file, origin: "here", clock: systemClock });
  const stream = await history.openStream(streamOptions("s"));
  const buffer = new FrameBuffer();
  buffer.write({ type: "begin-snapshot", epoch: "e" });
  buffer.write({ type: "change", key: Buffer.from("k"), value: Buffer.from("v"), version: "1" });
  buffer.write({ type: "snapshot-end", cursor: "1" });
  expect(await stream.append(buffer)).toMatchObject({ versions: 1, resume: { epoch: "e", cursor: "1" } });
  await expect(history.get("none", Buffer.from("k"))).rejects.toMatchObject({
    name: "StoreWatchError",
    code: "NOT_FOUND",
  });
  expect((await history.fsck()).findings).toEqual([]);
  await history.close();
  await expect(history.position()).rejects.toMatchObject({ code: "CLOSED" });

  await using again = await openHistory({ file });
  expect(again.origin).toBe("here");
  expect(Buffer.from((await again.get("s", Buffer.from("k")))?.value ?? []).toString()).toBe("v");
});
