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

/**
 * Whose rows the writer beside a contender writes. A single UPDATE stops a writer of its own rows, which leaves it and the
 * reader the processors: what it costs them is comparable beside a writer that it does not stop.
 */
type Written = "others" | "same";

/** A table of MariaDB keeps what a row was elsewhere, and has nothing to vacuum. */
const contendersOf = (server: ServerName, written: Written): readonly ServerContender[] => [
  "nothing",
  "single",
  "seed",
  "set",
  "aggregate",
  ...(server === "postgres" && written === "same" ? (["vacuumed"] as const) : []),
  ...(written === "same" ? (["gentle"] as const) : []),
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
  /** How long each operation took, in milliseconds. */
  readonly latenciesMs: { readonly reader: readonly number[]; readonly writer: readonly number[] };
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
  const measured = { others: new Map(), same: new Map() } as Record<Written, ServerSides>;
  for (let rep = 0; rep < options.reps; rep++) {
    for (const written of ["others", "same"] as const) {
      for (const contender of contendersOf(server, written)) {
        const side = await measure(contender, written, running.address, link, shape.parents, options);
        options.say(
          `${server}, ${rep + 1} of ${options.reps}, ${contender}, writer of ${written}: ${(side.run.tookMs / 1000).toFixed(2)} s, writer at most ${side.writer.maxMs.toFixed(1)} ms`,
        );
        const sides = measured[written].get(contender) ?? [];
        measured[written].set(contender, [...sides, side]);
      }
    }
  }
  const title = `${running.version}, ${shape.parents} parents, ${shape.children} children`;
  const section = (written: Written, of: string, notes: readonly string[], goals: ReportGoal[]): ReportSection => ({
    title: `${title}, a writer of ${of}`,
    notes,
    ...serverTable(server, measured[written]),
    goals,
    raw: Object.fromEntries(measured[written]),
  });
  return [
    section(
      "others",
      "other rows",
      [
        "A reader every 5 ms and a writer of another table every 10 ms, each in a process of its own. p99 of goals is of all repetitions together.",
        `set: any expression, here a subquery for each row; aggregate: the same, said as what it is. Both without rests, ${eager.targetMs} ms a chunk.`,
        serverOwnNote,
      ],
      goalsBesideOthers(server, measured.others),
    ),
    section(
      "same",
      "the same rows",
      [
        "The same, with a writer of any of the rows that are migrated, which a single UPDATE stops; gentle: set, as a definition that says nothing.",
        ...(server === "postgres"
          ? [
              "vacuumed: set, with the signal `vacuum`, which lets the engine vacuum the table.",
              "growth: what the table takes after the run, for what it took before.",
            ]
          : []),
      ],
      goalsBesideSame(server, measured.same),
    ),
  ];
}

const eagerBodies = ["set", "aggregate"] as const;

/** B3 of the performance's facts: what a migration costs whom it does not stop. */
function goalsBesideOthers(server: ServerName, sides: ServerSides): ReportGoal[] {
  return eagerBodies.flatMap((name) => [
    longestLock(server, sides, name, ""),
    throughput(server, sides, name, ""),
    atMost(
      `B3 ${name}, reader p99, of that beside the single UPDATE, ${server}`,
      p99Of(sides, name, "reader") / p99Of(sides, "single", "reader"),
      1,
      2,
      " ×",
    ),
  ]);
}

/** B3 once more, and M5, M6 and M8 of the migrations'. */
function goalsBesideSame(server: ServerName, sides: ServerSides): ReportGoal[] {
  const middle = (name: ServerContender, value: (side: Side) => number) => median(valuesOf(sides, name, value));
  const calm = p99Of(sides, "nothing", "writer");
  const gentle = timeOfSingle(sides, "gentle");
  return [
    ...eagerBodies.flatMap((name) => [
      longestLock(server, sides, name, ", same rows"),
      throughput(server, sides, name, ", same rows"),
      atMost(
        `M5 ${name}, row-writer max, ${server}`,
        middle(name, ({ writer }) => writer.maxMs),
        50,
        100,
      ),
      atMost(`M5 ${name}, row-writer p99, ${server}`, p99Of(sides, name, "writer"), 2 * calm, 4 * calm),
    ]),
    atMost(`M6 gentle, time of the single UPDATE, ${server}`, gentle, 3.5, 5, " ×"),
    ...(server === "postgres"
      ? [
          atMost(
            `M8 growth of the table, vacuumed, ${server}`,
            median((sides.get("vacuumed") ?? []).map(({ growth }) => growth)),
            1.5,
            2,
            " ×",
          ),
        ]
      : []),
  ];
}

const longestLock = (server: ServerName, sides: ServerSides, name: ServerContender, beside: string) =>
  atMost(
    `B3 ${name}, longest transaction${beside}, ${server}`,
    median(valuesOf(sides, name, ({ run }) => run.maxLockMs)),
    25,
    50,
  );

const throughput = (server: ServerName, sides: ServerSides, name: ServerContender, beside: string) =>
  atLeastPercent(
    `B3 ${name}, throughput of the single UPDATE${beside}, ${server}`,
    1 / timeOfSingle(sides, name),
    0.9,
    0.75,
  );

/**
 * Of all repetitions together: one has a few hundred operations, and where a processor is away for 20 ms four of them are
 * late, so that its own p99 tells whether that happened.
 */
function p99Of(sides: ServerSides, name: ServerContender, peer: "reader" | "writer"): number {
  const latenciesMs = Float64Array.from((sides.get(name) ?? []).flatMap((side) => side.latenciesMs[peer]));
  return summaryOf({ latenciesMs, refused: 0 }).p99Ms;
}

/** How long a contender copies, of what the single UPDATE takes in the same repetition. */
function timeOfSingle(sides: ServerSides, name: ServerContender): number {
  const copies = valuesOf(sides, name, ({ run }) => run.copyMs);
  return median(
    ratios(
      copies,
      valuesOf(sides, "single", ({ run }) => run.tookMs),
    ),
  );
}

async function measure(
  contender: ServerContender,
  rowsOfWriter: Written,
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
  await writer.call("start", {
    kind: rowsOfWriter === "same" ? "writer" : "other-writer",
    everyMs: writeEveryMs,
    parents,
  });
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
  const read = await reader.call("stop");
  const written = await writer.call("stop");
  const side: ServerSide = {
    run,
    walBytes,
    growth,
    reader: summaryOf(read, readEveryMs),
    writer: summaryOf(written, writeEveryMs),
    latenciesMs: { reader: inMicros(read.latenciesMs), writer: inMicros(written.latenciesMs) },
  };
  const wrong = contender === "nothing" ? 0 : await wrongOnServer(link);
  if (wrong > 0) throw new Error(`${contender} left ${wrong} rows wrong`);
  return side;
}

/** Rounded, for those who read all of them. */
const inMicros = (latenciesMs: Float64Array) => Array.from(latenciesMs, (each) => Math.round(each * 1000) / 1000);

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
