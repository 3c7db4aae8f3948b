import { parseArgs } from "node:util";
import { namesOf, wholeNumber } from "./flags.ts";
import { UsageError } from "./usage-error.ts";

export const simUsage = `tidemark-harness sim [options]             whole systems in virtual time, with everything that goes wrong
  --seeds N                                worlds (25)
  --seed S                                 the first of them (1)
  --without FAULT,…                        leaves faults out: source, history, crash, link, partition, restart, clock,
                                           retention, pruning, replace, poison
  --sites N, --followers N, --edits N      at most so many
  --minutes M                              begins no further world after so long, and says how to go on
  --trace                                  what happened, line by line
  --no-shrink                              does not look for the least world that fails in the same way
  --json                                   the report for machines
tidemark-harness mutants [options]         puts historical bugs into the code, and shows that each is found
  --only NAME,…                            only these
  --list                                   only says what there is
tidemark-harness soak [options]            simulated worlds one after the other, with heap and handles between them
  --minutes N                              how long (10)
`;

export async function runSim(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seeds: { type: "string" },
      seed: { type: "string" },
      without: { type: "string" },
      sites: { type: "string" },
      followers: { type: "string" },
      edits: { type: "string" },
      minutes: { type: "string" },
      trace: { type: "boolean", default: false },
      "no-shrink": { type: "boolean", default: false },
      json: { type: "boolean", default: false },
    },
  });
  const { faultGroups } = await import("./sim/plan.ts");
  const { simCommand } = await import("./sim/sim-command.ts");
  const minutes = Number(values.minutes ?? Number.POSITIVE_INFINITY);
  if (!(minutes > 0)) throw new UsageError(`--minutes must be above 0, got ${values.minutes}`);
  const isShrinking = !values["no-shrink"] && !values.json;
  return simCommand({
    seeds: wholeNumber("--seeds", values.seeds, 25),
    choice: {
      seed: values.seed === "0" ? 0 : wholeNumber("--seed", values.seed, 1),
      ...(values.without !== undefined && { without: namesOf("--without", values.without, faultGroups) }),
      ...(values.sites !== undefined && { sites: wholeNumber("--sites", values.sites, 4) }),
      ...(values.followers !== undefined && {
        followers: values.followers === "0" ? 0 : wholeNumber("--followers", values.followers, 0),
      }),
      ...(values.edits !== undefined && { edits: wholeNumber("--edits", values.edits, 1) }),
    },
    isTraced: values.trace,
    isJson: values.json,
    isShrinking,
    limitMs: minutes * 60_000,
    maxFailures: values.json ? 1 : 5,
    say: (line) => process.stderr.write(`${line}\n`),
  });
}

export async function runMutants(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { only: { type: "string" }, list: { type: "boolean", default: false } },
  });
  const { mutants } = await import("./mutants/catalogue.ts");
  const { mutantsCommand } = await import("./mutants/mutants-command.ts");
  const names = mutants.map(({ name }) => name);
  return mutantsCommand({
    only: namesOf("--only", values.only, names),
    isListing: values.list,
    say: (line) => process.stderr.write(`${line}\n`),
  });
}

export async function runSoak(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({ args: [...args], options: { minutes: { type: "string" } } });
  const minutes = Number(values.minutes ?? 10);
  if (!(minutes > 0)) throw new UsageError(`--minutes must be above 0, got ${values.minutes}`);
  const { soakCommand } = await import("./soak/soak-command.ts");
  return soakCommand({ minutes, say: (line) => process.stdout.write(`${line}\n`) });
}
