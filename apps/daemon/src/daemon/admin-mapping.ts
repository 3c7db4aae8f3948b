import type { MessageInitShape } from "@bufbuild/protobuf";
import type { AsOf, DiffRecord, GapRecord, KeyRange, QuarantineRecord, VersionRecord } from "@tidemark/store-watch";
import {
  type AsOf as AsOfMessage,
  type DifferenceSchema,
  type GapSchema,
  type KeyRange as KeyRangeMessage,
  type QuarantinedSchema,
  type VersionSchema,
} from "../gen/tidemark/admin/v1/admin_pb.ts";

export function toVersion(record: VersionRecord): MessageInitShape<typeof VersionSchema> {
  return {
    position: record.position,
    stream: record.stream,
    key: bytes(record.key),
    deleted: record.kind === "delete",
    value: bytes(record.value),
    version: record.version,
    epoch: record.epoch,
    parents: [...record.parents],
    level: record.level,
    via: record.via,
    attributes: record.attributes ?? "",
    batch: record.batch,
    cursor: record.cursor,
    committedAtMs: BigInt(record.committedAtMs),
    ...(record.sourceTimeMs !== undefined && { sourceTimeMs: BigInt(Math.trunc(record.sourceTimeMs)) }),
  };
}

export function toDifference(record: DiffRecord): MessageInitShape<typeof DifferenceSchema> {
  return {
    stream: record.stream,
    key: bytes(record.key),
    change: record.change,
    ...(record.before !== undefined && { before: toVersion(record.before) }),
    ...(record.after !== undefined && { after: toVersion(record.after) }),
  };
}

export function toGap(record: GapRecord): MessageInitShape<typeof GapSchema> {
  return {
    ...record,
    epoch: record.epoch ?? "",
    from: record.from ?? "",
    to: record.to ?? "",
    atMs: BigInt(record.atMs),
  };
}

export function toQuarantined(record: QuarantineRecord): MessageInitShape<typeof QuarantinedSchema> {
  return {
    id: record.id,
    stream: record.stream,
    key: bytes(record.key),
    deleted: record.kind === "delete",
    value: bytes(record.value),
    version: record.version ?? "",
    epoch: record.epoch,
    cursor: record.cursor,
    error: record.error,
    atMs: BigInt(record.atMs),
    state: record.state,
    resolution: record.resolution ?? "",
  };
}

export function fromAsOf(message: AsOfMessage | undefined): AsOf {
  switch (message?.at.case) {
    case "timeMs":
      return { timeMs: Number(message.at.value) };
    case "position":
      return { position: message.at.value };
    case "cursor":
      return { cursor: message.at.value };
    default:
      return {};
  }
}

export function fromKeyRange(message: KeyRangeMessage | undefined, stream: string | undefined): KeyRange {
  return {
    ...(stream !== undefined && { stream }),
    ...(message !== undefined && message.prefix.length > 0 && { prefix: message.prefix }),
    ...(message !== undefined && message.start.length > 0 && { start: message.start }),
    ...(message !== undefined && message.end.length > 0 && { end: message.end }),
  };
}

const none = new Uint8Array();

// Messages hold plain arrays over a buffer of their own kind; what SQLite returned is one already, only its type is wider.
function bytes(value: Uint8Array | undefined): Uint8Array<ArrayBuffer> {
  return (value as Uint8Array<ArrayBuffer> | undefined) ?? none;
}
