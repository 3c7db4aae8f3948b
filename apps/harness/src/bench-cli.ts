import { parseArgs, type ParseArgsConfig } from "node:util";
import type { Report } from "./bench/report.ts";
import { namesOf, wholeNumber } from "./flags.ts";
import { UsageError } from "./usage-error.ts";

export const benchUsage = `tidemark-harness bench [options]           every benchmark of the repository, in one table; hours
  --quick                                  small sizes, one repetition, a minute at most for each of a package
  --only NAME,…                            only these, such as etcd, topics/write or stream/handoff
  --list                                   only says what there is
tidemark-harness bench etcd [options]      a real etcd into SQL history
  --reps N                                 repetitions (5)
  --part backlog,live,memory,reopen        only these parts
  --quick                                  small sizes, one repetition: does it work
  --json                                   every number as JSON
  --profile DIR                            CPU profiles of the Tidemark processes
tidemark-harness bench topics [options]    topic clients and servers against others and against the wire
  --reps, --quick, --json, --profile       as above
  --part write,latency,read,far,memory,server,frames,codec
  --gate                                   fails when something is worse than its gate
  --nats FILE                              the program of NATS (nats-server)
tidemark-harness bench migrations [options] migrations beside readers and writers, against one UPDATE and others
  --reps N (3), --quick, --json, --gate    as above
  --part sqlite,sqlite-cold,sqlite-lean,sqlite-rows,sqlite-long,postgres,mariadb,pglite
  --data DIR                               keeps the databases there for the next time
tidemark-harness bench gnmi [options]      simulated devices into SQL history, with slow commits and without any
  --reps N (3), --quick, --json, --profile as above
  --part live,rate,stall
tidemark-harness bench mirror [options]    one etcd kept like another, beside etcdctl make-mirror
  --reps, --quick, --json                  as above
tidemark-harness bench <name> [arguments]  a benchmark of a package
`;

export async function runBenchCli([name, ...args]: readonly string[]): Promise<number> {
  if (name === undefined || name.startsWith("--")) return everyBench(name === undefined ? [] : [name, ...args]);
  const { findPackageBench, packageBenches, runPackageBench } = await import("./bench/package-benches.ts");
  const benches = packageBenches();
  const list = ["etcd", "topics", "migrations", "mirror", "gnmi", ...benches.map((each) => each.name)];
  if (name === "topics") return benchOfTopics(args);
  if (name === "migrations") return benchOfMigrations(args);
  if (name === "mirror") return benchOfMirror(args);
  if (name === "gnmi") return benchOfGnmi(args);
  if (name !== "etcd") {
    const found = findPackageBench(name, benches);
    if (found === undefined) throw new UsageError(`bench must name one of ${list.join(", ")}; got "${name}"`);
    return (await runPackageBench(found, args)) ?? 1;
  }
  const { etcdBenchParts } = await import("./bench/etcd/bench-options.ts");
  const { benchEtcd } = await import("./bench/etcd/etcd-bench.ts");
  const { values, common } = benchFlags(args, { ...partFlag, ...profileFlag }, 5);
  const parts = namesOf("--part", values.part, etcdBenchParts);
  return reported(values, benchEtcd({ ...common, parts, ...profileDirOf(values) }));
}

async function everyBench(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean", default: false },
      list: { type: "boolean", default: false },
      only: { type: "string" },
    },
  });
  const { allBenches, isAmong, runBenches, renderSummary } = await import("./bench/all-benches.ts");
  const benches = allBenches();
  const only = values.only?.split(",");
  for (const name of only ?? []) {
    if (!benches.some((each) => isAmong(each.name, [name]))) {
      const names = benches.map((each) => each.name).join(", ");
      throw new UsageError(`--only must name some of ${names}; got "${name}"`);
    }
  }
  const chosen = only === undefined ? benches : benches.filter((each) => isAmong(each.name, only));
  if (values.list) {
    process.stdout.write(`${chosen.map((each) => each.name).join("\n")}\n`);
    return 0;
  }
  const say = (line: string) => void process.stderr.write(`${line}\n`);
  const rows = await runBenches(chosen, { quick: values.quick, say });
  process.stdout.write(`${await renderSummary(rows, values.quick)}\n`);
  return rows.some(({ hasFailed }) => hasFailed) ? 1 : 0;
}

