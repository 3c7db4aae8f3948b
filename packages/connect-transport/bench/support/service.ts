// A service of one bidirectional method, put together without a code generator.

import { create, createFileRegistry, type Message } from "@bufbuild/protobuf";
import type { GenMessage, GenService } from "@bufbuild/protobuf/codegenv2";
import { FieldDescriptorProto_Label, FieldDescriptorProto_Type, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

export type Batch = Message<"bench.Batch"> & { items: Uint8Array[] };
type Service = GenService<{
  move: { methodKind: "bidi_streaming"; input: GenMessage<Batch>; output: GenMessage<Batch> };
}>;

const registry = createFileRegistry(
  create(FileDescriptorSetSchema, {
    file: [
      {
        name: "bench.proto",
        package: "bench",
        syntax: "proto3",
        messageType: [
          {
            name: "Batch",
            field: [
              {
                name: "items",
                number: 1,
                jsonName: "items",
                type: FieldDescriptorProto_Type.BYTES,
                label: FieldDescriptorProto_Label.REPEATED,
              },
            ],
          },
        ],
        service: [
          {
            name: "Bench",
            method: [
              {
                name: "Move",
                inputType: ".bench.Batch",
                outputType: ".bench.Batch",
                clientStreaming: true,
                serverStreaming: true,
              },
            ],
          },
        ],
      },
    ],
  }),
);

export const BatchSchema = registry.getMessage("bench.Batch") as unknown as GenMessage<Batch>;
export const Bench = registry.getService("bench.Bench") as unknown as Service;
export const path = "/bench.Bench/Move";

/** What a client's first message asks for. */
export type Mode = "up" | "down" | "echo";

/** Bytes of an item, items of a message. */
export interface Shape {
  readonly bytes: number;
  readonly items: number;
}

export interface Order extends Shape {
  readonly mode: Mode;
  readonly milliseconds: number;
}

export const orderOf = (batch: Batch): Order => JSON.parse(Buffer.from(batch.items[0] as Uint8Array).toString());
export const orderMessage = (order: Order): Batch =>
  create(BatchSchema, { items: [Buffer.from(JSON.stringify(order))] });
export const messageOf = ({ bytes, items }: Shape): Batch =>
  create(BatchSchema, { items: Array.from({ length: items }, () => new Uint8Array(bytes).fill(7)) });
export const countMessage = (count: number): Batch => create(BatchSchema, { items: [Buffer.from(String(count))] });
