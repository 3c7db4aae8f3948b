import type { ReportGoal } from "../report.ts";
import { median, ratios } from "../stats.ts";
import { atLeastPercent, atMost } from "./goals.ts";
import type { MigrationsBenchPart } from "./options.ts";
import { type Side, type Sides, valuesOf } from "./sides.ts";
import type { SqliteContender } from "./sqlite-part.ts";

type Heat = "warm" | "cold";

/** M1 to M3 and M7 of the migrations' facts, B1 and B2 of the performance's; of each the stricter. */
export function sqliteGoals(part: MigrationsBenchPart, heat: Heat, sides: Sides<SqliteContender>): ReportGoal[] {
  const of = (name: SqliteContender, value: (side: Side) => number) => valuesOf(sides, name, value);
  const title = (id: string, what: string) => `${id} ${what}, ${part}`;
  const most = (name: SqliteContender, value: (side: Side) => number) => median(of(name, value));
  const isWarm = heat === "warm";
  const copyRatio = (name: SqliteContender) =>
    median(
      ratios(
        of(name, ({ run }) => run.copyMs),
        of("single", ({ run }) => run.tookMs),
      ),
    );
  const calmP50 = most("nothing", ({ reader }) => reader.p50Ms);
  const calmP99 = most("nothing", ({ reader }) => reader.p99Ms);
  const goals: ReportGoal[] = [];
  for (const name of ["set", "aggregate"] as const) {
    goals.push(
      atMost(
        title("M1", `${name}, event loop, max`),
        most(name, ({ run }) => run.loopMaxMs),
        isWarm ? 50 : 100,
        isWarm ? 100 : 200,
      ),
      atMost(
        title("M1", `${name}, event loop, p99`),
        most(name, ({ run }) => run.loopP99Ms),
        20,
        40,
      ),
      atMost(
        title("M2", `${name}, reader p99`),
        most(name, ({ reader }) => reader.p99Ms),
        isWarm ? 1.5 : 3,
        isWarm ? 3 : 6,
      ),
      atMost(
        title("M2", `${name}, reader p99*`),
        most(name, ({ reader }) => reader.ownP99Ms),
        isWarm ? 1.5 : 3,
        isWarm ? 3 : 6,
      ),
      atMost(
        title("M2", `${name}, reader max`),
        most(name, ({ reader }) => reader.maxMs),
        50,
        100,
      ),
      atMost(
        title("M3", `${name}, writer p99`),
        most(name, ({ writer }) => writer.p99Ms),
        isWarm ? 40 : 80,
        isWarm ? 80 : 160,
      ),
      atMost(
        title("B1/B2", `${name}, writer max`),
        most(name, ({ writer }) => writer.maxMs),
        isWarm ? 10 : 250,
        isWarm ? 20 : 500,
      ),
      atMost(
        title("B1/B2", `${name}, writer max*`),
        most(name, ({ writer }) => writer.ownMaxMs),
        isWarm ? 10 : 250,
        isWarm ? 20 : 500,
      ),
      atMost(title("M7", `${name}, WAL`), most(name, ({ walBytes }) => walBytes) / 2 ** 20, 8, 16, " MiB"),
    );
  }
  goals.push(
    atLeastPercent(title("B2", "set, throughput of the single UPDATE"), 1 / copyRatio("set"), 0.8, 0.65),
    atMost(title("B1", "aggregate, time of the single UPDATE"), copyRatio("aggregate"), 0.35, 0.6, " ×"),
    atMost(
      title("B1", "aggregate, reader p50, of undisturbed"),
      most("aggregate", ({ reader }) => reader.p50Ms) / calmP50,
      1.5,
      2.5,
      " ×",
    ),
    atMost(
      title("B1", "aggregate, reader p99"),
      most("aggregate", ({ reader }) => reader.p99Ms),
      Math.max(3, calmP99),
      6,
    ),
  );
  return goals;
}
