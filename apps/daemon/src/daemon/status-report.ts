import type { MessageInitShape } from "@bufbuild/protobuf";
import type { History, Source, StreamRecord, Watcher, WatcherStatus } from "@tidemark/store-watch";
import type { StreamSample } from "@tidemark/status";
import type { StatusResponseSchema, StreamStatusSchema } from "../gen/tidemark/admin/v1/admin_pb.ts";
import { storeStreamName } from "../config/defaults.ts";
import { redact } from "../redact.ts";
import { factsOf } from "./source-facts.ts";
import type { RecordedAudit } from "./upkeep/upkeep-types.ts";

export interface StatusReportOptions {
  readonly history: History;
  readonly watchers: readonly Watcher[];
  readonly version: string;
  readonly startedAtMs: number;
  readonly dataDir: string;
  readonly watchUrl: string;
  readonly topicsUrl: string;
  /** How many databases' migrations the daemon knows. @default 0 */
  readonly migrationDatabases?: number;
  /** The sites that run, with the stream that each writes without a watcher. @default none */
  readonly sites?: readonly { readonly stream: string }[];
  /** Of the embedded store; undefined: there is none, or it is not known yet. @default there is none */
  readonly storedBytes?: () => Promise<number | undefined>;
  /** What a watcher follows. @default nobody knows */
  readonly sourceOf?: (watcher: Watcher) => Source | undefined;
  /** The last audit of each stream. @default none */
  readonly audits?: () => readonly RecordedAudit[];
  /** How this command line is called here; empty: `tidemark`. */
  readonly command: string;
  readonly nowMs: () => number;
}

/** One stream: what the history holds of it, and how its watcher does if it is followed. */
interface Stream {
  /** A site that runs here writes it. */
  readonly isShared: boolean;
  readonly record: StreamRecord | undefined;
  readonly watcher: WatcherStatus | undefined;
}

async function readStreams({
  history,
  watchers,
  sites = [],
}: Pick<StatusReportOptions, "history" | "watchers" | "sites">): Promise<readonly Stream[]> {
  const shared = new Set(sites.map(({ stream }) => stream));
  const records = new Map((await history.streams()).map((record) => [record.name, record]));
  const followed = watchers.map((watcher) => watcher.status());
  const names = new Set(followed.map(({ name }) => name));
  return [
    ...followed.map((watcher) => ({ watcher, record: records.get(watcher.name), isShared: false })),
    // Followed once, for example before --etcd was given: still in the replica.
    ...[...records.values()]
      .filter(({ name }) => !names.has(name))
      .map((record) => ({ record, watcher: undefined, isShared: shared.has(record.name) })),
  ];
}

/** Everything the AdminService tells about the daemon. */
export async function readStatus(options: StatusReportOptions): Promise<MessageInitShape<typeof StatusResponseSchema>> {
  const [streams, storedBytes] = await Promise.all([readStreams(options), options.storedBytes?.()]);
  const audits = new Map((options.audits?.() ?? []).map((each) => [each.stream, each]));
  const sources = new Map(options.watchers.map((watcher) => [watcher.name, options.sourceOf?.(watcher)]));
  return {
    version: options.version,
    startedAtMs: BigInt(options.startedAtMs),
    position: await options.history.position(),
    streams: streams.map((stream) => ({
      ...toStreamStatus(stream),
      ...about(nameOf(stream), sources, audits),
      ...(stream.watcher?.name === storeStreamName &&
        storedBytes !== undefined && { storedBytes: BigInt(storedBytes) }),
    })),
    dataDir: options.dataDir,
    origin: options.history.origin,
    watchUrl: options.watchUrl,
    topicsUrl: options.topicsUrl,
    migrationDatabases: options.migrationDatabases ?? 0,
    sites: options.sites?.length ?? 0,
    command: options.command,
    nowMs: BigInt(options.nowMs()),
  };
}

/** What a message is made of, and no message. */
type StreamInit = MessageInitShape<typeof StreamStatusSchema> & { readonly $typeName?: never };

const nameOf = ({ watcher, record }: Stream): string => watcher?.name ?? record?.name ?? "";

