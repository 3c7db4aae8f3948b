import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openMigrationReader } from "@tidemark/migrate";
import { openPage } from "@tidemark/tooling/browser";
import { serviceTest } from "@tidemark/tooling/services";
import Database from "better-sqlite3";
import { expect, onTestFinished } from "vitest";
import { type AsyncMigration, createMigrationSource, createStatus } from "../src/index.ts";
import { servePage } from "./support/page-server.ts";

const heartbeatMs = 300;

serviceTest("chromium")(
  "M13: killed, the worker is stalled within two heartbeats, over HTTP and on the page",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "tidemark-status-"));
    const file = join(folder, "app.db");
    const db = new Database(file);
    onTestFinished(() => {
      db.close();
      rmSync(folder, { recursive: true, force: true });
    });
    db.exec(`pragma journal_mode = wal; create table rows (id integer primary key, n integer not null default 0);
    with recursive ids(id) as (select 1 union all select id + 1 from ids where id < 5000)
    insert into rows (id) select id from ids`);
    const reader = await openMigrationReader({ database: { dialect: "sqlite", file } });
    onTestFinished(() => reader.close());
    // Remembered for far longer than two heartbeats: what is told of the worker must not be.
    const migrations = createMigrationSource({ read: () => reader.list(), ttlMs: 250 });
    const server = await servePage('poll-ms="20" idle-ms="20"', createStatus({ migrations }).handle);
    const read = async () => {
      const response = await fetch(`${server.url}api/perf/async-migrations`);
      return ((await response.json()) as AsyncMigration[])[0];
    };

    const { page } = await openPage(server.url);
    const script = fileURLToPath(new URL("./support/worker-process.ts", import.meta.url));
    const conditions = ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"];
    const worker = spawn(process.execPath, [...conditions, script, file], { stdio: ["ignore", "ignore", "inherit"] });
    onTestFinished(() => void worker.kill("SIGKILL"));
    const line = (text: string | RegExp) => page.locator("tidemark-warmup-banner li", { hasText: text });
    await line(/Migration fill: [\d,]+ \/ 5,000 rows \(ETA/).waitFor({ timeout: 120_000 });

    const exited = once(worker, "exit");
    worker.kill("SIGKILL");
    const killedMs = performance.now();
    await exited;
    let last: AsyncMigration | undefined;
    let askedMs: number;
    do {
      askedMs = performance.now() - killedMs;
      last = await read();
      // Whoever asks after two heartbeats is told, however slow this machine is.
      if (askedMs > 2 * heartbeatMs) expect(last?.status).toBe("stalled");
    } while (last?.status === "running");
    expect(last).toMatchObject({ status: "stalled", state: "stalled", ratePerSec: 0, etaSec: 0 });
    // What is remembered may be from before its last chunk.
    const count = db.prepare("select count(*) from rows where n = 1").pluck().get();
    await expect.poll(async () => (await read())?.rowsProcessed).toBe(count);
    await line(/Migration fill STALLED at [\d,]+ \/ 5,000 rows: no sign of life for \d+s/).waitFor();
    console.log(`asked ${Math.round(askedMs)} ms after SIGKILL: stalled (heartbeat ${heartbeatMs} ms)`);
  },
  180_000,
);
