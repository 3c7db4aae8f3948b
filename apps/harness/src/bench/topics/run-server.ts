import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { usageOf } from "../../process/process-usage.ts";
import type { TopicsDiskRole } from "../../roles/topics-disk-role.ts";
import type { TopicsNatsRole } from "../../roles/topics-nats-role.ts";
import type { ServerStorage, TopicsServerRole } from "../../roles/topics-server-role.ts";
import type { TopicsWriteRole, WriterName } from "../../roles/topics-write-role.ts";
import { startRole } from "../../role-process.ts";
import { type NatsProgram, startNats } from "./nats-server.ts";
import { profileArgs, runMs, type TopicsBenchOptions, warmUpMs } from "./options.ts";
import { MeasuredRole } from "./roles.ts";
import { rated, type WriteRun } from "./run-write.ts";
import { topicName } from "./topic-name.ts";

/** A folder that is gone afterwards: runs must not fill the disk of those behind them. */
export async function withFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "tidemark-bench-"));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export interface ServerSetting {
  readonly storage: ServerStorage;
  readonly writer: WriterName;
  readonly payloadBytes: number;
  readonly batch: number;
  readonly window: number | undefined;
}

/** Writes to our own server, and looks whether it has everything. */
export function runServer(setting: ServerSetting, options: TopicsBenchOptions): Promise<WriteRun> {
  const { storage, writer, payloadBytes, batch, window } = setting;
  return withFolder(async (folder) => {
    const nodeArgs = profileArgs(options);
    await using server = await MeasuredRole.start<TopicsServerRole>("topics-server", { nodeArgs });
    const topic = topicName({ payloadBytes, partitions: 1 });
    const { port } = await server.role.call("listen", { folder, storage, topic, partitions: 1 });
    await using client = await MeasuredRole.start<TopicsWriteRole>("topics-write");
    await client.role.call("open", { writer, port, topic, partitions: 1, window });
    const job = { mode: "plain", payloadBytes, batch, window: window ?? Number.POSITIVE_INFINITY } as const;
    const warmed = await client.role.call("write", { ...job, ms: warmUpMs(options) });
    const written = await client.role.call("write", { ...job, ms: runMs(options) });
    const { cpuMs, peakRssBytes } = client.cost();
    const { cpuMs: serverCpuMs } = server.cost();
    const stored = await server.role.call("messages");
    if (stored !== warmed.messages + written.messages) {
      throw new Error(`${writer} wrote ${warmed.messages + written.messages} messages, and the server has ${stored}`);
    }
    await client.role.call("close");
    await client.role.release();
    await server.role.call("close");
    await server.role.release();
    return { ...rated(written), allMessages: warmed.messages + written.messages, cpuMs, peakRssBytes, serverCpuMs };
  });
}

export interface NatsSetting {
  readonly payloadBytes: number;
  readonly window: number;
  readonly syncAlways: boolean;
}

/** Publishes to JetStream by its own client, and looks whether it has everything. */
export function runNats(program: NatsProgram, setting: NatsSetting, options: TopicsBenchOptions): Promise<WriteRun> {
  const { payloadBytes, window, syncAlways } = setting;
  return withFolder(async (folder) => {
    await using server = await startNats(program, { folder, syncAlways });
    await using client = await MeasuredRole.start<TopicsNatsRole>("topics-nats");
    await client.role.call("open", { port: server.port, partitions: 1 });
    const job = { mode: "promise", payloadBytes, batch: 1, window } as const;
    const warmed = await client.role.call("write", { ...job, ms: warmUpMs(options) });
    const written = await client.role.call("write", { ...job, ms: runMs(options) });
    const { cpuMs, peakRssBytes } = client.cost();
    const serverCpuMs = usageOf(server.pid).cpuMs ?? Number.NaN;
    const stored = await client.role.call("count");
    if (stored !== warmed.messages + written.messages) {
      throw new Error(`wrote ${warmed.messages + written.messages} messages to JetStream, and it has ${stored}`);
    }
    await client.role.call("close");
    return { ...rated(written), allMessages: warmed.messages + written.messages, cpuMs, peakRssBytes, serverCpuMs };
  });
}

export interface DiskSetting {
  readonly groupBytes: number;
  readonly preallocated: boolean;
}

/** Bytes a second that the disk appends and syncs, in the folder where the servers have theirs. */
export function runDisk(setting: DiskSetting, options: TopicsBenchOptions): Promise<number> {
  return withFolder(async (folder) => {
    await using disk = await startRole<TopicsDiskRole>("topics-disk");
    const { bytes, ms } = await disk.call("append", { ...setting, folder, ms: runMs(options) / 2, sync: true });
    return (bytes * 1000) / ms;
  });
}

/** Bytes a second that our log appends and syncs, without a socket. */
export function runLog(groupBytes: number, options: TopicsBenchOptions): Promise<number> {
  return withFolder(async (folder) => {
    await using disk = await startRole<TopicsServerRole>("topics-server");
    const { bytes, ms } = await disk.call("append", { folder, groupBytes, ms: runMs(options) / 2 });
    return (bytes * 1000) / ms;
  });
}
