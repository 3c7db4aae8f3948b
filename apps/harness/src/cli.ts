import { parseArgs } from "node:util";
import type { ReportGoal } from "./bench/report.ts";
import { UsageError } from "./usage-error.ts";

const usage = `tidemark-harness bench                     lists the benchmarks
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
  --reps, --quick, --json, --gate          as above
  --part sqlite,sqlite-lean,postgres,mariadb
  --data DIR                               keeps the databases there for the next time
tidemark-harness bench <name> [arguments]  a benchmark of a package
tidemark-harness chaos etcd [options]      faults against a real etcd and a follower, and a proof after them
  --seed S                                 chooses the faults (random)
  --minutes M                              how long (1)
  --only FAULT,…                           only these faults
  --verify-every N                         faults between proofs (10)
tidemark-harness gnmi-device [options]     a simulated network device, for whatever speaks gNMI
  --port N, --host H                       where it listens (9339 on 127.0.0.1)
  --interfaces N                           interfaces of twelve leaves each (48)
  --rate N                                 leaves that change in a second (10)
  --slow MS                                time between two notifications
  --fault F,…                              refuse-on-change, refuse-target-defined, reorder, coalesce, no-sync,
                                           no-capabilities
  --bundle N, --subtrees                   initial values: N in a notification, or as JSON subtrees
  --atomic PATH,…, --sampled PATH,…        what is sent whole; what target_defined samples
  --restart-every S, --freeze-every S      restarts; is half-open for 20 s
  --cert FILE --key FILE [--ca FILE]       TLS; with an authority, clients need a certificate of it
                                           GNMI_USERNAME and GNMI_PASSWORD, or GNMI_TOKEN, say whom it serves
`;

/** Runs the command line and returns the exit code. */
export async function runCli(args: readonly string[]): Promise<number> {
  try {
    return await dispatch(args);
  } catch (error) {
    if (!(error instanceof UsageError) && !isParseError(error)) throw error;
    process.stderr.write(`error: ${error.message}\n\n${usage}`);
    return 2;
  }
}

async function dispatch([command, ...args]: readonly string[]): Promise<number> {
  switch (command) {
    case "bench":
      return bench(args);
    case "chaos":
      return chaos(args);
    case "gnmi-device":
      return gnmiDevice(args);
    case undefined:
    case "help":
    case "--help":
    case "-h":
      process.stdout.write(usage);
      return 0;
    default:
      throw new UsageError(`there is no command "${command}"`);
  }
}

async function bench([name, ...args]: readonly string[]): Promise<number> {
  const { findPackageBench, packageBenches, runPackageBench } = await import("./bench/package-benches.ts");
  const benches = packageBenches();
  const list = ["etcd", "topics", "migrations", ...benches.map((each) => each.name)];
  if (name === undefined) {
    process.stdout.write(`${list.join("\n")}\n`);
    return 0;
  }
  if (name === "topics") return benchOfTopics(args);
  if (name === "migrations") return benchOfMigrations(args);
  if (name !== "etcd") {
    const found = findPackageBench(name, benches);
    if (found === undefined) throw new UsageError(`bench must name one of ${list.join(", ")}; got "${name}"`);
    return runPackageBench(found, args);
  }
  const { values } = parseArgs({
    args: [...args],
    options: {
      reps: { type: "string" },
      part: { type: "string" },
      quick: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      profile: { type: "string" },
    },
  });
  const { etcdBenchParts } = await import("./bench/etcd/bench-options.ts");
  const { benchEtcd } = await import("./bench/etcd/etcd-bench.ts");
  const { renderReport } = await import("./bench/report.ts");
  const report = await benchEtcd({
    reps: wholeNumber("--reps", values.reps, values.quick ? 1 : 5),
    quick: values.quick,
    parts: namesOf("--part", values.part, etcdBenchParts),
    ...(values.profile !== undefined && { profileDir: values.profile }),
    say: (line) => process.stderr.write(`${line}\n`),
  });
  process.stdout.write(values.json ? `${JSON.stringify(report, null, 2)}\n` : `${renderReport(report)}\n`);
  return 0;
}

async function benchOfTopics(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      reps: { type: "string" },
      part: { type: "string" },
      quick: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      gate: { type: "boolean", default: false },
      profile: { type: "string" },
      nats: { type: "string", default: "nats-server" },
    },
  });
  const { topicsBenchParts } = await import("./bench/topics/options.ts");
  const { benchTopics } = await import("./bench/topics/topics-bench.ts");
  const { failedGates, renderReport } = await import("./bench/report.ts");
  const report = await benchTopics({
    reps: wholeNumber("--reps", values.reps, values.quick ? 1 : 5),
    quick: values.quick,
    parts: namesOf("--part", values.part, topicsBenchParts),
    natsServer: values.nats,
    ...(values.profile !== undefined && { profileDir: values.profile }),
    say: (line) => process.stderr.write(`${line}\n`),
  });
  process.stdout.write(values.json ? `${JSON.stringify(report, null, 2)}\n` : `${renderReport(report)}\n`);
  return judged(values.gate ? failedGates(report) : []);
}

function judged(failed: readonly ReportGoal[]): number {
  for (const { name, gate, measured } of failed) process.stderr.write(`gate: ${name}: ${measured}, not ${gate}\n`);
  return failed.length > 0 ? 1 : 0;
}

