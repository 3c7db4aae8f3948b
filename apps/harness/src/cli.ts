import { parseArgs } from "node:util";
import { benchUsage, runBenchCli } from "./bench-cli.ts";
import { conformanceUsage, runConformance } from "./conformance-cli.ts";
import { chaosUsage, runChaosCli } from "./chaos-cli.ts";
import { namesOf, numberFrom0, wholeNumber } from "./flags.ts";
import { runMutants, runSim, runSoak, simUsage } from "./sim-cli.ts";
import { UsageError } from "./usage-error.ts";

const usage = `${benchUsage}${chaosUsage}tidemark-harness gnmi-device [options]     a simulated network device, for whatever speaks gNMI
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
${simUsage}${conformanceUsage}`;

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
      return runBenchCli(args);
    case "chaos":
      return runChaosCli(args);
    case "gnmi-device":
      return gnmiDevice(args);
    case "sim":
      return runSim(args);
    case "mutants":
      return runMutants(args);
    case "conformance":
      return runConformance(args);
    case "soak":
      return runSoak(args);
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

function isParseError(error: unknown): error is Error {
  return error instanceof Error && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS");
}
