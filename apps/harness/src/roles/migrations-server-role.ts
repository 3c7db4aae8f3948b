import { setTimeout as sleep } from "node:timers/promises";
import { seededRng } from "@tidemark/clock";
import { defineMigration, type MigrationEvent, openMigrations } from "@tidemark/migrate";
import { sql } from "drizzle-orm";
import { bigint as mysqlBigint, mysqlTable } from "drizzle-orm/mysql-core";
import { bigint, pgTable } from "drizzle-orm/pg-core";
import { linkTo, type ServerLink } from "../bench/migrations/server-link.ts";
import type { ServerQueue } from "../bench/migrations/server-queue.ts";
import type { ServerAddress } from "../bench/migrations/sql-server.ts";
import { type MigrationRun, timed, watched } from "./migrations-run-role.ts";
import type { PeerTimes } from "./migrations-peer-role.ts";

interface ServerPeerJob {
  /** `writer`: of rows that are migrated; `other-writer`: of another table's, which nothing that migrates locks. */
  readonly kind: "reader" | "writer" | "other-writer";
  readonly everyMs: number;
  readonly parents: number;
}

interface ServerJob {
  /** `set`: any expression, here one that asks for the children of each row; `aggregate`: the same, said as what it is. */
  readonly body: "set" | "aggregate";
  /** The part of the time that is left to others; undefined: the default. */
  readonly nice?: number;
  readonly targetMs?: number;
  /** PostgreSQL: whether the engine vacuums the table when it should be. */
  readonly vacuums?: boolean;
}

/** A run on a server. */
export interface ServerRun extends MigrationRun {
  /** The longest lock without the time in which the server's session, or this process, had no processor. */
  readonly ownLockMs: number;
}

/** Whoever has to do with the benchmark's server: who migrates, and who reads and writes meanwhile. */
export type MigrationsServerRole = {
  connect(address: ServerAddress): Promise<void>;
  single(): Promise<MigrationRun>;
  seed(): Promise<MigrationRun>;
  tidemark(job: ServerJob): Promise<ServerRun>;
  start(job: ServerPeerJob): Promise<void>;
  stop(): Promise<PeerTimes>;
};

const pgTransmissions = pgTable("transmissions", {
  id: bigint("id", { mode: "number" }).primaryKey(),
  lastSeen: bigint("last_seen", { mode: "number" }).notNull().default(0),
});
const pgObservations = pgTable("observations", {
  transmissionId: bigint("transmission_id", { mode: "number" }).notNull(),
  timestamp: bigint("timestamp", { mode: "number" }).notNull(),
});
const mysqlTransmissions = mysqlTable("transmissions", {
  id: mysqlBigint("id", { mode: "number" }).primaryKey(),
  lastSeen: mysqlBigint("last_seen", { mode: "number" }).notNull().default(0),
});
const mysqlObservations = mysqlTable("observations", {
  transmissionId: mysqlBigint("transmission_id", { mode: "number" }).notNull(),
  timestamp: mysqlBigint("timestamp", { mode: "number" }).notNull(),
});

/** Operations before the first that is measured: until then code is compiled, on processors that others want. */
const warmUps = 500;

const latest = "(select coalesce(max(timestamp), 0) from observations where transmission_id = transmissions.id)";

export function createMigrationsServerRole(): MigrationsServerRole {
  let link: ServerLink | undefined;
  const linked = () => {
    if (link === undefined) throw new Error("connect first");
    return link;
  };
  let isStopped = false;
  let running: Promise<PeerTimes> = Promise.resolve({ latenciesMs: new Float64Array(), refused: 0 });
  return {
    async connect(address) {
      link = await linkTo(address);
      await link.query("select 1");
    },
    single: () =>
      watched(async () => {
        const startMs = performance.now();
        await linked().query(`update transmissions set last_seen = ${latest}`);
        const tookMs = performance.now() - startMs;
        return { tookMs, copyMs: tookMs, maxLockMs: tookMs, chunks: 1, growthBytes: Number.NaN };
      }),
    seed: () => watched(() => seedLoop(linked())),
    async tidemark({ body, nice, targetMs, vacuums }) {
      let ownLockMs = 0;
      const run = await watched(async () => {
        const { database, queue } = linked();
        const definition = definitionOf(database.dialect, body, {
          ...(nice !== undefined && { nice, ...(nice === 0 && { minGapMs: 0 }) }),
          ...(targetMs !== undefined && { targetMs }),
        });
        await using migrations = await openMigrations({
          database,
          definitions: [definition],
          ...(vacuums === true && { signals: [{ name: "vacuum", vacuums: true }] }),
        });
        const locks = longestOwnLock(migrations.events(), queue);
        const timings = await timed(migrations);
        await migrations.close();
        ownLockMs = await locks;
        return timings;
      });
      return { ...run, ownLockMs };
    },
    async start(job) {
      isStopped = false;
      const operate = job.kind === "reader" ? readerOf(linked(), job) : writerOf(linked(), job);
      for (let warm = 0; warm < warmUps; warm++) await operate();
      running = loop(operate, linked().queue, job.everyMs, () => isStopped);
    },
    stop() {
      isStopped = true;
      return running;
    },
  };
}

