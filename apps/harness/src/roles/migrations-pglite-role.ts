import { setTimeout as sleep } from "node:timers/promises";
import { PGlite } from "@electric-sql/pglite";
import { seededRng } from "@tidemark/clock";
import { defineMigration, openMigrations, type OpenMigrationsOptions } from "@tidemark/migrate";
import { sql } from "drizzle-orm";
import { bigint, pgTable } from "drizzle-orm/pg-core";
import { type MigrationRun, timed, watched } from "./migrations-run-role.ts";
import type { PeerTimes } from "./migrations-peer-role.ts";

interface PgliteJob {
  readonly contender: "nothing" | "single" | "set" | "aggregate";
  readonly everyMs: number;
}

/** PostgreSQL in this process: whoever asks it waits for what it does, and so does the event loop. */
export type MigrationsPgliteRole = {
  open(shape: { readonly parents: number; readonly children: number }): Promise<void>;
  measure(job: PgliteJob): Promise<{ readonly run: MigrationRun; readonly reader: PeerTimes; readonly wrong: number }>;
};

const parents = pgTable("parents", {
  id: bigint("id", { mode: "number" }).primaryKey(),
  latest: bigint("latest", { mode: "number" }).notNull().default(0),
});
const children = pgTable("children", {
  parentId: bigint("parent_id", { mode: "number" }).notNull(),
  at: bigint("at", { mode: "number" }).notNull(),
});
const latest = "(select coalesce(max(at), 0) from children where parent_id = parents.id)";

export function createMigrationsPgliteRole(): MigrationsPgliteRole {
  let db: PGlite | undefined;
  let parentCount = 0;
  const opened = () => {
    if (db === undefined) throw new Error("open first");
    return db;
  };
  return {
    async open(shape) {
      db = await PGlite.create();
      parentCount = shape.parents;
      await db.exec(`create table parents (id bigint primary key, latest bigint not null default 0);
        create table children (id bigint primary key, parent_id bigint not null, at bigint not null);
        insert into parents (id) select n from generate_series(1, ${shape.parents}) n;
        insert into children select n, 1 + (n * 2654435761) % ${shape.parents}, 1700000000 + n
          from generate_series(1, ${shape.children}) n;
        create index children_parent on children (parent_id)`);
      await db.exec("vacuum analyze");
    },
    async measure({ contender, everyMs }) {
      const lite = opened();
      await lite.exec(`update parents set latest = 0; drop table if exists tidemark_migrations,
        tidemark_migration_events, tidemark_migration_quarantine`);
      await lite.exec("vacuum full parents");
      await lite.exec("vacuum analyze parents");
      const reader = readOf(lite, everyMs, parentCount);
      const run = await watched(async () => {
        const startMs = performance.now();
        if (contender === "set" || contender === "aggregate") {
          const database = { dialect: "postgresql", client: poolOf(lite) } as OpenMigrationsOptions["database"];
          const common = { name: "latest", table: parents, key: "id", nice: 0, minGapMs: 0, targetMs: 15 } as const;
          const set = { latest: { max: "at", otherwise: 0 } } as const;
          const definition =
            contender === "set"
              ? defineMigration({ ...common, set: { latest: sql.raw(latest) } })
              : defineMigration({ ...common, aggregate: { child: children, parentKey: "parentId", set } });
          await using migrations = await openMigrations({ database, definitions: [definition] });
          return await timed(migrations);
        }
        if (contender === "single") await lite.query(`update parents set latest = ${latest}`);
        else await sleep(2000);
        const tookMs = performance.now() - startMs;
        return { tookMs, copyMs: tookMs, maxLockMs: tookMs, chunks: 1, growthBytes: Number.NaN };
      });
      const times = await reader.stop();
      const { rows } = await lite.query<{ n: number }>(
        `select count(*)::int as n from parents where latest <> ${latest}`,
      );
      return { run, reader: times, wrong: contender === "nothing" ? 0 : (rows[0]?.n ?? -1) };
    },
  };
}

/** A reader of the same process: it is late whenever the loop or the database is busy. */
function readOf(db: PGlite, everyMs: number, count: number): { stop(): Promise<PeerTimes> } {
  const rng = seededRng(1);
  const latencies: number[] = [];
  let isStopped = false;
  const running = (async () => {
    const startMs = performance.now();
    for (let index = 1; !isStopped; index++) {
      const dueMs = startMs + index * everyMs;
      const waitMs = dueMs - performance.now();
      if (waitMs > 0) await sleep(waitMs);
      await db.query("select id, latest from parents where id = $1", [rng.int(1, count + 1)]);
      latencies.push(performance.now() - dueMs);
    }
  })();
  return {
    async stop() {
      isStopped = true;
      await running;
      return { latenciesMs: Float64Array.from(latencies), refused: 0 };
    },
  };
}

/** What the engine uses of a pool of `pg`, with one connection. */
function poolOf(db: PGlite) {
  const text = (value: string) => value;
  const asText = new Proxy({}, { get: () => text, has: () => true }) as Record<number, (value: string) => string>;
  const session = {
    async query({ text: statement, values }: { readonly text: string; readonly values: string[] }) {
      const options = { rowMode: "array", parsers: asText, serializers: asText } as const;
      const isMany = values.length === 0 && statement.includes(";");
      const results = isMany ? await db.exec(statement, options) : [await db.query(statement, values, options)];
      const answers = results.map(({ rows, fields, affectedRows = 0 }) => ({
        command: statement.trim().split(/\s/)[0]?.toUpperCase() ?? "",
        rowCount: affectedRows,
        rows,
        fields,
      }));
      return isMany ? answers : answers[0];
    },
    on: () => undefined,
    off: () => undefined,
    release: () => undefined,
  };
  return { totalCount: 1, connect: async () => session };
}
