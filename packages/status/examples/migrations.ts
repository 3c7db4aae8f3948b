// An application that shows how its migrations stand: to operators, to dashboards and to people in front of the page.

import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defineMigration, openMigrations } from "@tidemark/migrate";
import { addMigrationMetrics, createMigrationSource, createStatus, Metrics, toNodeListener } from "@tidemark/status";
import Database from "better-sqlite3";
import { sql } from "drizzle-orm";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

const folder = mkdtempSync(join(tmpdir(), "tidemark-example-"));
const file = join(folder, "app.db");
const db = new Database(file);
db.exec(`pragma journal_mode = wal; create table users (id integer primary key, email text not null, domain text);
  insert into users (email) values ('ann@example.org'), ('bob@example.com')`);
const users = sqliteTable("users", {
  id: integer("id").primaryKey(),
  email: text("email").notNull(),
  domain: text("domain"),
});
const domains = defineMigration({
  name: "2026-11-domains",
  table: users,
  key: "id",
  set: { domain: sql`substr(${users.email}, instr(${users.email}, '@') + 1)` },
});

const page = `<!doctype html><title>app</title>
<script type="module" src="/warmup-banner.js"></script>
<tidemark-warmup-banner></tidemark-warmup-banner>`;

{
  await using migrations = await openMigrations({
    database: { dialect: "sqlite", file },
    definitions: [domains],
    thread: "caller",
  });

  const source = createMigrationSource({
    read: () => migrations.list(),
    onError: (error) => console.error("migrations cannot be read", error),
  });
  const metrics = new Metrics();
  addMigrationMetrics(metrics, source);
  const status = createStatus({ metrics, migrations: source, perf: { queue: () => ({ length: 0 }) } });

  const listener = toNodeListener(status.handle);
  const server = createServer((request, response) => {
    if (!listener(request, response)) response.writeHead(200, { "content-type": "text/html" }).end(page);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");

  await migrations.run();
  const address = server.address();
  const port = typeof address === "object" ? address?.port : undefined;
  const response = await fetch(`http://127.0.0.1:${port}/api/perf/async-migrations`);
  const [shown] = (await response.json()) as { name: string; status: string; rowsProcessed: number }[];
  console.log(`${shown?.name}: ${shown?.status}, ${shown?.rowsProcessed} rows`);
  if (shown?.status !== "done" || shown.rowsProcessed !== 2) throw new Error("not done");
  const script = await fetch(`http://127.0.0.1:${port}/warmup-banner.js`);
  if (!(await script.text()).includes("tidemark-warmup-banner")) throw new Error("no banner");
  server.close();
  metrics.close();
}
db.close();
rmSync(folder, { recursive: true });
