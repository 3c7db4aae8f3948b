import { startRole } from "../../role-process.ts";
import type { MigrationRun } from "../../roles/migrations-run-role.ts";
import type { MigrationsServerRole, ServerRun } from "../../roles/migrations-server-role.ts";
import { duration, type ReportGoal, type ReportSection } from "../report.ts";
import { median, ratios } from "../stats.ts";
import { atLeastPercent, atMost } from "./goals.ts";
import { type MigrationsBenchOptions, shapeOf } from "./options.ts";
import { linkTo, type ServerLink } from "./server-link.ts";
import { resetServer, seedServer, wrongOnServer } from "./server-seed.ts";
import { nothing, type Side, summaryOf, tableOf, valuesOf } from "./sides.ts";
import { type ServerAddress, type ServerName, startSqlServer } from "./sql-server.ts";

type ServerContender = "nothing" | "single" | "seed" | "set" | "aggregate" | "vacuumed" | "gentle";

/** A table of MariaDB keeps what a row was elsewhere, and has nothing to vacuum. */
const contendersOf = (server: ServerName): readonly ServerContender[] => [
  "nothing",
  "single",
  "seed",
  "set",
  "aggregate",
  ...(server === "postgres" ? (["vacuumed"] as const) : []),
  "gentle",
];

/** Chunks of about this many milliseconds, one behind the other: of 10, what each costs weighs more. */
const eager = { nice: 0, targetMs: 16 } as const;

const readEveryMs = 5;
const writeEveryMs = 10;

const serverOwnNote =
  "\\*: without the time in which the process that asked, or the session of the server that answered, was ready to run and had no processor, which is the machine's and not the database's. Waits at the same time count twice: what is left may be too little, and no goal is about it.";

/** Beside what there is of every database, what only servers have. */
interface ServerSide extends Side {
  /** Bytes of the migrated table after the run, for each before it; NaN where it is not known. */
  readonly growth: number;
}

type ServerSides = Map<ServerContender, ServerSide[]>;

/** Medians of the repetitions are what goals are about; a table has the highest. */
function serverTable(server: ServerName, sides: ServerSides): ReturnType<typeof tableOf> {
  const { columns, rows } = tableOf(sides);
  const behind = columns.indexOf("longest lock") + 1;
  const isGrowing = server === "postgres";
  return {
    columns: [...columns.toSpliced(behind, 0, "longest lock*"), ...(isGrowing ? ["growth"] : [])],
    rows: rows.map((row) => {
      const runs = sides.get(row.name as ServerContender) ?? [];
      const cells = row.cells.toSpliced(behind, 0, duration(Math.max(...runs.map(ownLockOf))));
      const growth = Math.max(...runs.map((side) => side.growth));
      return { ...row, cells: isGrowing ? [...cells, `${growth.toFixed(2)} ×`] : cells };
    }),
  };
}

const ownLockOf = ({ run }: Side) => ("ownLockMs" in run ? (run as ServerRun).ownLockMs : Number.NaN);

export async function benchServer(server: ServerName, options: MigrationsBenchOptions): Promise<ReportSection[]> {
  const shape = shapeOf(server, options.quick);
  options.say(`${server}: ${shape.parents} parents, ${shape.children} children …`);
  await using running = await startSqlServer(server);
  await using link = await linkTo(running.address);
  await seedServer(server, link, shape);
  const contenders = contendersOf(server);
  const sides: ServerSides = new Map(contenders.map((name) => [name, []]));
  for (let rep = 0; rep < options.reps; rep++) {
    for (const contender of contenders) {
      const side = await measure(contender, running.address, link, shape.parents, options);
      options.say(
        `${server}, ${rep + 1} of ${options.reps}, ${contender}: ${(side.run.tookMs / 1000).toFixed(2)} s, writer at most ${side.writer.maxMs.toFixed(1)} ms`,
      );
      sides.get(contender)?.push(side);
    }
  }
  return [
    {
      title: `${running.version}, ${shape.parents} parents, ${shape.children} children`,
      notes: [
        "A reader every 5 ms and a writer of rows of the same table every 10 ms, each in a process of its own.",
        `set: any expression, here a subquery for each row; aggregate: the same, said as what it is. Both without rests, ${eager.targetMs} ms a chunk.`,
        "gentle: set, as a definition that says nothing.",
        ...(server === "postgres"
          ? [
              "vacuumed: set, with the signal `vacuum`, which lets the engine vacuum the table.",
              "growth: what the table takes after the run, for what it took before.",
            ]
          : []),
        serverOwnNote,
      ],
      ...serverTable(server, sides),
      goals: goalsOf(server, sides),
      raw: Object.fromEntries(sides),
    },
  ];
}

