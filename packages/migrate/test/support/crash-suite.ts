// Real processes, really killed and really stopped, the same for every database.

import { seededRng, systemClock } from "@tidemark/clock";
import type { RunPoint } from "@tidemark/migrate/internal";
import Sqlite from "better-sqlite3";
import { expect, type TestFunction } from "vitest";
import { startProcess } from "./processes.ts";
import { createStatements, definitionsFor } from "./shared-tables.ts";
import { type Stage, stageOn } from "./stage.ts";
import { upTo } from "./scratch.ts";

const isLong = process.env["TIDEMARK_LONG"] === "1";
const rows = isLong ? 4000 : 800;
/** A thousand over the three databases, each of which has a file of its own; TIDEMARK_ROUNDS for a piece of them. */
const longRounds = Number(process.env["TIDEMARK_ROUNDS"] ?? 340);
const timeoutMs = isLong ? 3_600_000 : 300_000;

const points: readonly RunPoint[] = [
  "claimed",
  "bounded",
  "counted",
  "before-begin",
  "prepared",
  "before-effect",
  "after-effect",
  "before-commit",
  "after-commit",
  "exhausted",
  "verified",
  "before-done",
  "done",
];

const dialects = { sqlite: "sqlite", pg: "postgresql", postgres: "postgresql", mariadb: "mysql" } as const;

async function expectExactlyOnce({ query }: Stage): Promise<void> {
  const one = async (text: string) => (await query(text))[0]?.[0];
  expect(await one("select count(*) from effects")).toBe(rows);
  expect(await one("select count(distinct id) from effects")).toBe(rows);
  expect(await one("select count(*) from counters where n <> 1")).toBe(0);
  expect(await one("select count(*) from notes where length is null or length <> length(body)")).toBe(0);
  // Rows of `totals` by their keys, rows of `parts` by the same below zero.
  expect(await one("select count(*) from written")).toBe(2 * rows);
  expect(await one("select count(distinct id) from written")).toBe(2 * rows);
  const sum = "(select coalesce(sum(amount), 0) from parts where total_id = totals.id)";
  expect(await one(`select count(*) from totals where total is null or total <> ${sum}`)).toBe(0);
  const total = "(select total from totals where id = parts.total_id)";
  expect(await one(`select count(*) from parts where largest is null or largest <> ${total}`)).toBe(0);
  expect(await query("select state, rows_done, total from tidemark_migrations order by name")).toEqual(
    Array.from({ length: 4 }, () => ["done", rows, rows]),
  );
}

/**
 * Checks a run that is over and makes its rows anew, so that every round meets one that is not. Nobody works meanwhile.
 * Resolves with whether it did.
 */
async function renewed(stage: Stage): Promise<boolean> {
  const { query } = stage;
  const left = await query("select count(*) from tidemark_migrations where state <> 'done'");
  if (Number(left[0]?.[0]) > 0) return false;
  await expectExactlyOnce(stage);
  const changes = [
    "counters set n = 0",
    "notes set length = null",
    "totals set total = null",
    "parts set largest = null",
  ];
  for (const change of changes) await query(`update ${change}`);
  for (const table of ["effects", "written", "tidemark_migrations"]) await query(`delete from ${table}`);
  return true;
}

/** The counters say exactly what was done, at any instant: one statement sees one snapshot. */
async function expectTrueBooks({ query }: Stage): Promise<void> {
  const done = (name: string) => `(select rows_done from tidemark_migrations where name = '${name}')`;
  const [row] = await query(
    `select (select count(*) from effects), ${done("bump")}, (select count(*) from written where id > 0), ${done("sums")},
      (select count(*) from written where id < 0), ${done("largest")}`,
  );
  const [effects, bumped, totals, summed, parts, filled] = row ?? [];
  expect([bumped, summed, filled]).toEqual([effects, totals, parts]);
}

type Register = (name: string, run: TestFunction, timeoutMs?: number) => void;

