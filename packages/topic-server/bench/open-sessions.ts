// How long the event loop of a server stands still while 1,000 producers open their sessions at once, on a disk:
//   node --conditions=@tidemark/source --disable-warning=ExperimentalWarning bench/open-sessions.ts [sessions]
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:http2";
import { join } from "node:path";
import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import { create, toBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { TopicService, topicWire } from "@tidemark/topic/internal";
import { openTopicServer } from "../src/index.ts";
import { TopicStore } from "../src/internal.ts";

const path = "/local/t";
const sessions = Number(process.argv[2] ?? 1000);

/** Opens all sessions, each on a stream, 100 streams a connection; then does so again for producers that are known. */
async function client(port: number): Promise<void> {
  const transport = createGrpcTransport({ baseUrl: `http://127.0.0.1:${port}` });
  const topics = createClient(TopicService, transport);
  await topics.createTopic({ path, partitioningSettings: { minActivePartitions: 8n } });
  for (const round of ["new", "known"]) {
    process.send?.(round);
    await once(process, "message");
    const connections = Array.from({ length: Math.ceil(sessions / 100) }, () => connect(`http://127.0.0.1:${port}`));
    await Promise.all(connections.map((connection) => once(connection, "connect")));
    const opened = Array.from({ length: sessions }, async (_, index) => {
      const stream = (connections[Math.floor(index / 100)] as ReturnType<typeof connect>).request({
        ":method": "POST",
        ":path": "/Ydb.Topic.V1.TopicService/StreamWrite",
        "content-type": "application/grpc+proto",
        te: "trailers",
      });
      const producerId = `producer-${index}`;
      const message = create(topicWire.StreamWriteMessage_FromClientSchema, {
        clientMessage: { case: "initRequest", value: { path, producerId } },
      });
      const body = toBinary(topicWire.StreamWriteMessage_FromClientSchema, message);
      const frame = Buffer.alloc(5 + body.length);
      frame.writeUInt32BE(body.length, 1);
      frame.set(body, 5);
      stream.write(frame);
      await once(stream, "data");
    });
    await Promise.all(opened);
    for (const connection of connections) connection.destroy();
  }
  process.send?.("done");
}

const quantile = (sorted: readonly number[], q: number) => sorted[Math.floor((sorted.length - 1) * q)] ?? 0;
const show = (ms: number) => ms.toFixed(2).padStart(8);

async function server(): Promise<void> {
  const folder = mkdtempSync(join(process.env["TIDEMARK_BENCH_DIR"] ?? import.meta.dirname, "open-sessions-"));
  const it = await openTopicServer({ dataDir: folder });
  const { catalog } = it.store as TopicStore;
  let commits: number[] = [];
  const commit = catalog.commit.bind(catalog);
  catalog.commit = (...args) => {
    const start = performance.now();
    commit(...args);
    commits.push(performance.now() - start);
  };
  const child = fork(import.meta.filename, [String(sessions), String(it.port)]);
  const delay = monitorEventLoopDelay({ resolution: 1 });
  let startMs = 0;
  let round = "";
  const report = () => {
    delay.disable();
    commits.sort((a, b) => a - b);
    const total = commits.reduce((sum, ms) => sum + ms, 0);
    console.log(
      `${round.padEnd(6)} ${sessions} sessions in ${show(performance.now() - startMs)} ms; loop delay ` +
        `p50 ${show(delay.percentile(50) / 1e6)} p99 ${show(delay.percentile(99) / 1e6)} max ${show(delay.max / 1e6)} ms; ` +
        `${commits.length} commits p50 ${show(quantile(commits, 0.5))} max ${show(quantile(commits, 1))} ` +
        `total ${show(total)} ms`,
    );
  };
  child.on("message", (message) => {
    if (round !== "") report();
    round = message as string;
    if (round === "done") return;
    commits = [];
    startMs = performance.now();
    delay.reset();
    delay.enable();
    child.send("go");
  });
  await once(child, "exit");
  await it.close();
  rmSync(folder, { recursive: true, force: true });
}

if (process.argv[3] === undefined) await server();
else {
  await client(Number(process.argv[3]));
  process.disconnect();
}
