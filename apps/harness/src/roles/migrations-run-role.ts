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
  /** How much larger the process was at the last row than at a tenth of them; NaN where nobody looked. */
  readonly growthBytes: number;
}

/** One UPDATE, and the same in steps of a key. */
const lower = "update things set b = lower(a)";

type Timed = Omit<MigrationRun, "loopMaxMs" | "loopP99Ms" | "peakRssBytes">;

interface TidemarkJob {
  readonly file: string;
  /** Nothing is rested for. */
  readonly isEager?: boolean;
  readonly definitions: string;
}

export type MigrationsRunRole = {
  lower(job: { readonly file: string }): Promise<MigrationRun>;
  steps(job: { readonly file: string; readonly rows: number }): Promise<MigrationRun>;
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
        return { tookMs, copyMs: tookMs, maxLockMs: tookMs, chunks: 1, growthBytes: Number.NaN };
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
        return { tookMs, copyMs: tookMs, maxLockMs, chunks, growthBytes: Number.NaN };
      }),
    lower: ({ file }) =>
      watched(async () => {
        using db = open(file);
        const startMs = performance.now();
        db.exec(lower);
        const tookMs = performance.now() - startMs;
        return { tookMs, copyMs: tookMs, maxLockMs: tookMs, chunks: 1, growthBytes: Number.NaN };
      }),
    // What there is to do at least when it is to be resumed: a cursor in the transaction of its rows, and nothing else.
    steps: ({ file, rows }) =>
      watched(async () => {
        using db = open(file);
        db.exec("create table if not exists cursor (at integer); insert into cursor values (0)");
        const end = db.prepare("select id from things where id > ? order by id limit 1 offset ?").pluck();
        const step = db.prepare(`${lower} where id > ? and id <= ?`);
        const move = db.prepare("update cursor set at = ?");
        const startMs = performance.now();
        const last = db.prepare("select max(id) from things").pluck().get() as number;
        let at = 0;
        let chunks = 0;
        let maxLockMs = 0;
        for (; at < last; chunks++) {
          const upTo = (end.get(at, rows - 1) as number | undefined) ?? last;
          const lockedMs = performance.now();
          db.exec("begin immediate");
          step.run(at, upTo);
          move.run(upTo);
          db.exec("commit");
          maxLockMs = Math.max(maxLockMs, performance.now() - lockedMs);
          at = upTo;
        }
        const tookMs = performance.now() - startMs;
        return { tookMs, copyMs: tookMs, maxLockMs, chunks, growthBytes: Number.NaN };
      }),
    tidemark: ({ file, definitions, isEager }) =>
      watched(async () => {
        await using migrations = await openMigrations({ database: { dialect: "sqlite", file }, definitions });
        if (isEager === true) {
          for (const { name } of await migrations.list()) await migrations.tune(name, { nice: 0, minGapMs: 0 });
        }
        return await timed(migrations);
      }),
  };
}

/** Runs what is open and looks at what it tells meanwhile. */
export async function timed(migrations: {
  events(): AsyncIterable<MigrationEvent>;
  run(): Promise<readonly { readonly state: string; readonly error?: { readonly message: string } | undefined }[]>;
}): Promise<Timed> {
  const seen = { copyMs: Number.NaN, maxLockMs: 0, chunks: 0, growthBytes: Number.NaN };
  let rssAtTenth = Number.NaN;
  const startMs = performance.now();
  void (async () => {
    for await (const event of migrations.events()) {
      if (event.type === "state" && event.to === "verifying") {
        seen.copyMs = performance.now() - startMs;
        seen.growthBytes = process.memoryUsage.rss() - rssAtTenth;
      }
      if (event.type !== "progress") continue;
      seen.chunks++;
      if (Number.isNaN(rssAtTenth) && event.rowsDone * 10 >= (event.total ?? Number.POSITIVE_INFINITY)) {
        rssAtTenth = process.memoryUsage.rss();
      }
      seen.maxLockMs = Math.max(seen.maxLockMs, event.lockMs);
    }
  })();
  for (const { state, error } of await migrations.run()) {
    if (state !== "done") throw new Error(`it is ${state}: ${error?.message}`);
  }
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
