import { create } from "@bufbuild/protobuf";
import { type WatchRequest, WatchRequestSchema } from "./gen/etcd/etcdserverpb/rpc_pb.ts";
import type { KeyRange } from "./key-range.ts";

/** Watches a range from a revision on; in fragments or in whole responses. */
export function createWatch({ start, end }: KeyRange, startRevision: bigint, fragment: boolean): WatchRequest {
  return create(WatchRequestSchema, {
    requestUnion: {
      case: "createRequest",
      value: { key: start, rangeEnd: end, startRevision, progressNotify: true, fragment },
    },
  });
}

/** Asks for a sign of life. */
export function requestProgress(): WatchRequest {
  return create(WatchRequestSchema, { requestUnion: { case: "progressRequest", value: {} } });
}
