// Random commands of operators, workers that die, an application that writes and a clock that jumps, against what a few
// lines say about all of it.

import { type Clock, seededRng, systemClock } from "@tidemark/clock";
import { createSimulation, type Simulation } from "@tidemark/clock/testing";
import { defineMigration, MigrateError } from "@tidemark/migrate";
import { MigrationEngine, openSqlite, resolveEngine } from "@tidemark/migrate/internal";
import Sqlite from "better-sqlite3";
import { sql } from "drizzle-orm";
import fc from "fast-check";
import { expect, test } from "vitest";
import { counters } from "./support/schema.ts";
import { scratch } from "./support/scratch.ts";

const isLong = process.env["TIDEMARK_LONG"] === "1";

/** Every other one of them is a row at the start. */
const ids = Array.from({ length: 60 }, (_, index) => index + 1);

const bump = defineMigration({
  name: "bump",
  table: counters,
  key: "id",
  where: sql`${counters.n} = 0`,
  set: { n: sql`${counters.n} + 1` },
  remaining: sql`${counters.n} = 0`,
  initialRows: 5,
  minRows: 5,
  maxRows: 5,
  nice: 0,
  minGapMs: 400,
  maxGapMs: 400,
});

type Command =
  | { readonly type: "pause" | "resume" | "cancel" | "retry" | "start" }
  | { readonly type: "kill" | "close"; readonly worker: number }
  | { readonly type: "advance"; readonly ms: number }
  | { readonly type: "jump"; readonly ms: number }
  | { readonly type: "insert" | "delete" | "write"; readonly id: number };

const id = fc.integer({ min: 1, max: 140 });
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ type: fc.constant("advance" as const), ms: fc.integer({ min: 1, max: 4000 }) }) },
  {
    weight: 5,
    arbitrary: fc.record({ type: fc.constantFrom("pause", "resume", "cancel", "retry", "start" as const) }),
  },
  { weight: 2, arbitrary: fc.record({ type: fc.constantFrom("kill", "close" as const), worker: fc.nat(3) }) },
  {
    weight: 1,
    arbitrary: fc.record({ type: fc.constant("jump" as const), ms: fc.integer({ min: -60_000, max: 60_000 }) }),
  },
  { weight: 3, arbitrary: fc.record({ type: fc.constantFrom("insert", "delete", "write" as const), id }) },
);

/** The clock of a process that can die: nothing that it waits for happens any more. */
function mortal(clock: Clock): { readonly clock: Clock; die(): void } {
  let isDead = false;
  const alive = (callback: () => void) => () => {
    if (!isDead) callback();
  };
  const own: Clock = {
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
    setTimer: (delayMs, callback) => clock.setTimer(delayMs, alive(callback)),
    setImmediate: (callback) => clock.setImmediate(alive(callback)),
    async sleep(delayMs, options) {
      const slept = await clock.sleep(delayMs, options).then(
        () => undefined,
        (error: unknown) => ({ error }),
      );
      if (isDead) return new Promise(() => {});
      if (slept !== undefined) throw slept.error;
      return undefined;
    },
  };
  return { clock: own, die: () => void (isDead = true) };
}

interface Opened {
  readonly engine: MigrationEngine;
  /** What the system does with the connections of a process that died. */
  drop(): Promise<void>;
}

interface Worker {
  readonly engine: MigrationEngine;
  die(): Promise<void>;
}

/** What should be. `live`: somebody may work on it, or it is done already. */
type Expected = "live" | "paused" | "cancelled" | "done";

/** What a command does to a run, or undefined: it is refused. */
const after: Readonly<Record<"pause" | "resume" | "cancel" | "retry", Readonly<Partial<Record<Expected, Expected>>>>> =
  {
    pause: { live: "paused", paused: "paused" },
    resume: { live: "live", paused: "live" },
    cancel: { live: "cancelled", paused: "cancelled", cancelled: "cancelled" },
    retry: { live: "live", cancelled: "live" },
  };

type Open = (clock: Clock, owner: string) => Promise<Opened>;

class World {
  readonly simulation: Simulation;
  readonly db: Sqlite.Database;
  readonly operator: MigrationEngine;
  readonly #open: Open;
  readonly #workers: Worker[] = [];
  #expected: Expected = "live";
  #runNo = 1;
  #fence = 0;
  /** Effects when nothing more should happen; undefined: something may. */
  #frozenAt: number | undefined;
  #started = 0;

  constructor(simulation: Simulation, db: Sqlite.Database, operator: MigrationEngine, open: Open) {
    this.simulation = simulation;
    this.db = db;
    this.operator = operator;
    this.#open = open;
  }

