import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createFileRegistry,
  type DescField,
  type DescFile,
  type DescMessage,
  type FileRegistry,
  fromBinary,
  ScalarType,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { file_gnmi_gnmi_ext } from "../src/gen/gnmi/gnmi_ext_pb.ts";
import { file_gnmi_gnmi } from "../src/gen/gnmi/gnmi_pb.ts";

/** The public files, as buf reads them. */
function publicRegistry(): FileRegistry {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-gnmi-"));
  try {
    const image = join(folder, "image.binpb");
    execFileSync("buf", ["build", "test/public", "--as-file-descriptor-set", "-o", image], { stdio: "inherit" });
    return createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(image)));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Everything about a field that is on the wire, or in the JSON of protobuf. */
function shapeOf(field: DescField): Record<string, unknown> {
  const type = (part: DescField) =>
    part.message?.typeName ?? part.enum?.typeName ?? (part.scalar === undefined ? undefined : ScalarType[part.scalar]);
  return {
    number: field.number,
    kind: field.fieldKind,
    type: type(field),
    of: field.fieldKind === "list" ? field.listKind : field.fieldKind === "map" ? [field.mapKey, field.mapKind] : "",
    oneof: field.oneof?.name,
    jsonName: field.jsonName,
    isPacked: field.fieldKind === "list" && field.packed,
  };
}

const shapes = (message: DescMessage) =>
  Object.fromEntries(message.fields.map((field) => [field.name, shapeOf(field)]));

function* messagesOf(messages: readonly DescMessage[]): IterableIterator<DescMessage> {
  for (const message of messages) {
    yield message;
    yield* messagesOf(message.nestedMessages);
  }
}

test.each([
  ["gnmi", file_gnmi_gnmi],
  ["gnmi_ext", file_gnmi_gnmi_ext],
])("every message, enum and call of our %s.proto is the public one's, number by number", (_, file: DescFile) => {
  const known = publicRegistry();
  for (const message of messagesOf(file.messages)) {
    const theirs = known.getMessage(message.typeName);
    expect(theirs, message.typeName).toBeDefined();
    expect(shapes(theirs as DescMessage), message.typeName).toMatchObject(shapes(message));
  }
  for (const each of [...file.enums, ...[...messagesOf(file.messages)].flatMap(({ nestedEnums }) => nestedEnums)]) {
    const numbers = (values: readonly { readonly name: string; readonly number: number }[] = []) =>
      Object.fromEntries(values.map(({ name, number }) => [name, number]));
    expect(numbers(known.getEnum(each.typeName)?.values), each.typeName).toEqual(numbers(each.values));
  }
  for (const service of file.services) {
    const calls = (methods: typeof service.methods = []) =>
      methods.map(({ name, methodKind, input, output }) => [name, methodKind, input.typeName, output.typeName]);
    expect(calls(service.methods)).toEqual(calls(known.getService(service.typeName)?.methods));
  }
});

test("a value of every kind that there is can be read", () => {
  const known = publicRegistry().getMessage("gnmi.TypedValue");
  const ours = file_gnmi_gnmi.messages.find(({ name }) => name === "TypedValue");
  expect(shapes(ours as DescMessage)).toEqual(shapes(known as DescMessage));
});
