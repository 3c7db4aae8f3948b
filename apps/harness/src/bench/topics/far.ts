import { count, type ReportSection } from "../report.ts";
import { ratioGoal } from "./goals.ts";
import { interleave, runsOf } from "./interleave.ts";
import { sizeName, type TopicsBenchOptions } from "./options.ts";
import { readCandidates, rawReader } from "./read.ts";
import { atBestBuffers, readSection } from "./run-read.ts";
import { atBestWindows, runWrite, type WriteCandidate } from "./run-write.ts";
import { messagesOfFrame, rawBatches } from "./topic-name.ts";
import { raw, tidemark, writeSection, ydbSdk } from "./write.ts";
import { wideWindows } from "./windows.ts";

const roundTripMs = 10;
const payloadBytes = 1_024;

/** The same over a link of 10 ms, with what each client does by default where it has a default. */
export async function benchFar(options: TopicsBenchOptions): Promise<readonly ReportSection[]> {
  options.say(`far: a round trip of ${roundTripMs} ms`);
  const note = await linkNote(options);
  return [await farRead(options, note), await farWrite(options, note)];
}

/** What the link really costs: one message at a time, and nothing around it. */
async function linkNote(options: TopicsBenchOptions): Promise<string> {
  const base = {
    writer: "raw",
    mode: "one",
    payloadBytes: 100,
    partitions: 1,
    batch: 1,
    window: 1,
    messages: 100,
  } as const;
  const { p50Ms = Number.NaN } = await runWrite({ ...base, roundTripMs }, options);
  return `A relay that holds every byte for ${roundTripMs / 2} ms in each direction, without a limit of its bandwidth; one message and its acknowledgment took ${p50Ms.toFixed(1)} ms over it.`;
}

async function farRead(options: TopicsBenchOptions, note: string): Promise<ReportSection> {
  const contenders = await atBestBuffers(readCandidates({ payloadBytes, partitions: 1, roundTripMs }), options);
  const measured = await interleave(contenders, options, ({ perSecond }) => `${count(perSecond)} messages/s read`);
  const rates = (name: string) => runsOf(measured, name).map(({ perSecond }) => perSecond);
  return readSection(contenders, measured, {
    title: `Read over ${roundTripMs} ms: ${sizeName(payloadBytes)}, one partition`,
    notes: [note],
    goals: [
      ratioGoal({
        name: `R3 reader over ${roundTripMs} ms against ydb-sdk, defaults`,
        over: rates(tidemark),
        under: rates(ydbSdk),
        gate: 30,
        goal: 80,
      }),
    ],
    limit: rawReader,
    peer: ydbSdk,
  });
}

async function farWrite(options: TopicsBenchOptions, note: string): Promise<ReportSection> {
  const base = {
    writer: "tidemark",
    mode: "plain",
    payloadBytes,
    partitions: 1,
    batch: messagesOfFrame(payloadBytes),
    window: undefined,
    roundTripMs,
  } as const;
  const candidates: readonly WriteCandidate[] = [
    { name: tidemark, setting: base, windows: [undefined] },
    { name: ydbSdk, setting: { ...base, writer: "ydb-sdk" }, windows: [4_000, 1_000, 16_000] },
    { name: "connect-node, 1000 a request", setting: { ...base, writer: "connect", batch: 1000 }, windows: [20_000] },
    {
      name: raw,
      setting: { ...base, writer: "raw" },
      windows: wideWindows(payloadBytes),
      batches: rawBatches(payloadBytes),
    },
  ];
  const contenders = await atBestWindows(candidates, options);
  const measured = await interleave(contenders, options, ({ perSecond }) => `${count(perSecond)} messages/s written`);
  return writeSection(measured, new Map(contenders.map(({ name, window }) => [name, window])), {
    title: `Write over ${roundTripMs} ms: ${sizeName(payloadBytes)}, one partition`,
    notes: [note],
    goals: [],
  });
}