function about(
  name: string,
  sources: ReadonlyMap<string, Source | undefined>,
  audits: ReadonlyMap<string, RecordedAudit>,
): Pick<StreamInit, "sourceFacts" | "lastAudit"> {
  const source = sources.get(name);
  const audit = audits.get(name);
  return {
    ...(source !== undefined && { sourceFacts: [...factsOf(source)] }),
    ...(audit !== undefined && {
      lastAudit: {
        verdict: audit.verdict,
        atMs: BigInt(Math.trunc(audit.atMs)),
        differences: BigInt(audit.missing + audit.extra + audit.changed),
        truncated: audit.isTruncated,
        reason: redact(audit.reason ?? ""),
      },
    }),
  };
}

function toStreamStatus({ record, watcher, isShared }: Stream): StreamInit {
  const lastCommitAtMs = watcher?.lastCommitAtMs ?? record?.lastCommitAtMs;
  const resume = watcher?.resume ?? record;
  return {
    name: watcher?.name ?? record?.name ?? "",
    kind: watcher?.kind ?? record?.kind ?? "",
    description: redact(watcher?.description ?? record?.description ?? ""),
    state: stateOf(watcher, isShared),
    problem: redact(problemOf(watcher) ?? ""),
    epoch: resume?.epoch ?? "",
    cursor: resume?.cursor ?? "",
    keys: BigInt(record?.keys ?? 0),
    versions: BigInt(record?.versions ?? 0),
    gaps: BigInt(record?.gaps ?? 0),
    quarantined: BigInt(record?.quarantined ?? 0),
    reconnects: BigInt(watcher?.reconnects ?? 0),
    drops: BigInt(watcher?.drops ?? 0),
    inflightBytes: BigInt((watcher?.inflightBytes ?? 0) + (watcher?.bufferedBytes ?? 0)),
    duplicates: BigInt(watcher?.duplicates ?? 0),
    changesPerSecond: watcher?.changesPerSecond ?? 0,
    ...(watcher?.lastFrameAtMs !== undefined && { lastFrameAtMs: BigInt(Math.trunc(watcher.lastFrameAtMs)) }),
    ...(lastCommitAtMs !== undefined && { lastCommitAtMs: BigInt(Math.trunc(lastCommitAtMs)) }),
    ...(watcher?.lag.p50Ms !== undefined && { lagP50Ms: watcher.lag.p50Ms }),
    ...(watcher?.lag.p99Ms !== undefined && { lagP99Ms: watcher.lag.p99Ms }),
  };
}

/** The states of the contract; a watcher that is over for good has stopped, with its problem beside it. */
function stateOf(watcher: WatcherStatus | undefined, isShared: boolean): string {
  // How its site does is told with the sites.
  if (isShared) return "live";
  return watcher === undefined || watcher.state === "failed" ? "stopped" : watcher.state;
}

/** What a person should know. Reconnecting is one: the reason says what fails and that it goes on trying. */
export function problemOf(watcher: WatcherStatus | undefined): string | undefined {
  if (watcher === undefined) return undefined;
  if (watcher.problem !== undefined) return watcher.problem;
  return watcher.state === "reconnecting" || watcher.state === "failed" ? watcher.reason : undefined;
}

/** The same for the metrics. */
export async function readSamples(
  options: Pick<StatusReportOptions, "history" | "watchers" | "sites">,
): Promise<readonly StreamSample[]> {
  return (await readStreams(options)).map(({ record, watcher, isShared }) => ({
    name: watcher?.name ?? record?.name ?? "",
    kind: watcher?.kind ?? record?.kind ?? "",
    state: stateOf(watcher, isShared),
    hasProblem: problemOf(watcher) !== undefined,
    keys: record?.keys ?? 0,
    versions: record?.versions ?? 0,
    gaps: record?.gaps ?? 0,
    quarantined: record?.quarantined ?? 0,
    reconnects: watcher?.reconnects ?? 0,
    drops: watcher?.drops ?? 0,
    duplicates: watcher?.duplicates ?? 0,
    inflightBytes: (watcher?.inflightBytes ?? 0) + (watcher?.bufferedBytes ?? 0),
    lastFrameAtMs: watcher?.lastFrameAtMs,
    lastCommitAtMs: watcher?.lastCommitAtMs ?? record?.lastCommitAtMs,
  }));
}
