import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { type MigrationEvent, openMigrations } from "@tidemark/migrate";
import Database from "better-sqlite3";

/** How a run went, seen from the process that did it. */
export interface MigrationRun {
  /** Until it says that it is done. */
  readonly tookMs: number;
  /** Until the last row was written; the rest is verification. */
  readonly copyMs: number;
  /** The longest that a transaction held its locks. */
  readonly maxLockMs: number;
  readonly chunks: number;
  /** How late the event loop of the process's main thread was, at most and for one in a hundred. */
  readonly loopMaxMs: number;
  readonly loopP99Ms: number;
  readonly peakRssBytes: number;
}

type Timed = Omit<MigrationRun, "loopMaxMs" | "loopP99Ms" | "peakRssBytes">;

interface TidemarkJob {
  readonly file: string;
  readonly definitions: string;
}

export type MigrationsRunRole = {
  single(job: { readonly file: string }): Promise<MigrationRun>;
  seed(job: { readonly file: string }): Promise<MigrationRun>;
  tidemark(job: TidemarkJob): Promise<MigrationRun>;
};

const latest = "(select max(timestamp) from observations where transmission_id = transmissions.id)";

export function createMigrationsRunRole(): MigrationsRunRole {
  return {
    single: ({ file }) =>
      watched(async () => {
        using db = open(file);
        const startMs = performance.now();
        db.exec(`update transmissions set last_seen = coalesce(${latest}, 0)`);
        const tookMs = performance.now() - startMs;
        return { tookMs, copyMs: tookMs, maxLockMs: tookMs, chunks: 1 };
      }),
    // CoreScope's pull request 1735: 5000 rows that are not done yet, then 100 ms for everybody else.
    seed: ({ file }) =>
      watched(async () => {
        using db = open(file);
        const startMs = performance.now();
        const bound = db.prepare("select coalesce(max(id), 0) from transmissions").pluck().get();
        const where = `last_seen = 0 and id <= ? and exists (select 1 from observations where transmission_id = transmissions.id)`;
        const chunk = db.prepare(`update transmissions set last_seen = ${latest}
          where id in (select id from transmissions where ${where} order by id limit 5000)`);
        db.prepare(`select count(*) from transmissions where ${where}`).pluck().get(bound);
        let maxLockMs = 0;
        let chunks = 0;
        for (;;) {
          const chunkMs = performance.now();
          const { changes } = chunk.run(bound);
          maxLockMs = Math.max(maxLockMs, performance.now() - chunkMs);
          if (changes === 0) break;
          chunks++;
          await sleep(100);
        }
        const tookMs = performance.now() - startMs;
        return { tookMs, copyMs: tookMs, maxLockMs, chunks };
      }),
    tidemark: ({ file, definitions }) =>
      watched(async () => {
        await using migrations = await openMigrations({ database: { dialect: "sqlite", file }, definitions });
        return await timed(migrations);
      }),
  };
}

/** Runs what is open and looks at what it tells meanwhile. */
export async function timed(migrations: {
  events(): AsyncIterable<MigrationEvent>;
  run(): Promise<readonly { readonly state: string; readonly error?: { readonly message: string } | undefined }[]>;
}): Promise<Timed> {
  const seen = { copyMs: Number.NaN, maxLockMs: 0, chunks: 0 };
  const startMs = performance.now();
  void (async () => {
    for await (const event of migrations.events()) {
      if (event.type === "state" && event.to === "verifying") seen.copyMs = performance.now() - startMs;
      if (event.type !== "progress") continue;
      seen.chunks++;
      seen.maxLockMs = Math.max(seen.maxLockMs, event.lockMs);
    }
  })();
  const [status] = await migrations.run();
  if (status?.state !== "done") throw new Error(`it is ${status?.state}: ${status?.error?.message}`);
  return { ...seen, tookMs: performance.now() - startMs };
}

export async function watched(work: () => Promise<Timed>): Promise<MigrationRun> {
  const loop = monitorEventLoopDelay({ resolution: 1 });
  loop.enable();
  await sleep(20);
  loop.reset();
  const run = await work();
  // A loop that was held up tells so in its next turn.
  await sleep(5);
  loop.disable();
  return {
    ...run,
    loopMaxMs: loop.max / 1e6,
    loopP99Ms: loop.percentile(99) / 1e6,
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
  };
}

function open(file: string): Database.Database & Disposable {
  const db = new Database(file);
  db.pragma("synchronous = normal");
  db.pragma("busy_timeout = 60000");
  return Object.assign(db, { [Symbol.dispose]: () => void db.close() });
}
