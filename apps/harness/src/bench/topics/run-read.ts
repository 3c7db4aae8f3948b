import type { TopicsReadRole, ReaderName } from "../../roles/topics-read-role.ts";
import type { TopicsSinkRole } from "../../roles/topics-sink-role.ts";
import { asDaemon } from "../etcd/bench-options.ts";
import { count, mebibytes, type ReportGoal, type ReportSection } from "../report.ts";
import { median } from "../stats.ts";
import { type Contender, type Measured, runsOf } from "./interleave.ts";
import { profileArgs, runMs, type TopicsBenchOptions, warmUpMs } from "./options.ts";
import { linkTo, MeasuredRole } from "./roles.ts";
import { topicName } from "./topic-name.ts";

/** One way of reading. */
export interface ReadSetting {
  readonly reader: ReaderName;
  /** Whether every message is wanted as an object. */
  readonly objects: boolean;
  readonly payloadBytes: number;
  readonly partitions: number;
  /** What the server may send ahead; undefined: the client's own default. */
  readonly bufferBytes: number | undefined;
  /** Of the link; undefined: loopback. */
  readonly roundTripMs?: number;
  /** Whether the client's process keeps its young generation small, as `tidemark up` does. */
  readonly isDaemon?: boolean;
}

export interface ReadRun {
  readonly messages: number;
  readonly ms: number;
  readonly perSecond: number;
  /** With those of the warm-up, which the processor's time includes. */
  readonly allMessages: number;
  readonly cpuMs: number;
  readonly serverCpuMs: number;
  readonly peakRssBytes: number;
}

/** A client in a process of its own, reading what a server in another one sends without end. */
async function runRead(setting: ReadSetting, options: TopicsBenchOptions): Promise<ReadRun> {
  const { reader, objects, payloadBytes, partitions, bufferBytes, roundTripMs, isDaemon } = setting;
  await using server = await MeasuredRole.start<TopicsSinkRole>("topics-sink");
  const { port } = await server.role.call("listen");
  await using link = await linkTo(port, roundTripMs);
  const nodeArgs = [...(isDaemon === true ? asDaemon : []), ...(reader === "tidemark" ? profileArgs(options) : [])];
  await using client = await MeasuredRole.start<TopicsReadRole>("topics-read", { nodeArgs });
  const topic = topicName({ payloadBytes, partitions });
  await client.role.call("open", { reader, port: link.port, topic, partitions, bufferBytes });
  const warmed = await client.role.call("read", { objects, ms: warmUpMs(options) });
  const { messages, payloadBytes: bytes, ms } = await client.role.call("read", { objects, ms: runMs(options) });
  const { cpuMs, peakRssBytes } = client.cost();
  const { cpuMs: serverCpuMs } = server.cost();
  if (bytes !== messages * payloadBytes) {
    throw new Error(`${reader} read ${messages} messages of ${payloadBytes} B, and got ${bytes} B`);
  }
  await client.role.call("close");
  // A profile is written by a process that ends by itself.
  await client.role.release();
  return {
    messages,
    ms,
    perSecond: (messages * 1000) / ms,
    allMessages: warmed.messages + messages,
    cpuMs,
    peakRssBytes,
    serverCpuMs,
  };
}

/** A client with the buffers that are worth trying. */
export interface ReadCandidate {
  readonly name: string;
  readonly setting: ReadSetting;
  readonly buffers: readonly (number | undefined)[];
}

export type ReadContender = Contender<ReadRun> & { readonly bufferBytes: number | undefined };

/** Each client with its own best buffer. */
export async function atBestBuffers(
  candidates: readonly ReadCandidate[],
  options: TopicsBenchOptions,
): Promise<readonly ReadContender[]> {
  const contenders: ReadContender[] = [];
  for (const { name, setting, buffers } of candidates) {
    let best = { bufferBytes: buffers[0], perSecond: 0 };
    if (buffers.length > 1 && !options.quick) {
      for (const bufferBytes of buffers) {
        const { perSecond } = await runRead({ ...setting, bufferBytes }, options);
        if (perSecond > best.perSecond) best = { bufferBytes, perSecond };
      }
    }
    const { bufferBytes } = best;
    contenders.push({ name, bufferBytes, run: () => runRead({ ...setting, bufferBytes }, options) });
  }
  return contenders;
}

export interface ReadSectionOptions {
  readonly title: string;
  readonly notes: readonly string[];
  readonly goals: readonly ReportGoal[];
  /** The names of the limit and of the peer. */
  readonly limit: string;
  readonly peer: string;
}

/** The table of some readers. */
export function readSection(
  contenders: readonly ReadContender[],
  measured: readonly Measured<ReadRun>[],
  { title, notes, goals, limit, peer }: ReadSectionOptions,
): ReportSection {
  const buffers = new Map(contenders.map(({ name, bufferBytes }) => [name, bufferBytes]));
  const against = (runs: readonly ReadRun[], name: string) => {
    const under = runsOf(measured, name);
    return median(
      runs.slice(0, under.length).map(({ perSecond }, rep) => perSecond / (under[rep] as ReadRun).perSecond),
    );
  };
  const perMessage = (runs: readonly ReadRun[], pick: (run: ReadRun) => number) =>
    `${median(runs.map((run) => (pick(run) * 1000) / run.allMessages)).toFixed(2)} µs`;
  return {
    title,
    notes,
    columns: ["messages/s", "of raw", "of ydb-sdk", "buffer", "client CPU", "server CPU", "peak RSS"],
    rows: measured.map(({ name, runs }) => {
      const buffer = buffers.get(name);
      return {
        name,
        cells: [
          count(median(runs.map(({ perSecond }) => perSecond))),
          `${(against(runs, limit) * 100).toFixed(0)} %`,
          `${against(runs, peer).toFixed(1)} ×`,
          buffer === undefined ? "default" : mebibytes(buffer),
          perMessage(runs, ({ cpuMs }) => cpuMs),
          perMessage(runs, ({ serverCpuMs }) => serverCpuMs),
          mebibytes(median(runs.map(({ peakRssBytes }) => peakRssBytes))),
        ],
      };
    }),
    goals,
    raw: measured.map(({ name, runs }) => ({ name, bufferBytes: buffers.get(name), runs })),
  };
}
