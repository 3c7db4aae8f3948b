import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type KeyRange as KeyRangeMessage,
  type KeyValue as KeyValueMessage,
  type WatchResponse,
  WatchResponseSchema,
} from "../gen/tidemark/watch/v1/watch_pb.ts";
import type { KeyRange } from "../key-range.ts";
import type { KeyValue, WatchEvent } from "../store-types.ts";

export function fromRangeMessage(range: KeyRangeMessage | undefined): KeyRange | undefined {
  return range && { start: range.start, end: range.end, prefix: range.prefix };
}

export function fromKeyValueMessage(message: KeyValueMessage): KeyValue {
  const { key, value, modRevision, createRevision, version } = message;
  return { key, value, modRevision, createRevision, version };
}

/** One event as one message of the stream. */
export function toWatchResponse(event: WatchEvent): WatchResponse {
  return create(WatchResponseSchema, { kind: toKind(event) });
}

function toKind(event: WatchEvent): NonNullable<MessageInitShape<typeof WatchResponseSchema>["kind"]> {
  switch (event.type) {
    case "snapshot-begin":
      return { case: "snapshotBegin", value: { marker: event.marker } };
    case "snapshot-page":
      return { case: "snapshotPage", value: { kvs: [...event.kvs] } };
    case "snapshot-end":
      return { case: "snapshotEnd", value: { marker: event.marker } };
    case "progress":
      return { case: "progress", value: { marker: event.marker } };
    case "transactions":
      return {
        case: "transactions",
        value: {
          transactions: event.transactions.map(({ revision, marker, committedAtMs, changes }) => ({
            revision,
            marker,
            committedAtMs: BigInt(committedAtMs),
            changes: changes.map(({ key, value }) => (value === undefined ? { key } : { key, value })),
          })),
        },
      };
  }
}
