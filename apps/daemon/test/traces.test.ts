// Spans of the real daemon, in the real SDK of OpenTelemetry.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import Sqlite from "better-sqlite3";
import { expect, test } from "vitest";
import { definitions, startDaemon, testFolder, until } from "./support.ts";

interface Span {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string | number>>;
  readonly status: { readonly code: number; readonly message?: string };
  readonly durationMs: number;
  readonly startedAtMs: number;
}

const preload = fileURLToPath(new URL("./traces/preload.mjs", import.meta.url));

test("commits, what sites exchange and chunks of migrations are spans, for an SDK that is preloaded", async () => {
  const hub = await startDaemon(["--data", testFolder()]);
  const folder = testFolder();
  const db = new Sqlite(join(folder, "app.db"));
  db.pragma("journal_mode = wal");
  db.exec("create table people (id integer primary key, email text not null, domain text, length integer)");
  db.exec(`insert into people (id, email) values (1, 'a@example.org'), (2, 'b@example.org')`);
  const site = (name: string) => ({ name, group: "shared", topics: hub.topics, source: "store" });
  const configured = (name: string, more: object) => {
    const file = join(folder, `${name}.json`);
    writeFileSync(file, JSON.stringify({ topics: false, sites: [site(name)], ...more }));
    return ["--data", join(folder, name), "--config", file];
  };
  const spansFile = join(folder, "spans.json");
  const startedAtMs = Date.now();
  const paris = await startDaemon(
    configured("paris", { migrations: [{ url: "app.db", folder: definitions("sqlite") }] }),
    { env: { NODE_OPTIONS: `--import=${preload}`, TEST_SPANS: spansFile } },
  );
  const oslo = await startDaemon(configured("oslo", {}));
  const valueAt = async (daemon: typeof paris, key: string) =>
    (await daemon.cli(["get", key, "--stream", "store"])).stdout;
  await paris.cli(["put", "from", "paris"]);
  await oslo.cli(["put", "to", "paris"]);
  await until(async () => (await valueAt(oslo, "from")) === "paris\n" && (await valueAt(paris, "to")) === "paris\n");
  await until(() => db.prepare("select count(length) from people").pluck().get() === 2);
  db.close();
  expect(await paris.stop("SIGTERM")).toBe(0);

  const spans = JSON.parse(readFileSync(spansFile, "utf8")) as Span[];
  const named = (name: string) => spans.filter((span) => span.name === name);
  expect(named("tidemark.commit").map(({ attributes }) => attributes)).toContainEqual(
    expect.objectContaining({ "tidemark.stream": "store", "tidemark.groups": 1, "tidemark.versions": 1 }),
  );
  expect(named("tidemark.store.commit")[0]?.attributes).toMatchObject({ "tidemark.writes": 1 });
  expect(named("tidemark.site.publish")[0]?.attributes).toMatchObject({
    "tidemark.site": "paris",
    "tidemark.batches": 1,
    "tidemark.bytes": expect.any(Number),
  });
  expect(named("tidemark.site.apply")[0]?.attributes).toMatchObject({ "tidemark.site": "paris" });
  expect(named("tidemark.migration.chunk")[0]?.attributes).toMatchObject({
    "tidemark.database": expect.stringMatching(/app\.db$/),
    "tidemark.rows_done": 2,
  });
  for (const { durationMs, startedAtMs: atMs, status } of spans) {
    expect(status.code).toBe(0);
    expect(durationMs).toBeGreaterThanOrEqual(0);
    expect(atMs).toBeGreaterThan(startedAtMs - 60_000);
  }
});
