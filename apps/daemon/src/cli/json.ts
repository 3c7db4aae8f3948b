import type {
  Difference,
  Gap,
  LastAudit,
  Quarantined,
  StatusResponse,
  Version,
} from "../gen/tidemark/admin/v1/admin_pb.ts";
import { textOf } from "./format/bytes.ts";

// What --json prints. Exact: bytes are base64 (with `text` beside it where they are UTF-8), 64-bit integers are strings,
// times are ISO 8601 in UTC with milliseconds.

export interface JsonBytes {
  readonly text?: string;
  readonly base64: string;
}

export function jsonBytes(bytes: Uint8Array): JsonBytes {
  const text = textOf(bytes);
  const base64 = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
  return text === undefined ? { base64 } : { text, base64 };
}

const time = (ms: bigint) => new Date(Number(ms)).toISOString();
const optionalTime = (ms: bigint | undefined) => (ms === undefined ? null : time(ms));
const orNull = (text: string) => (text === "" ? null : text);

export function jsonVersion(version: Version) {
  return {
    stream: version.stream,
    key: jsonBytes(version.key),
    deleted: version.deleted,
    value: version.deleted ? null : jsonBytes(version.value),
    position: version.position,
    version: version.version,
    epoch: version.epoch,
    parents: version.parents,
    level: version.level,
    via: version.via,
    attributes: orNull(version.attributes),
    batch: version.batch,
    cursor: version.cursor,
    committedAt: time(version.committedAtMs),
    sourceTime: optionalTime(version.sourceTimeMs),
  };
}

export function jsonDifference(difference: Difference) {
  return {
    stream: difference.stream,
    key: jsonBytes(difference.key),
    change: difference.change,
    before: difference.before === undefined ? null : jsonVersion(difference.before),
    after: difference.after === undefined ? null : jsonVersion(difference.after),
  };
}

export function jsonGap(gap: Gap) {
  return {
    id: gap.id,
    stream: gap.stream,
    epoch: orNull(gap.epoch),
    reason: gap.reason,
    detail: gap.detail,
    from: orNull(gap.from),
    to: orNull(gap.to),
    position: gap.position,
    at: time(gap.atMs),
  };
}

export function jsonQuarantined(item: Quarantined) {
  return {
    id: item.id,
    stream: item.stream,
    key: jsonBytes(item.key),
    deleted: item.deleted,
    value: item.deleted ? null : jsonBytes(item.value),
    version: orNull(item.version),
    epoch: item.epoch,
    cursor: item.cursor,
    error: item.error,
    at: time(item.atMs),
    state: item.state,
    resolution: orNull(item.resolution),
  };
}

export function jsonStatus(status: StatusResponse) {
  return {
    version: status.version,
    startedAt: time(status.startedAtMs),
    position: status.position,
    dataDir: status.dataDir,
    origin: status.origin,
    watch: orNull(status.watchUrl),
    topics: orNull(status.topicsUrl),
    streams: status.streams.map((stream) => ({
      name: stream.name,
      kind: stream.kind,
      description: stream.description,
      state: stream.state,
      problem: orNull(stream.problem),
      epoch: orNull(stream.epoch),
      cursor: orNull(stream.cursor),
      keys: stream.keys,
      versions: stream.versions,
      storedBytes: stream.storedBytes ?? null,
      gaps: stream.gaps,
      quarantined: stream.quarantined,
      duplicates: stream.duplicates,
      reconnects: stream.reconnects,
      drops: stream.drops,
      inflightBytes: stream.inflightBytes,
      lastFrameAt: optionalTime(stream.lastFrameAtMs),
      lastCommitAt: optionalTime(stream.lastCommitAtMs),
      lagP50Ms: stream.lagP50Ms ?? null,
      lagP99Ms: stream.lagP99Ms ?? null,
      changesPerSecond: stream.changesPerSecond,
      source: Object.fromEntries(stream.sourceFacts.map(({ name, value }) => [name, value.value ?? null])),
      lastAudit: stream.lastAudit === undefined ? null : jsonLastAudit(stream.lastAudit),
    })),
  };
}

function jsonLastAudit({ verdict, atMs, differences, truncated, reason }: LastAudit) {
  return { verdict, at: time(atMs), differences, truncated, reason: orNull(reason) };
}

/** One line of JSON; bigints become strings. */
export function toJsonLine(value: unknown): string {
  return `${JSON.stringify(value, (_, item: unknown) => (typeof item === "bigint" ? item.toString() : item))}\n`;
}
