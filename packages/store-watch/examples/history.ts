import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FrameBuffer, openHistory } from "@tidemark/store-watch";

const folder = await mkdtemp(join(tmpdir(), "tidemark-"));
const key = Buffer.from("/app/color");
const capabilities = {
  resumable: true,
  transactional: true,
  tombstones: true,
  snapshotMarker: true,
  tooOldSignal: true,
  ordered: true,
  versioned: true,
};

{
  await using history = await openHistory({ file: join(folder, "history.db") });
  // The watcher does this part: it writes a source's frames and keeps the buffers going.
  const stream = await history.openStream({
    name: "config",
    kind: "own",
    description: "own",
    scope: "*",
    capabilities,
  });
  const buffer = new FrameBuffer();
  buffer.write({ type: "begin-snapshot", epoch: "cluster-1" });
  buffer.write({ type: "change", key, value: Buffer.from("blue"), version: "a7" });
  buffer.write({ type: "snapshot-end", cursor: "a7" });
  buffer.write({ type: "change", key, value: Buffer.from("red"), version: "a8" });
  buffer.write({ type: "commit", cursor: "a8" });
  await stream.append(buffer);

  const now = await history.get("config", key);
  const before = await history.get("config", key, { at: { cursor: "a7" } });
  const { items } = await history.log("config", key);
  const { isClean } = await history.fsck();
  const text = (version = before) => Buffer.from(version?.value ?? []).toString();
  console.log(`${text()} became ${text(now)}, ${items.length} versions, ${isClean ? "sound" : "broken"}`);
}

await rm(folder, { recursive: true });
