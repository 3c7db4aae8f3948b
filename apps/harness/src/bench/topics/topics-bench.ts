import { conditionsOf } from "../conditions.ts";
import type { Report, ReportSection } from "../report.ts";
import { benchFar } from "./far.ts";
import { benchLatency } from "./latency.ts";
import { benchMemory } from "./memory.ts";
import type { TopicsBenchOptions, TopicsBenchPart } from "./options.ts";
import { benchCodec, benchFrames } from "./package-parts.ts";
import { benchRead } from "./read.ts";
import { benchServer } from "./server.ts";
import { benchWrite } from "./write.ts";

const parts: Readonly<Record<TopicsBenchPart, (options: TopicsBenchOptions) => Promise<readonly ReportSection[]>>> = {
  write: benchWrite,
  latency: benchLatency,
  read: benchRead,
  far: benchFar,
  memory: benchMemory,
  server: benchServer,
  frames: benchFrames,
  codec: benchCodec,
};

/** Topics: our clients and our server against others', and against what the wire and the disk allow. */
export async function benchTopics(options: TopicsBenchOptions): Promise<Report> {
  const conditions = await conditionsOf({
    "servers for clients":
      "one that counts and keeps nothing, bare node:http2 with windows of 32 MiB, the same for all",
    processes: "each client in its own, each server in its own, new for every run, on loopback",
    "ydb-sdk": "one message a call: it settles a call for each acknowledgment, so several in one call settle too early",
    "left out":
      "ydb-js-sdk's topic package, which npm does not have; its rows W1 and W4, and in W3, W6 and M1 ydb-sdk stands for it with bounds of its own",
    repetitions: `${options.reps}, interleaved; of raw, of ydb-sdk and every goal: medians of the ratios within a repetition${options.quick ? "; quick sizes, not for comparison" : ""}`,
  });
  const sections: ReportSection[] = [];
  for (const part of options.parts) sections.push(...(await parts[part](options)));
  return { name: "topics", conditions, sections };
}
