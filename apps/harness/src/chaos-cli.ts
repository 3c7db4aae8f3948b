import { parseArgs } from "node:util";
import { namesOf, wholeNumber } from "./flags.ts";
import { UsageError } from "./usage-error.ts";

export const chaosUsage = `tidemark-harness chaos etcd [options]      faults against a real etcd and a follower, and a proof after them
tidemark-harness chaos topics [options]    faults against a topic service, its writers and its reader, the same
  --seed S                                 chooses the faults (random)
  --minutes M                              how long (1)
  --only FAULT,…                           only these faults
  --verify-every N                         faults between proofs (10)
`;

export async function runChaosCli([target, ...args]: readonly string[]): Promise<number> {
  if (target !== "etcd" && target !== "topics") {
    throw new UsageError(`chaos must name etcd or topics; got "${target ?? ""}"`);
  }
  const { values } = parseArgs({
    args: [...args],
    options: {
      seed: { type: "string" },
      minutes: { type: "string" },
      only: { type: "string" },
      "verify-every": { type: "string" },
    },
  });
  const minutes = Number(values.minutes ?? 1);
  if (!(minutes > 0)) throw new UsageError(`--minutes must be above 0, got ${values.minutes}`);
  const common = {
    seed: wholeNumber("--seed", values.seed, Math.floor(Math.random() * 1e9)),
    minutes,
    verifyEvery: wholeNumber("--verify-every", values["verify-every"], 10),
  };
  const { chaosCommand } = await import("./chaos/chaos-command.ts");
  if (target === "topics") {
    const { runTopicsChaos } = await import("./chaos/topics/topics-run.ts");
    const { topicsFaults } = await import("./chaos/topics/topics-faults.ts");
    return chaosCommand(runTopicsChaos, { ...common, only: among(topicsFaults, values.only) });
  }
  const { runChaos } = await import("./chaos/chaos-run.ts");
  const { faults } = await import("./chaos/faults.ts");
  return chaosCommand(runChaos, { ...common, only: among(faults, values.only) });
}

function among<Name extends string>(faults: readonly { readonly name: Name }[], only: string | undefined) {
  return namesOf(
    "--only",
    only,
    faults.map(({ name }) => name),
  );
}
