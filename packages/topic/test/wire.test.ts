// The messages are those of the npm package that the unmodified client uses: same names, same numbers, same types.
import { type DescField, type DescFile, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { createRequire } from "node:module";
import { expect, test } from "vitest";
import { file_ydb_auth } from "../src/gen/ydb/auth_pb.ts";
import { file_ydb_auth_v1 } from "../src/gen/ydb/auth_v1_pb.ts";
import { file_ydb_discovery } from "../src/gen/ydb/discovery_pb.ts";
import { file_ydb_discovery_v1 } from "../src/gen/ydb/discovery_v1_pb.ts";
import { file_ydb_issue } from "../src/gen/ydb/issue_pb.ts";
import { file_ydb_operation } from "../src/gen/ydb/operation_pb.ts";
import { file_ydb_query } from "../src/gen/ydb/query_pb.ts";
import { file_ydb_query_v1 } from "../src/gen/ydb/query_v1_pb.ts";
import { file_ydb_scheme } from "../src/gen/ydb/scheme_pb.ts";
import { file_ydb_scheme_v1 } from "../src/gen/ydb/scheme_v1_pb.ts";
import { file_ydb_status } from "../src/gen/ydb/status_pb.ts";
import { file_ydb_table } from "../src/gen/ydb/table_pb.ts";
import { file_ydb_table_v1 } from "../src/gen/ydb/table_v1_pb.ts";
import { file_ydb_topic_admin } from "../src/gen/ydb/topic_admin_pb.ts";
import { file_ydb_topic } from "../src/gen/ydb/topic_pb.ts";
import { file_ydb_topic_v1 } from "../src/gen/ydb/topic_v1_pb.ts";
import { file_ydb_value } from "../src/gen/ydb/value_pb.ts";

interface StaticType {
  encode(message: object): { finish(): Uint8Array };
}

const server = createRequire(new URL("../../topic-server/package.json", import.meta.url));
const published: unknown = createRequire(server.resolve("ydb-sdk"))("ydb-sdk-proto");

const messageFiles: readonly DescFile[] = [
  file_ydb_auth,
  file_ydb_discovery,
  file_ydb_issue,
  file_ydb_operation,
  file_ydb_query,
  file_ydb_scheme,
  file_ydb_table,
  file_ydb_topic,
  file_ydb_topic_admin,
  file_ydb_value,
];

const lookUp = (path: string): unknown =>
  path.split(".").reduce<unknown>((at, name) => (at as Record<string, unknown> | undefined)?.[name], published);

const camelCase = (name: string) => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());

/** What the published encoder writes of a field, from its source: number and wire type. */
function publishedFields(type: StaticType): Map<string, string> {
  const fields = new Map<string, string>();
  let name = "";
  for (const line of type.encode.toString().split("\n")) {
    name = /message\.(\w+)/.exec(line)?.[1] ?? name;
    const [, number, wireType] = /id (\d+), wireType (\d)/.exec(line) ?? [];
    if (number !== undefined && !fields.has(name)) fields.set(name, `${number} ${wireType}`);
  }
  return fields;
}

const wireTypes: Partial<Record<ScalarType, number>> = {
  [ScalarType.DOUBLE]: 1,
  [ScalarType.FLOAT]: 5,
  [ScalarType.FIXED32]: 5,
  [ScalarType.FIXED64]: 1,
  [ScalarType.SFIXED32]: 5,
  [ScalarType.SFIXED64]: 1,
  [ScalarType.STRING]: 2,
  [ScalarType.BYTES]: 2,
};

function wireTypeOf(field: DescField): number {
  if (field.fieldKind === "message" || field.fieldKind === "map" || field.fieldKind === "list") return 2;
  return field.fieldKind === "enum" ? 0 : (wireTypes[field.scalar] ?? 0);
}

/** Newer than the published package. */
const newer = new Set([
  "Ydb.Topic.AlterAutoPartitioningSettings",
  "Ydb.Topic.AlterAutoPartitioningWriteSpeedStrategy",
  "Ydb.Topic.AutoPartitioningSettings",
  "Ydb.Topic.AutoPartitioningWriteSpeedStrategy",
  "Ydb.Topic.PartitionKeyRange",
  "Ydb.Topic.StreamReadMessage.EndPartitionSession",
]);

const all = (messages: readonly DescMessage[]): DescMessage[] =>
  messages.flatMap((message) => [message, ...all(message.nestedMessages)]);

test("has the fields of the published messages under their names, numbers and wire types", () => {
  let compared = 0;
  for (const message of messageFiles.flatMap((file) => all(file.messages))) {
    const type = lookUp(message.typeName) as StaticType | undefined;
    if (type === undefined) {
      expect(newer, message.typeName).toContain(message.typeName);
      continue;
    }
    const theirs = publishedFields(type);
    for (const field of message.fields) {
      const theirField = theirs.get(camelCase(field.name));
      if (theirField === undefined) continue;
      compared++;
      expect(theirField, `${message.typeName}.${field.name}`).toBe(`${field.number} ${wireTypeOf(field)}`);
      theirs.delete(camelCase(field.name));
    }
    // No number of ours is taken by another field of theirs.
    const taken = new Set([...theirs.values()].map((each) => each.split(" ")[0]));
    for (const field of message.fields) {
      expect(taken.has(String(field.number)), `${message.typeName}.${field.name}`).toBe(false);
    }
  }
  expect(compared).toBeGreaterThan(250);
});

test("has the published numbers of the statuses", () => {
  const theirs = lookUp("Ydb.StatusIds.StatusCode") as Record<string, number>;
  for (const { name, number } of file_ydb_status.messages[0]?.nestedEnums[0]?.values ?? []) {
    expect([name, theirs[name]]).toEqual([name, number]);
  }
});

test("has only methods that the published services have", () => {
  const files = [
    file_ydb_auth_v1,
    file_ydb_discovery_v1,
    file_ydb_query_v1,
    file_ydb_scheme_v1,
    file_ydb_table_v1,
    file_ydb_topic_v1,
  ];
  // In ydb_topic_v1.proto since 2024; what ydb-sdk brings along is older.
  const newer = new Set(["DescribePartition"]);
  for (const service of files.flatMap(({ services }) => services)) {
    const theirs = lookUp(service.typeName) as { prototype: object };
    for (const method of service.methods) {
      if (!newer.has(method.name)) expect(theirs.prototype, method.name).toHaveProperty(method.localName);
    }
  }
});