/** B3 of the performance's facts, M5, M6 and M8 of the migrations'. */
function goalsOf(server: ServerName, sides: ServerSides): ReportGoal[] {
  const of = (name: ServerContender, value: (side: Side) => number) => valuesOf(sides, name, value);
  const middle = (name: ServerContender, value: (side: Side) => number) => median(of(name, value));
  const single = of("single", ({ run }) => run.tookMs);
  const copied = (name: ServerContender) =>
    median(
      ratios(
        of(name, ({ run }) => run.copyMs),
        single,
      ),
    );
  const calm = middle("nothing", ({ writer }) => writer.p99Ms);
  const title = (id: string, what: string) => `${id} ${what}, ${server}`;
  const eagerGoals = (["set", "aggregate"] as const).flatMap((name) => [
    atMost(
      title("B3", `${name}, longest transaction`),
      middle(name, ({ run }) => run.maxLockMs),
      25,
      50,
    ),
    atLeastPercent(title("B3", `${name}, throughput of the single UPDATE`), 1 / copied(name), 0.9, 0.75),
    atMost(
      title("B3", `${name}, reader p99, of that beside the single UPDATE`),
      median(
        ratios(
          of(name, ({ reader }) => reader.p99Ms),
          of("single", ({ reader }) => reader.p99Ms),
        ),
      ),
      1,
      2,
      " ×",
    ),
    atMost(
      title("M5", `${name}, row-writer max`),
      middle(name, ({ writer }) => writer.maxMs),
      50,
      100,
    ),
    atMost(
      title("M5", `${name}, row-writer p99`),
      middle(name, ({ writer }) => writer.p99Ms),
      2 * calm,
      4 * calm,
    ),
  ]);
  return [
    ...eagerGoals,
    atMost(title("M6", "gentle, time of the single UPDATE"), copied("gentle"), 3.5, 5, " ×"),
    ...(server === "postgres"
      ? [
          atMost(
            title("M8", "growth of the table, vacuumed"),
            median((sides.get("vacuumed") ?? []).map(({ growth }) => growth)),
            1.5,
            2,
            " ×",
          ),
        ]
      : []),
  ];
}

async function measure(
  contender: ServerContender,
  address: ServerAddress,
  link: ServerLink,
  parents: number,
  options: MigrationsBenchOptions,
): Promise<ServerSide> {
  await resetServer(address.server, link);
  await using reader = await startRole<MigrationsServerRole>("migrations-server");
  await using writer = await startRole<MigrationsServerRole>("migrations-server");
  await using runner = await startRole<MigrationsServerRole>("migrations-server");
  for (const role of [reader, writer, runner]) await role.call("connect", address);
  const wal = await walOf(address.server, link);
  const table = await tableBytesOf(address.server, link);
  await reader.call("start", { kind: "reader", everyMs: readEveryMs, parents });
  await writer.call("start", { kind: "writer", everyMs: writeEveryMs, parents });
  let run: MigrationRun;
  switch (contender) {
    case "nothing":
      run = await nothing(options.quick ? 1000 : 3000);
      break;
    case "set":
    case "aggregate":
      run = await runner.call("tidemark", { body: contender, ...eager });
      break;
    case "vacuumed":
      run = await runner.call("tidemark", { body: "set", ...eager, vacuums: true });
      break;
    case "gentle":
      run = await runner.call("tidemark", { body: "set" });
      break;
    default:
      run = await runner.call(contender);
  }
  const walBytes = (await walOf(address.server, link)) - wal;
  const growth = (await tableBytesOf(address.server, link)) / table;
  const side: ServerSide = {
    run,
    walBytes,
    growth,
    reader: summaryOf(await reader.call("stop"), readEveryMs),
    writer: summaryOf(await writer.call("stop"), writeEveryMs),
  };
  const wrong = contender === "nothing" ? 0 : await wrongOnServer(link);
  if (wrong > 0) throw new Error(`${contender} left ${wrong} rows wrong`);
  return side;
}

/** Bytes of log the server has written so far. */
async function walOf(server: ServerName, { query }: ServerLink): Promise<number> {
  if (server === "postgres") {
    return Number((await query("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")).rows[0]?.[0]);
  }
  return Number((await query("show global status like 'Innodb_os_log_written'")).rows[0]?.[1]);
}

/** What the rows of the migrated table take; NaN where rows that were are kept elsewhere. */
async function tableBytesOf(server: ServerName, { query }: ServerLink): Promise<number> {
  if (server !== "postgres") return Number.NaN;
  return Number((await query("select pg_relation_size('transmissions')")).rows[0]?.[0]);
}
