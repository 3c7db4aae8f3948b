import { conditionsOf } from "./conditions.ts";
import { etcdBenchParts } from "./etcd/bench-options.ts";
import { gnmiBenchParts } from "./gnmi/options.ts";
import { migrationsBenchParts } from "./migrations/options.ts";
import { type PackageBench, packageBenches, runPackageBench } from "./package-benches.ts";
import { type Report, renderConditions, renderTable } from "./report.ts";
import { rowsOfOutput } from "./output-rows.ts";
import { topicsBenchParts } from "./topics/options.ts";

interface Common {
  readonly reps: number;
  readonly quick: boolean;
  readonly say: (line: string) => void;
}

/** One thing that was measured. */
export interface SummaryRow {
  readonly name: string;
  readonly result: string;
  /** Undefined: it has none. */
  readonly goal?: string;
  readonly isMet?: boolean;
  /** It did not get as far as a result. */
  readonly hasFailed?: boolean;
}

/** A benchmark of ours, one part of one, or one of a package. */
export interface Bench {
  readonly name: string;
  run(options: Omit<Common, "reps">): Promise<readonly SummaryRow[]>;
}

/** How long one of a package may take where only a short look is wanted, in milliseconds. */
const quickLimitMs = 60_000;

/** What a package's benchmark is told where only a short look is wanted. Others are ended when their time is over. */
const quickArgs: Readonly<Record<string, readonly string[]>> = {
  "migrate/start-up": ["1000"],
  "source-catalog/hydrate": ["200"],
  "source-etcd/memory": ["16"],
  "source-etcd/receive": ["2000", "1"],
  "stream/handoff": ["--reps", "1", "--seconds", "1"],
  "topic-reader/reader": ["--repetitions", "1", "--seconds", "0.2"],
  "topic-server/open-sessions": ["20"],
  "watch-server/store": ["1"],
};

/** Parts of `topics` that run these are how they are compared with their goals. */
const inOthers = new Set(["connect-transport/frames", "topic/codec"]);
/** What a benchmark of a package is made of, and none itself. */
const helpers = new Set(["stream/buffers"]);

function ownBenches(): readonly Bench[] {
  const own = <Part extends string>(
    name: string,
    parts: readonly Part[],
    reps: number,
    run: (options: Common & { readonly parts: readonly Part[] }) => Promise<Report>,
  ): Bench[] =>
    parts.map((part) => ({
      name: `${name}/${part}`,
      run: async ({ quick, say }) =>
        rowsOfReport(`${name}/${part}`, await run({ quick, say, reps: quick ? 1 : reps, parts: [part] })),
    }));
  return [
    ...own("etcd", etcdBenchParts, 5, async (options) => (await import("./etcd/etcd-bench.ts")).benchEtcd(options)),
    ...own("mirror", ["etcd"], 3, async (options) => (await import("./mirror/mirror-bench.ts")).benchMirror(options)),
    ...own("gnmi", gnmiBenchParts, 3, async (options) => (await import("./gnmi/gnmi-bench.ts")).benchGnmi(options)),
    ...own("topics", topicsBenchParts, 5, async (options) =>
      (await import("./topics/topics-bench.ts")).benchTopics({ ...options, natsServer: "nats-server" }),
    ),
    ...own("migrations", migrationsBenchParts, 3, async (options) =>
      (await import("./migrations/migrations-bench.ts")).benchMigrations(options),
    ),
  ];
}

/** Every benchmark of the repository. */
export function allBenches(): readonly Bench[] {
  const ofPackages = packageBenches().filter(({ name }) => !inOthers.has(name) && !helpers.has(name));
  return [...ownBenches(), ...ofPackages.map(benchOfPackage)];
}

/** Whether a benchmark is one of these, or a part of one. */
export function isAmong(name: string, names: readonly string[]): boolean {
  return names.some((each) => name === each || name.startsWith(`${each}/`));
}

function benchOfPackage(bench: PackageBench): Bench {
  return {
    name: bench.name,
    async run({ quick }) {
      let output = "";
      const code = await runPackageBench(bench, quick ? (quickArgs[bench.name] ?? []) : [], {
        onOutput: (text) => (output += text),
        ...(quick && { limitMs: quickLimitMs }),
      });
      const rows = rowsOfOutput(bench.name, output);
      if (code === 0) return rows;
      const result =
        code === undefined ? `not done within ${quickLimitMs / 1000} s: run it alone` : `ended with ${code}`;
      return [...rows, { name: bench.name, result, hasFailed: code !== undefined }];
    },
  };
}

/** Goals where a section has some; otherwise what was measured. */
function rowsOfReport(name: string, { sections }: Report): readonly SummaryRow[] {
  return sections.flatMap(({ title, columns, rows, goals }): readonly SummaryRow[] =>
    goals.length > 0
      ? goals.map((goal) => ({
          name: `${name}: ${goal.name}`,
          result: goal.measured,
          goal: goal.goal,
          isMet: goal.isMet,
        }))
      : rows.map((row) => ({
          name: `${name}: ${title}, ${row.name}`,
          result: row.cells
            .flatMap((cell, index) => (cell === undefined ? [] : [`${columns[index]} ${cell}`]))
            .join(", "),
        })),
  );
}

/** Runs them one after the other. What fails is a row, and the others go on. */
export async function runBenches(
  benches: readonly Bench[],
  options: Omit<Common, "reps">,
): Promise<readonly SummaryRow[]> {
  const rows: SummaryRow[] = [];
  for (const [index, { name, run }] of benches.entries()) {
    options.say(`${index + 1} of ${benches.length}: ${name}`);
    try {
      rows.push(...(await run(options)));
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      rows.push({ name, result: `failed: ${message.split("\n")[0]}`, hasFailed: true });
      options.say(message);
    }
  }
  return rows;
}

/** All of it as one table, with what it was measured under. */
export async function renderSummary(rows: readonly SummaryRow[], quick: boolean): Promise<string> {
  const conditions = await conditionsOf(quick ? { sizes: "small, one repetition: not for comparison" } : {});
  const table = renderTable(
    ["", "result", "goal", "met"],
    rows.map(({ name, result, goal, isMet }) => [
      name,
      result,
      goal ?? "–",
      isMet === undefined ? "–" : isMet ? "yes" : "no",
    ]),
  );
  const goals = rows.filter(({ isMet }) => isMet !== undefined);
  const met = goals.filter(({ isMet }) => isMet);
  const failed = rows.filter(({ hasFailed }) => hasFailed === true);
  return [
    ...renderConditions(conditions),
    "",
    ...table,
    "",
    `${met.length} of ${goals.length} goals met, ${failed.length} benchmarks failed`,
  ].join("\n");
}
