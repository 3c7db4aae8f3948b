// What protoc-gen-es would make of
//
//     service Greeter { rpc Greet(stream google.protobuf.StringValue) returns (stream google.protobuf.StringValue); }

import { create, createFileRegistry } from "@bufbuild/protobuf";
import type { GenService } from "@bufbuild/protobuf/codegenv2";
import { FileDescriptorSetSchema, StringValueSchema } from "@bufbuild/protobuf/wkt";

const type = ".google.protobuf.StringValue";
const greet = { name: "Greet", inputType: type, outputType: type, clientStreaming: true, serverStreaming: true };

export const Greeter = createFileRegistry(
  create(FileDescriptorSetSchema, {
    file: [
      StringValueSchema.file.proto,
      {
        name: "greeter.proto",
        package: "demo",
        syntax: "proto3",
        dependency: [StringValueSchema.file.proto.name],
        service: [{ name: "Greeter", method: [greet] }],
      },
    ],
  }),
).getService("demo.Greeter") as unknown as GenService<{
  greet: { methodKind: "bidi_streaming"; input: typeof StringValueSchema; output: typeof StringValueSchema };
}>;
