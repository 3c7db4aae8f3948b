// Whether hydrating takes what its concurrency takes: `npm run bench -- hydrate`. The server is a process of its own and
// answers each detail call after 50 ms.
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { catalogSource } from "@tidemark/source-catalog";
import { openHistory, openWatcher } from "@tidemark/store-watch";

const detailMs = 50;

function serve(): void {
  const server = createServer(({ url = "" }, response) => {
    const { pathname, searchParams } = new URL(url, "http://localhost");
    const list = Array.from({ length: Number(searchParams.get("count")) }, (_, id) => ({ id, title: `entry ${id}` }));
    if (pathname === "/list") response.end(JSON.stringify(list));
    else setTimeout(() => response.end(JSON.stringify({ about: pathname, text: "x".repeat(500) })), detailMs);
  });
  server.keepAliveTimeout = 60_000;
  server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));
}

async function measure(port: number, count: number, concurrency: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-hydrate-"));
  const url = `http://127.0.0.1:${port}`;
  const source = catalogSource({
    catalogs: [{ name: "all", url: `${url}/list?count=${count}`, detailUrl: `${url}/detail/{id}` }],
    stateFile: join(folder, "state.db"),
    detailConcurrency: concurrency,
    everyMs: 1e9,
  });
  const history = await openHistory({ file: join(folder, "history.db") });
  const delay = monitorEventLoopDelay({ resolution: 5 });
  const before = process.cpuUsage();
  delay.enable();
  const watcher = await openWatcher({ source, history, name: "all" });
  let report = source.status().cycle?.last;
  for (; report === undefined; report = source.status().cycle?.last) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  delay.disable();
  const { user, system } = process.cpuUsage(before);
  await watcher.waitFor("now");
  const hydrate = report.phases.find((each) => each.phase === "hydrate");
  const idealMs = (count / concurrency) * detailMs;
  const tookMs = hydrate?.durationMs ?? Number.NaN;
  const { items } = await history.list({ stream: "all" }, { limit: 1 });
  const line = {
    entries: count,
    concurrency,
    done: hydrate?.items?.done,
    idealMs,
    tookMs: Math.round(tookMs),
    cpuUsPerEntry: Math.round((user + system) / count),
    ofIdeal: `${Math.round((idealMs / tookMs) * 1000) / 10} %`,
    loopP99Ms: Math.round(delay.percentile(99) / 1e5) / 10,
    loopMaxMs: Math.round(delay.max / 1e5) / 10,
    isInHistory: items.length > 0,
  };
  console.log(JSON.stringify(line));
  await watcher.close();
  await history.close();
  rmSync(folder, { recursive: true, force: true });
}

if (process.send !== undefined) {
  serve();
} else {
  const server = fork(import.meta.filename, { execArgv: process.execArgv });
  const [port] = (await once(server, "message")) as [number];
  const chosen = process.argv.slice(2).map(Number);
  for (const concurrency of chosen.length > 0 ? chosen : [5, 25, 50, 200]) await measure(port, 10_000, concurrency);
  server.kill();
}
