import { parseArgs } from "node:util";
import { UsageError } from "./usage-error.ts";

export const conformanceUsage = `tidemark-harness conformance topics        what a topic service has to keep, with our clients
  --endpoint grpc://HOST:PORT/DATABASE     the service; topics named conformance-… are made and dropped
                                           TOPICS_TOKEN lets in
tidemark-harness conformance source FILE   what a source has to keep: FILE is a module of its author that exports "source"
tidemark-harness conformance sink FILE     … a sink
tidemark-harness conformance history FILE  … a history
`;

export async function runConformance([kind, ...args]: readonly string[]): Promise<number> {
  const say = (line: string) => void process.stdout.write(`${line}\n`);
  const { adapterKinds, conformAdapter, conformTopics } = await import("./conformance/conformance-command.ts");
  if (kind === "topics") {
    const { values } = parseArgs({ args: [...args], options: { endpoint: { type: "string" } } });
    if (values.endpoint === undefined)
      throw new UsageError("--endpoint must be given, such as grpc://127.0.0.1:2136/local");
    return conformTopics({ endpoint: values.endpoint, token: process.env["TOPICS_TOKEN"], say });
  }
  const adapter = adapterKinds.find((each) => each === kind);
  const [file] = args;
  if (adapter === undefined) {
    throw new UsageError(`conformance must name topics, ${adapterKinds.join(", ")}; got "${kind ?? ""}"`);
  }
  if (file === undefined) throw new UsageError(`conformance ${adapter} needs the file of a module`);
  return conformAdapter(adapter, file, { say });
}