  async apply(command: Command): Promise<void> {
    switch (command.type) {
      case "advance":
        await this.simulation.advance(command.ms);
        break;
      case "jump":
        this.simulation.jumpWallClock(command.ms);
        break;
      case "start":
        await this.#start();
        break;
      case "kill":
        await this.#workers.splice(command.worker, 1)[0]?.die();
        break;
      case "close": {
        const [worker] = this.#workers.splice(command.worker, 1);
        if (worker !== undefined) await this.simulation.run(() => worker.engine.close());
        break;
      }
      case "insert":
        // A new version of the application knows the new column.
        this.db.prepare("insert or ignore into counters (id, n) values (?, 1)").run(command.id);
        break;
      case "delete":
        this.db.prepare("delete from counters where id = ?").run(command.id);
        break;
      case "write":
        this.db.prepare("update counters set n = n where id = ?").run(command.id);
        break;
      default:
        await this.#operate(command.type);
    }
    // All share this thread: nobody may be in the middle of a transaction when the next one begins.
    await this.simulation.settle();
    this.check();
  }

  check(): void {
    const one = (text: string) => this.db.prepare(text).pluck().get();
    const [state, runNo, fence, done, changed] = this.db
      .prepare("select state, run_no, fence, rows_done, rows_changed from tidemark_migrations")
      .raw()
      .get() as [string, number, number, number, number];
    const effects = one("select count(*) from effects") as number;
    expect(one("select count(distinct id) from effects")).toBe(effects);
    expect([done, changed]).toEqual([effects, effects]);
    expect(one("select count(*) from counters where n not in (0, 1)")).toBe(0);
    expect(runNo).toBe(this.#runNo);
    expect(fence).toBeGreaterThanOrEqual(this.#fence);
    this.#fence = fence;
    if (this.#expected === "live" && state === "done") {
      this.#expected = "done";
      expect(one("select count(*) from counters where n <> 1")).toBe(0);
    }
    if (this.#expected === "live") {
      expect(["registered", "counting", "running", "verifying"]).toContain(state);
      this.#frozenAt = undefined;
    } else {
      expect(state).toBe(this.#expected);
      expect(effects).toBe((this.#frozenAt ??= effects));
    }
  }

  /** Whatever was done to it, it can be brought to its end. */
  async finish(): Promise<void> {
    for (const worker of this.#workers.splice(0)) await worker.die();
    if (this.#expected === "cancelled") await this.#operate("retry");
    if (this.#expected === "paused") await this.#operate("resume");
    const [status] = await this.simulation.run(() => this.operator.run());
    expect(status?.state).toBe("done");
    this.check();
    expect(this.#expected).toBe("done");
  }

  async #start(): Promise<void> {
    if (this.#workers.length >= 3) return;
    const { clock, die } = mortal(this.simulation.clock);
    const { engine, drop } = await this.#open(clock, `worker ${++this.#started}`);
    engine.start();
    this.#workers.push({
      engine,
      die() {
        die();
        return drop();
      },
    });
  }

  async #operate(type: "pause" | "resume" | "cancel" | "retry"): Promise<void> {
    // It may have got done since somebody looked.
    this.check();
    const next = after[type][this.#expected];
    const outcome = await this.operator[type]("bump").then(
      () => "taken",
      (error: unknown) => (MigrateError.is(error) ? error.code : String(error)),
    );
    expect([type, this.#expected, outcome]).toEqual([
      type,
      this.#expected,
      next === undefined ? "STATE_REFUSED" : "taken",
    ]);
    if (next === undefined) return;
    if (type === "retry" && this.#expected === "cancelled") this.#runNo++;
    if (next === "live") this.#frozenAt = undefined;
    this.#expected = next;
  }
}

test(
  "M9, M10, M17: whatever operators, crashes, applications and clocks do, no row is lost or done twice",
  async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 5, maxLength: 60 }), fc.nat(), async (commands, seed) => {
        const { file, db } = scratch();
        db.exec(`create table counters (id integer primary key, n integer not null default 0);
        create table effects (id integer not null);
        insert into counters (id) select value * 2 from json_each('[${ids.join(",")}]');
        create trigger ledger after update on counters when old.n <> new.n begin insert into effects values (new.id); end`);
        const simulation = createSimulation({ seed });
        const options = resolveEngine({ leaseMs: 3000, heartbeatMs: 1000, pollMs: 700 });
        const open = async (clock: Clock, owner: string): Promise<Opened> => {
          const database = await openSqlite({ dialect: "sqlite", file });
          const ports = { database, definitions: [bump], options, clock, owner, signals: [], isShared: false };
          const engine = await MigrationEngine.open({ ...ports, rng: seededRng(seed) });
          return { engine, drop: () => database.connection.close() };
        };
        const { engine: operator, drop } = await open(simulation.clock, "operator");
        const world = new World(simulation, db, operator, open);
        await world.apply({ type: "start" });
        for (const each of commands) await world.apply(each);
        await world.finish();
        await drop();
        db.close();
      }),
      { seed: isLong ? systemClock.now() : 20_261, numRuns: isLong ? 1000 : 15, endOnFailure: false },
    );
  },
  isLong ? 3_600_000 : 60_000,
);
