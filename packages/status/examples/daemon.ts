import { once } from "node:events";
import { createServer } from "node:http";
import { addStreamMetrics, createStatus, Metrics, toNodeListener } from "@tidemark/status";

// Whatever your program has; here it is made up.
const database = { ping: async (_signal: AbortSignal) => {} };
const streams = [
  {
    name: "etcd",
    kind: "etcd",
    state: "live",
    hasProblem: false,
    keys: 3,
    versions: 10,
    gaps: 0,
    quarantined: 0,
    reconnects: 0,
    drops: 0,
    duplicates: 0,
    inflightBytes: 0,
  },
];

const metrics = new Metrics({ version: "1.0.0" });
const watched = addStreamMetrics(metrics, { read: () => streams });
const status = createStatus({
  metrics,
  version: "1.0.0",
  liveness: { database: (signal) => database.ping(signal) },
  readiness: {
    streams: () =>
      streams.every((stream) => stream.state === "live")
        ? { state: "ok" }
        : { state: "failing", detail: "a stream is not live yet" },
  },
});

const listener = toNodeListener(status.handle);
const server = createServer((request, response) => {
  if (!listener(request, response)) response.writeHead(404).end();
});
server.listen(0, "127.0.0.1");

watched.observeCommit("etcd", { lagMs: 4, commitMs: 1, versions: 100 });

await once(server, "listening");
const address = server.address();
const port = typeof address === "object" ? address?.port : undefined;
for (const path of ["/healthz", "/readyz", "/metrics"]) {
  const response = await fetch(`http://127.0.0.1:${port}${path}`);
  console.log(response.status, (await response.text()).split("\n")[0]);
}
server.close();
metrics.close();
