import { create } from "@bufbuild/protobuf";
import { type Version, VersionSchema } from "../../src/gen/tidemark/admin/v1/admin_pb.ts";
import { bytesOf } from "../../src/page/text/bytes.ts";

/** A version of a key; null as value: its deletion. */
export function version(position: number, key: string, value: string | null = "v", stream = "s"): Version {
  return create(VersionSchema, {
    position: BigInt(position),
    stream,
    key: Uint8Array.from(bytesOf(key)),
    deleted: value === null,
    value: Uint8Array.from(bytesOf(value ?? "")),
    version: String(position),
    committedAtMs: BigInt(position * 1_000),
  });
}