function definitionOf(
  dialect: string,
  body: ServerJob["body"],
  tuning: { readonly nice?: number; readonly targetMs?: number },
) {
  const common = { name: "last-seen", key: "id", ...tuning } as const;
  const parentKey = "transmissionId";
  const set = { lastSeen: { max: "timestamp", otherwise: 0 } } as const;
  if (dialect === "mysql") {
    const table = mysqlTransmissions;
    if (body === "set") return defineMigration({ ...common, table, set: { lastSeen: sql.raw(latest) } });
    return defineMigration({ ...common, table, aggregate: { child: mysqlObservations, parentKey, set } });
  }
  const table = pgTransmissions;
  if (body === "set") return defineMigration({ ...common, table, set: { lastSeen: sql.raw(latest) } });
  return defineMigration({ ...common, table, aggregate: { child: pgObservations, parentKey, set } });
}

/** What is waited for between two chunks counts for the second one, as nobody can tell it apart. */
async function longestOwnLock(events: AsyncIterable<MigrationEvent>, queue: ServerQueue): Promise<number> {
  let longestMs = 0;
  let queuedMs = queue.readMs();
  for await (const event of events) {
    if (event.type !== "progress") continue;
    const nowMs = queue.readMs();
    longestMs = Math.max(longestMs, event.lockMs - Math.max(nowMs - queuedMs, 0));
    queuedMs = nowMs;
  }
  return longestMs;
}

async function seedLoop({ query }: ServerLink) {
  const startMs = performance.now();
  const bound = Number((await query("select coalesce(max(id), 0) from transmissions")).rows[0]?.[0]);
  let maxLockMs = 0;
  let chunks = 0;
  for (;;) {
    const chunkMs = performance.now();
    // MySQL cannot limit a subquery of IN.
    const { changes } = await query(
      `update transmissions set last_seen = ${latest} where id in (select id from (select id from transmissions
       where last_seen = 0 and id <= ? order by id limit 5000) chunk)`,
      [bound],
    );
    maxLockMs = Math.max(maxLockMs, performance.now() - chunkMs);
    if (changes === 0) break;
    chunks++;
    await sleep(100);
  }
  const tookMs = performance.now() - startMs;
  return { tookMs, copyMs: tookMs, maxLockMs, chunks, growthBytes: Number.NaN };
}

async function loop(
  operate: () => Promise<unknown>,
  queue: ServerQueue,
  everyMs: number,
  isStopped: () => boolean,
): Promise<PeerTimes> {
  const latencies: number[] = [];
  const queued: number[] = [];
  let refused = 0;
  const startMs = performance.now();
  for (let index = 1; ; index++) {
    let dueMs = startMs + index * everyMs;
    const waitMs = dueMs - performance.now();
    if (waitMs > 0) {
      await sleep(waitMs);
      // A timer that was late is not the server's doing; an operation before this one that took too long is.
      dueMs = Math.max(dueMs, performance.now());
    }
    const queuedMs = queue.readMs();
    // Whom the server picks to end a deadlock has to come again, and has lost that time.
    while (!(await succeeds(operate))) refused++;
    latencies.push(performance.now() - dueMs);
    queued.push(Math.max(queue.readMs() - queuedMs, 0));
    if (isStopped()) {
      return { latenciesMs: Float64Array.from(latencies), queuedMs: Float64Array.from(queued), refused };
    }
  }
}

async function succeeds(operate: () => Promise<unknown>): Promise<boolean> {
  try {
    await operate();
    return true;
  } catch (error) {
    const { code, errno } = error as { readonly code?: unknown; readonly errno?: unknown };
    // Deadlock and lock wait timeout; deadlock and serialisation.
    if (errno === 1213 || errno === 1205 || code === "40P01" || code === "40001") return false;
    throw error;
  }
}

function readerOf({ query }: ServerLink, { parents }: ServerPeerJob): () => Promise<unknown> {
  const rng = seededRng(1);
  return async () => {
    const id = rng.int(1, parents + 1);
    await query("select id, hash, last_seen from transmissions where id = ?", [id]);
    await query("select id, timestamp from observations where transmission_id = ? limit 20", [id]);
  };
}

/** Of any row: also of one that is migrated right now, where they are migrated. */
function writerOf({ query }: ServerLink, { kind, parents }: ServerPeerJob): () => Promise<unknown> {
  const rng = seededRng(2);
  const table = kind === "writer" ? "transmissions" : "others";
  return () => query(`update ${table} set touched = touched + 1 where id = ?`, [rng.int(1, parents + 1)]);
}