async function benchOfMigrations(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      reps: { type: "string" },
      part: { type: "string" },
      quick: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      gate: { type: "boolean", default: false },
      data: { type: "string" },
    },
  });
  const { migrationsBenchParts } = await import("./bench/migrations/options.ts");
  const { benchMigrations } = await import("./bench/migrations/migrations-bench.ts");
  const { failedGates, renderReport } = await import("./bench/report.ts");
  const report = await benchMigrations({
    reps: wholeNumber("--reps", values.reps, values.quick ? 1 : 5),
    quick: values.quick,
    parts: namesOf("--part", values.part, migrationsBenchParts),
    ...(values.data !== undefined && { dataDir: values.data }),
    say: (line) => process.stderr.write(`${line}\n`),
  });
  process.stdout.write(values.json ? `${JSON.stringify(report, null, 2)}\n` : `${renderReport(report)}\n`);
  return judged(values.gate ? failedGates(report) : []);
}

async function chaos([target, ...args]: readonly string[]): Promise<number> {
  if (target !== "etcd") throw new UsageError(`chaos knows etcd only; got "${target ?? ""}"`);
  const { values } = parseArgs({
    args: [...args],
    options: {
      seed: { type: "string" },
      minutes: { type: "string" },
      only: { type: "string" },
      "verify-every": { type: "string" },
    },
  });
  const { chaosCommand } = await import("./chaos/chaos-command.ts");
  const { faults } = await import("./chaos/faults.ts");
  const minutes = Number(values.minutes ?? 1);
  if (!(minutes > 0)) throw new UsageError(`--minutes must be above 0, got ${values.minutes}`);
  return chaosCommand({
    seed: wholeNumber("--seed", values.seed, Math.floor(Math.random() * 1e9)),
    minutes,
    only: namesOf(
      "--only",
      values.only,
      faults.map(({ name }) => name),
    ),
    verifyEvery: wholeNumber("--verify-every", values["verify-every"], 10),
  });
}

const gnmiFaults = [
  "refuse-on-change",
  "refuse-target-defined",
  "reorder",
  "coalesce",
  "no-sync",
  "no-capabilities",
] as const;

async function gnmiDevice(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      host: { type: "string", default: "127.0.0.1" },
      port: { type: "string", default: "9339" },
      interfaces: { type: "string", default: "48" },
      rate: { type: "string", default: "10" },
      slow: { type: "string", default: "0" },
      fault: { type: "string" },
      bundle: { type: "string" },
      subtrees: { type: "boolean", default: false },
      atomic: { type: "string" },
      sampled: { type: "string" },
      "restart-every": { type: "string", default: "0" },
      "freeze-every": { type: "string", default: "0" },
      cert: { type: "string" },
      key: { type: "string" },
      ca: { type: "string" },
    },
  });
  if ((values.cert === undefined) !== (values.key === undefined)) throw new UsageError("--cert and --key go together");
  const { gnmiDeviceCommand } = await import("./gnmi/gnmi-device-command.ts");
  const faults = values.fault === undefined ? [] : namesOf("--fault", values.fault, gnmiFaults);
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => stop.abort(new Error(name)));
  return gnmiDeviceCommand({
    host: values.host,
    port: numberFrom0("--port", values.port),
    interfaces: wholeNumber("--interfaces", values.interfaces, 48),
    rate: numberFrom0("--rate", values.rate),
    device: {
      bundle: wholeNumber("--bundle", values.bundle, 1),
      subtrees: values.subtrees,
      atomic: values.atomic?.split(",") ?? [],
      sampled: values.sampled?.split(",") ?? [],
      hasCapabilities: !faults.includes("no-capabilities"),
      faults: {
        refuseOnChange: faults.includes("refuse-on-change"),
        refuseTargetDefined: faults.includes("refuse-target-defined"),
        isReordering: faults.includes("reorder"),
        isCoalescing: faults.includes("coalesce"),
        withholdsSync: faults.includes("no-sync"),
        slowMs: numberFrom0("--slow", values.slow),
      },
    },
    certFile: values.cert,
    keyFile: values.key,
    caFile: values.ca,
    restartEvery: numberFrom0("--restart-every", values["restart-every"]),
    freezeEvery: numberFrom0("--freeze-every", values["freeze-every"]),
    signal: stop.signal,
    say: (line) => process.stdout.write(`${line}\n`),
  });
}

function numberFrom0(flag: string, text: string): number {
  return text === "0" ? 0 : wholeNumber(flag, text, 0);
}

function wholeNumber(flag: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  if (!/^[1-9]\d{0,14}$/.test(text)) throw new UsageError(`${flag} must be a whole number above 0, got "${text}"`);
  return Number(text);
}

function namesOf<T extends string>(flag: string, text: string | undefined, known: readonly T[]): readonly T[] {
  if (text === undefined) return known;
  return text.split(",").map((name) => {
    const found = known.find((each) => each === name);
    if (found === undefined) throw new UsageError(`${flag} must name some of ${known.join(", ")}; got "${name}"`);
    return found;
  });
}

function isParseError(error: unknown): error is Error {
  return error instanceof Error && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS");
}