/** Registers the suite for one kind of database. */
export function crashSuite(
  register: Register,
  name: keyof typeof dialects,
  rounds: { readonly kills: number; readonly stops: number },
): void {
  const kills = isLong ? longRounds : rounds.kills;
  const stops = isLong ? longRounds : rounds.stops;
  const prepared = () => stageOn(name, createStatements(dialects[name], rows));
  const start = (stage: Stage, ...args: readonly string[]) =>
    startProcess("worker", JSON.stringify(stage.address), ...args);

  /** Hours may pass. */
  const tell = (what: string, round: number) => {
    if (isLong && (round + 1) % 20 === 0) process.stderr.write(`${name}: ${round + 1} ${what}, all clean\n`);
  };

  register(
    `M9: on ${name}, killed at every point of a run, it loses nothing and does nothing twice`,
    async () => {
      const stage = await prepared();
      const rng = seededRng(isLong ? systemClock.now() : 1);
      let killed = 0;
      for (const point of points) {
        const isOften = point.startsWith("before-") || point.startsWith("after-");
        const { exited } = start(stage, "drain", point, String(isOften ? rng.int(1, 6) : 1));
        if ((await exited).signal === "SIGKILL") killed++;
        await expectTrueBooks(stage);
      }
      // Points of the start are passed once in a run that goes on; all others kill.
      expect(killed).toBeGreaterThanOrEqual(points.length - 3);
      await start(stage, "drain").exited;
      await expectExactlyOnce(stage);
    },
    timeoutMs,
  );

  register(
    `M9: on ${name}, killed at random instants, it loses nothing and does nothing twice`,
    async () => {
      const stage = await prepared();
      const rng = seededRng(isLong ? systemClock.now() : 2);
      for (let round = 0; round < kills; round++) {
        const child = start(stage, "forever");
        await child.ready;
        await systemClock.sleep(rng.int(0, 60));
        child.process.kill("SIGKILL");
        await child.exited;
        await expectTrueBooks(stage);
        if (isLong) await renewed(stage);
        tell("kills", round);
      }
      await start(stage, "drain").exited;
      await expectExactlyOnce(stage);
    },
    timeoutMs,
  );

  register(
    `M17: on ${name}, eight processes that start at once on fresh books do every row once`,
    async () => {
      const stage = await prepared();
      const children = upTo(8).map(() => start(stage, "drain"));
      for (const child of children) expect((await child.exited).code).toBe(0);
      await expectExactlyOnce(stage);
    },
    timeoutMs,
  );

  register(
    `M10: on ${name}, a process that is stopped past its lease and wakes up writes nothing`,
    async () => {
      const stage = await prepared();
      let zombie = start(stage, "forever");
      await zombie.ready;
      let takeovers = 0;
      for (let round = 0; round < stops; round++) {
        await stopProcess(zombie.process, stage);
        const stop = new AbortController();
        let chunks = 0;
        const engine = await stage.engine(definitionsFor(stage.dialect), {
          leaseMs: 300,
          heartbeatMs: 100,
          owner: "heir",
          probe(point) {
            if (point === "after-commit" && ++chunks === 3) stop.abort();
          },
        });
        await engine.run({ signal: stop.signal }).catch(() => {});
        await engine.close();
        takeovers += chunks > 0 ? 1 : 0;
        zombie.process.kill("SIGCONT");
        await systemClock.sleep(40);
        await expectTrueBooks(stage);
        tell("stops", round);
        const left = await stage.query("select count(*) from tidemark_migrations where state <> 'done'");
        if (!isLong || Number(left[0]?.[0]) > 0) continue;
        zombie.process.kill("SIGKILL");
        await zombie.exited;
        await renewed(stage);
        zombie = start(stage, "forever");
        await zombie.ready;
      }
      zombie.process.kill("SIGKILL");
      await zombie.exited;
      // In a long run the heir finds nothing to take over now and then, because the zombie had just finished.
      expect(takeovers).toBeGreaterThan(isLong ? stops / 2 : 0);
      await start(stage, "drain").exited;
      await expectExactlyOnce(stage);
    },
    timeoutMs,
  );
}

/**
 * At any instant where a server ends a transaction that stands still. SQLite has none: a process that is stopped with
 * the write lock in its hands locks everybody out, as any program does, so there it is stopped outside of transactions.
 */
async function stopProcess(child: { kill(signal: NodeJS.Signals): boolean }, { address }: Stage): Promise<void> {
  if (!("file" in address)) {
    child.kill("SIGSTOP");
    return;
  }
  const probe = new Sqlite(address.file);
  probe.pragma("busy_timeout = 50");
  try {
    for (;;) {
      child.kill("SIGSTOP");
      try {
        probe.exec("begin immediate; rollback");
        return;
      } catch {
        child.kill("SIGCONT");
        await systemClock.sleep(3);
      }
    }
  } finally {
    probe.close();
  }
}