const partFlag = { part: { type: "string" } } as const;
const profileFlag = { profile: { type: "string" } } as const;
const gateFlag = { gate: { type: "boolean", default: false } } as const;

/** The flags that every benchmark has, and its own. */
function benchFlags<O extends NonNullable<ParseArgsConfig["options"]>>(args: readonly string[], own: O, reps: number) {
  const { values } = parseArgs({
    args: [...args],
    options: {
      reps: { type: "string" },
      quick: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      ...own,
    },
  });
  const { quick, reps: asked } = values as { readonly quick: boolean; readonly reps?: string };
  const common = {
    reps: wholeNumber("--reps", asked, quick ? 1 : reps),
    quick,
    say: (line: string) => void process.stderr.write(`${line}\n`),
  };
  return { values, common };
}

function profileDirOf({ profile }: { readonly profile?: string | undefined }): { readonly profileDir?: string } {
  return profile === undefined ? {} : { profileDir: profile };
}

/** Prints what a benchmark found. With `gate`, what is worse than its gate makes it fail. */
async function reported(
  { json, gate = false }: { readonly json?: unknown; readonly gate?: unknown },
  running: Promise<Report>,
): Promise<number> {
  const { failedGates, renderReport } = await import("./bench/report.ts");
  const report = await running;
  process.stdout.write(json === true ? `${JSON.stringify(report, null, 2)}\n` : `${renderReport(report)}\n`);
  const failed = gate === true ? failedGates(report) : [];
  for (const goal of failed) process.stderr.write(`gate: ${goal.name}: ${goal.measured}, not ${goal.gate}\n`);
  return failed.length > 0 ? 1 : 0;
}

async function benchOfTopics(args: readonly string[]): Promise<number> {
  const { topicsBenchParts } = await import("./bench/topics/options.ts");
  const { benchTopics } = await import("./bench/topics/topics-bench.ts");
  const nats = { nats: { type: "string", default: "nats-server" } } as const;
  const { values, common } = benchFlags(args, { ...partFlag, ...profileFlag, ...gateFlag, ...nats }, 5);
  const parts = namesOf("--part", values.part, topicsBenchParts);
  return reported(values, benchTopics({ ...common, parts, natsServer: values.nats, ...profileDirOf(values) }));
}

async function benchOfMirror(args: readonly string[]): Promise<number> {
  const { benchMirror } = await import("./bench/mirror/mirror-bench.ts");
  const { values, common } = benchFlags(args, {}, 3);
  return reported(values, benchMirror(common));
}

async function benchOfMigrations(args: readonly string[]): Promise<number> {
  const { migrationsBenchParts } = await import("./bench/migrations/options.ts");
  const { benchMigrations } = await import("./bench/migrations/migrations-bench.ts");
  const { values, common } = benchFlags(args, { ...partFlag, ...gateFlag, data: { type: "string" } } as const, 3);
  const parts = namesOf("--part", values.part, migrationsBenchParts);
  const data = values.data === undefined ? {} : { dataDir: values.data };
  return reported(values, benchMigrations({ ...common, parts, ...data }));
}

async function benchOfGnmi(args: readonly string[]): Promise<number> {
  const { gnmiBenchParts } = await import("./bench/gnmi/options.ts");
  const { benchGnmi } = await import("./bench/gnmi/gnmi-bench.ts");
  const { values, common } = benchFlags(args, { ...partFlag, ...profileFlag }, 3);
  const parts = namesOf("--part", values.part, gnmiBenchParts);
  return reported(values, benchGnmi({ ...common, parts, ...profileDirOf(values) }));
}
