import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { itemPhase, openCycle, phase, sqliteState } from "@tidemark/reconcile";
import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";

// Something to follow: a list, and details that cost a call each.
const server = createServer((request, response) => {
  const list = [1, 2, 3].map((id) => ({ id, revision: "r1" }));
  response.end(JSON.stringify(request.url === "/list" ? list : { name: `part ${request.url?.slice(1)}` }));
}).listen(0, "127.0.0.1");
await new Promise((resolve) => server.once("listening", resolve));
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

interface Part {
  readonly id: number;
  readonly revision: string;
}

const client = new Database(":memory:");
client.exec("CREATE TABLE wanted (id INTEGER PRIMARY KEY, revision TEXT)");
client.exec("CREATE TABLE parts (id INTEGER PRIMARY KEY, revision TEXT, detail TEXT)");

await using cycle = await openCycle(
  {
    name: "inventory",
    everyMs: 30_000,
    phases: [
      phase({
        name: "fetch",
        gate: { config: () => url, everyMs: 300_000 },
        run: async ({ signal }) => {
          const list = (await (await fetch(`${url}/list`, { signal })).json()) as Part[];
          const insert = client.prepare("INSERT OR REPLACE INTO wanted VALUES (?, ?)");
          client.transaction(() => {
            client.exec("DELETE FROM wanted");
            for (const part of list) insert.run(part.id, part.revision);
          })();
        },
      }),
      itemPhase<Part>({
        name: "hydrate",
        requires: ["fetch"],
        // The work is what is wanted and not there: nothing is queued, so nothing is lost or done twice.
        select: async () =>
          client
            .prepare(
              `SELECT wanted.* FROM wanted LEFT JOIN parts USING (id) WHERE parts.revision IS NOT wanted.revision`,
            )
            .all() as Part[],
        key: (part) => String(part.id),
        version: (part) => part.revision,
        affects: () => "inventory",
        run: async (part, { signal }) => {
          const detail = await (await fetch(`${url}/${part.id}`, { signal })).text();
          client.prepare("INSERT OR REPLACE INTO parts VALUES (?, ?, ?)").run(part.id, part.revision, detail);
        },
      }),
    ],
    finalizers: [
      {
        name: "report",
        run: async (key) => {
          const { count } = client.prepare("SELECT COUNT(*) AS count FROM parts").get() as { count: number };
          console.log(`${key}: ${count} parts`);
        },
      },
    ],
  },
  { state: sqliteState(drizzle({ client })) },
);

for await (const event of cycle.events()) {
  if (event.type !== "ended") continue;
  for (const { phase: name, outcome, items } of event.report.phases) console.log(name, outcome, items?.done ?? "");
  break;
}
server.close();
