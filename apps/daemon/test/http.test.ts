import { request } from "node:http";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { createStoreClient } from "@tidemark/watch-server";
import { expect, test } from "vitest";
import { AdminService } from "../src/gen/tidemark/admin/v1/admin_pb.ts";
import { startDaemon, testFolder, until } from "./support.ts";

function ask(
  url: string,
  headers: Record<string, string>,
): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((resolve, reject) => {
    request(url, { headers }, (response) => {
      let body = "";
      response.on("data", (chunk: Buffer) => (body += chunk.toString()));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    })
      .on("error", reject)
      .end();
  });
}

test("health, readiness, metrics and the page are served", async () => {
  const daemon = await startDaemon(["--data", testFolder()]);
  await daemon.cli(["put", "a", "b"]);
  const health = await fetch(`${daemon.http}/healthz`);
  expect(health.status).toBe(200);
  expect(await health.json()).toMatchObject({ status: "ok" });
  const ready = await fetch(`${daemon.http}/readyz`);
  expect(ready.status).toBe(200);
  expect(await ready.json()).toMatchObject({ ready: true });
  await until(async () =>
    (await (await fetch(`${daemon.http}/metrics`)).text()).includes('tidemark_stream_versions{stream="store"} 1'),
  );
  const metrics = await (await fetch(`${daemon.http}/metrics`)).text();
  expect(metrics).toContain('tidemark_stream_state{stream="store",state="live"} 1');
  expect(metrics).toContain('tidemark_stream_keys{stream="store"} 1');
  expect(metrics).toMatch(/^tidemark_stream_lag_seconds_count\{stream="store"\} [1-9]/m);
  expect(metrics).toMatch(/^nodejs_eventloop_lag_p99_seconds /m);
  expect(metrics).toMatch(/^process_resident_memory_bytes /m);
  const page = await fetch(daemon.http);
  expect(page.status).toBe(200);
  expect(page.headers.get("content-type")).toMatch(/^text\/html/);
  expect((await fetch(`${daemon.http}/nothing/here`)).status).toBe(404);
});

test("a page of another site cannot ask under its own name", async () => {
  const daemon = await startDaemon(["--data", testFolder()]);
  const port = new URL(daemon.http).port;
  expect((await ask(daemon.http, { host: `evil.example:${port}` })).status).toBe(403);
  expect((await ask(daemon.http, { host: `localhost:${port}` })).status).toBe(200);
  expect((await ask(`${daemon.http}/healthz`, { host: `evil.example:${port}` })).body).toContain("hosts");
});

test("a method of the AdminService is plain HTTP and JSON", async () => {
  const daemon = await startDaemon(["--data", testFolder()]);
  const response = await fetch(`${daemon.http}/tidemark.admin.v1.AdminService/Status`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{}",
  });
  expect(response.status).toBe(200);
  expect(await response.json()).toMatchObject({ streams: [{ name: "store", state: "live" }] });
});

test("WatchStatus begins with the present, skips what is overtaken and ends with the newest", async () => {
  const daemon = await startDaemon(["--data", testFolder()]);
  const admin = createClient(AdminService, createConnectTransport({ baseUrl: daemon.http, httpVersion: "1.1" }));
  await using store = createStoreClient({ address: daemon.watch ?? "" });
  const stop = new AbortController();
  const seen: bigint[] = [];
  const writes = 300;
  const beganMs = performance.now();
  const watching = (async () => {
    for await (const { position } of admin.watchStatus({}, { signal: stop.signal })) {
      seen.push(position);
      if (position === BigInt(writes)) return;
    }
  })();
  await until(() => seen.length === 1);
  expect(seen).toEqual([0n]);
  for (let n = 0; n < writes; n++) await store.put(`key/${n}`, "value");
  await watching;
  const tookMs = performance.now() - beganMs;
  stop.abort();
  expect(seen).toEqual(seen.toSorted((a, b) => Number(a - b)));
  // One every 250 ms at most, however long the writes take. Timers count whole milliseconds.
  expect(seen.length).toBeLessThanOrEqual(1 + tookMs / 249);
});

test("Watch gives a reader that stops reading everything, once it reads again", async () => {
  const daemon = await startDaemon(["--data", testFolder()]);
  const admin = createClient(AdminService, createConnectTransport({ baseUrl: daemon.http, httpVersion: "1.1" }));
  await using store = createStoreClient({ address: daemon.watch ?? "" });
  const stop = new AbortController();
  const responses = admin.watch({ after: 0n }, { signal: stop.signal })[Symbol.asyncIterator]();
  expect((await responses.next()).value).toMatchObject({ position: 0n, versions: [] });
  // Far more than the sockets hold.
  const value = Buffer.alloc(100_000, 1);
  await Promise.all(Array.from({ length: 200 }, (_, n) => store.put(`key/${n}`, value)));
  expect((await daemon.json(["status"]))[0].position).toMatch(/^\d+$/);
  const positions: bigint[] = [];
  while (positions.length < 200) {
    const { value: response } = await responses.next();
    positions.push(...response.versions.map(({ position }: { readonly position: bigint }) => position));
  }
  stop.abort();
  expect(positions).toEqual(Array.from({ length: 200 }, (_, n) => BigInt(n + 1)));
});
