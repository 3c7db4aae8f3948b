import { count, type ReportGoal, type ReportSection } from "../report.ts";
import { ratioGoal } from "./goals.ts";
import { interleave, type Measured, runsOf } from "./interleave.ts";
import { sizeName, sizes, type TopicsBenchOptions } from "./options.ts";
import { atBestBuffers, type ReadCandidate, type ReadRun, readSection, type ReadSetting } from "./run-read.ts";
import { tidemark, ydbSdk } from "./write.ts";

const objects = "Tidemark, an object per message";
const daemon = "Tidemark, as `tidemark up` runs";
export const rawReader = "raw http2";
const buffers = [1 << 20, 4 << 20, 16 << 20] as const;

/** How fast messages come in, from one partition and from eight. */
export async function benchRead(options: TopicsBenchOptions): Promise<readonly ReportSection[]> {
  const sections: ReportSection[] = [];
  for (const partitions of [1, 8]) {
    for (const payloadBytes of sizes) sections.push(await benchShape(payloadBytes, partitions, options));
  }
  return sections;
}

async function benchShape(payloadBytes: number, partitions: number, options: TopicsBenchOptions) {
  options.say(`read: ${sizeName(payloadBytes)}, ${partitions} partitions`);
  const contenders = await atBestBuffers(readCandidates({ payloadBytes, partitions }), options);
  const measured = await interleave(contenders, options, ({ perSecond }) => `${count(perSecond)} messages/s`);
  return readSection(contenders, measured, {
    title: `Read: ${sizeName(payloadBytes)}, ${partitions === 1 ? "one partition" : `${partitions} partitions`}`,
    notes: [],
    goals: partitions === 1 ? goalsOf(measured, payloadBytes) : [],
    limit: rawReader,
    peer: ydbSdk,
  });
}

/** Everybody who reads, with the buffers to try. */
export function readCandidates(
  shape: Pick<ReadSetting, "payloadBytes" | "partitions" | "roundTripMs">,
): readonly ReadCandidate[] {
  const of = (
    name: string,
    setting: Pick<ReadSetting, "reader"> & Partial<ReadSetting>,
    tried: ReadCandidate["buffers"],
  ) => ({
    name,
    setting: { objects: false, bufferBytes: undefined, ...shape, ...setting },
    buffers: tried,
  });
  return [
    of(tidemark, { reader: "tidemark" }, [undefined]),
    of(objects, { reader: "tidemark", objects: true }, [undefined]),
    of(daemon, { reader: "tidemark", isDaemon: true }, [undefined]),
    of(ydbSdk, { reader: "ydb-sdk" }, buffers),
    of("connect-node", { reader: "connect" }, buffers),
    of(rawReader, { reader: "raw" }, buffers),
  ];
}

function goalsOf(measured: readonly Measured<ReadRun>[], payloadBytes: number): readonly ReportGoal[] {
  const rates = (name: string) => runsOf(measured, name).map(({ perSecond }) => perSecond);
  const against = { over: rates(tidemark), under: rates(ydbSdk) };
  if (payloadBytes === 100)
    return [ratioGoal({ name: "R1 reader against ydb-sdk, 100 B", ...against, gate: 4, goal: 7 })];
  if (payloadBytes === 1024) {
    const asDaemon = { over: rates(daemon), under: rates(ydbSdk) };
    return [
      ratioGoal({ name: "R2 reader against ydb-sdk, 1 KiB", ...against, gate: 1.7, goal: 3 }),
      ratioGoal({ name: "R2 as `tidemark up` runs against ydb-sdk, 1 KiB", ...asDaemon, gate: 1.7, goal: 3 }),
    ];
  }
  return [];
}
