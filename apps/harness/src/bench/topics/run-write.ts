import type { SinkCounts } from "../../roles/topics/sink-session.ts";
import type { WriteMode, WriteResult } from "../../roles/topics/write-client.ts";
import type { TopicsSinkRole } from "../../roles/topics-sink-role.ts";
import type { TopicsWriteRole, WriterName } from "../../roles/topics-write-role.ts";
import { percentile } from "../stats.ts";
import type { Contender } from "./interleave.ts";
import { profileArgs, runMs, type TopicsBenchOptions, warmUpMs } from "./options.ts";
import { linkTo, MeasuredRole } from "./roles.ts";
import { topicName } from "./topic-name.ts";

/** One way of writing. */
export interface WriteSetting {
  readonly writer: WriterName;
  readonly mode: WriteMode;
  readonly payloadBytes: number;
  readonly partitions: number;
  /** Messages of one request, where that is left to the user. */
  readonly batch: number;
  /** Messages under way at a time; undefined: the client's own default. */
  readonly window: number | undefined;
  /** For `all` and `one`. */
  readonly messages?: number;
  /** Of the link; undefined: loopback. */
  readonly roundTripMs?: number;
  /** Who serves: by default the one that only counts. */
  readonly server?: "topics-sink" | "topics-stock-server";
}

/** What one run of one contender was. */
export interface WriteRun {
  readonly messages: number;
  readonly ms: number;
  readonly perSecond: number;
  /** With those of the warm-up, which the processor's time includes. */
  readonly allMessages: number;
  readonly cpuMs: number;
  readonly serverCpuMs: number;
  readonly peakRssBytes: number;
  /** For `one`. */
  readonly p50Ms?: number;
  readonly p99Ms?: number;
}

/** A client in a process of its own, against a server in another one, and a look whether everything has arrived. */
export async function runWrite(setting: WriteSetting, options: TopicsBenchOptions): Promise<WriteRun> {
  const { writer, mode, payloadBytes, partitions, batch, window, roundTripMs } = setting;
  await using server = await MeasuredRole.start<TopicsSinkRole>(setting.server ?? "topics-sink");
  const { port } = await server.role.call("listen");
  await using link = await linkTo(port, roundTripMs);
  const nodeArgs = writer === "tidemark" ? profileArgs(options) : [];
  await using client = await MeasuredRole.start<TopicsWriteRole>("topics-write", { nodeArgs });
  const topic = topicName({ payloadBytes, partitions });
  await client.role.call("open", { writer, port: link.port, topic, partitions, window });
  const job = { payloadBytes, batch, window: window ?? Number.POSITIVE_INFINITY };
  // A client without a bound of its own would take in more for as long as it is warmed up, and never be done with it.
  const isUnbounded = mode === "all" && writer !== "tidemark";
  const warmed =
    mode === "one" || isUnbounded
      ? await client.role.call("write", { ...job, mode, messages: 1_000 })
      : await client.role.call("write", { ...job, mode: mode === "all" ? "plain" : mode, ms: warmUpMs(options) });
  const written = await client.role.call("write", {
    ...job,
    mode,
    ...(setting.messages === undefined ? { ms: runMs(options) } : { messages: setting.messages }),
  });
  const counts = await server.role.call("counts");
  const { cpuMs, peakRssBytes } = client.cost();
  const { cpuMs: serverCpuMs } = server.cost();
  checkArrived(`${writer} (${mode})`, counts, warmed.messages + written.messages, payloadBytes);
  await client.role.call("close");
  // A profile is written by a process that ends by itself.
  await client.role.release();
  return { ...rated(written), allMessages: warmed.messages + written.messages, cpuMs, peakRssBytes, serverCpuMs };
}

export function rated({ messages, ms, latenciesMs }: WriteResult) {
  return {
    messages,
    ms,
    perSecond: (messages * 1000) / ms,
    ...(latenciesMs !== undefined && { p50Ms: percentile(latenciesMs, 50), p99Ms: percentile(latenciesMs, 99) }),
  };
}

/** Numbers of a client that loses something, or sends it twice, are worth nothing. */
function checkArrived(who: string, counts: SinkCounts, messages: number, payloadBytes: number): void {
  const isRight =
    counts.messages === messages && counts.payloadBytes === messages * payloadBytes && counts.outOfOrder === 0;
  if (isRight) return;
  throw new Error(
    `${who} wrote ${messages} messages of ${payloadBytes} B, and the server got ${JSON.stringify(counts)}`,
  );
}

/** A client with the windows that are worth trying. */
export interface WriteCandidate {
  readonly name: string;
  readonly setting: WriteSetting;
  /** More of them means: each once, for a moment, and the fastest is what it runs with. */
  readonly windows: readonly (number | undefined)[];
  /** Messages of a request, for who has a choice there as well. @default that of `setting` */
  readonly batches?: readonly number[];
}

/** Each client with its own best window, and its best request. */
export async function atBestWindows(
  candidates: readonly WriteCandidate[],
  options: TopicsBenchOptions,
): Promise<readonly (Contender<WriteRun> & { readonly window: number | undefined })[]> {
  const contenders = [];
  for (const candidate of candidates) {
    const setting = await bestSetting(candidate, options);
    contenders.push({ name: candidate.name, window: setting.window, run: () => runWrite(setting, options) });
  }
  return contenders;
}

async function bestSetting(
  { setting, windows, batches = [setting.batch] }: WriteCandidate,
  options: TopicsBenchOptions,
): Promise<WriteSetting> {
  const settings = batches.flatMap((batch) => windows.map((window): WriteSetting => ({ ...setting, batch, window })));
  const [first = setting] = settings;
  if (settings.length < 2 || options.quick) return first;
  let best = { setting: first, perSecond: 0 };
  for (const each of settings) {
    const { perSecond } = await runWrite(each, options);
    if (perSecond > best.perSecond) best = { setting: each, perSecond };
  }
  return best.setting;
}
