import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Frame, FrameSink, ResumePoint } from "@tidemark/store-watch/contract";
import { openStore, serveWatch } from "@tidemark/watch-server";
import { watchSource } from "@tidemark/source-watch";

const folder = await mkdtemp(join(tmpdir(), "tidemark-"));
const store = await openStore({ file: join(folder, "store.db") });
const server = await serveWatch({ store });
await store.put("config/port", "8080");

const source = watchSource({ address: server.address, prefix: "config/" });

// A watcher of @tidemark/store-watch is such a sink, with a database behind it.
const done = new AbortController();
let epoch = "";
let resume: ResumePoint | undefined;
const sink: FrameSink = {
  write(frame: Frame) {
    if (frame.type === "begin-snapshot") epoch = frame.epoch;
    if (frame.type === "change") console.log(`${frame.version} ${Buffer.from(frame.key).toString()}`);
    if (frame.type === "snapshot-end" || frame.type === "commit") resume = { epoch, cursor: frame.cursor };
    if (frame.type === "commit") done.abort();
    return true;
  },
  ready: async () => {},
  alive() {},
  status(status) {
    if (status.state === "live") void store.put("config/host", "localhost");
  },
};
await source.run(resume, sink, done.signal).catch(() => {});
console.log(`goes on from ${resume?.cursor}`);

await server.close();
await store.close();
await rm(folder, { recursive: true });
