// What the model server says and hears, encoded for real.

import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { StatusCode, topicWire } from "@tidemark/topic/internal";

const { StreamReadMessage_FromClientSchema, StreamReadMessage_FromServerSchema } = topicWire;

type FromServer = MessageInitShape<typeof StreamReadMessage_FromServerSchema>;
export type ServerMessage = NonNullable<FromServer["serverMessage"]>;

const success = StatusCode.SUCCESS;

export function serverFrame(serverMessage: ServerMessage, status: StatusCode = success, issue?: string): Uint8Array {
  const issues = issue === undefined ? [] : [{ message: issue }];
  return toBinary(
    StreamReadMessage_FromServerSchema,
    create(StreamReadMessage_FromServerSchema, { status, issues, serverMessage }),
  );
}

/** Field 15 of `FromServer`, which does not exist yet. */
export const unknownFrame = (): Uint8Array =>
  new Uint8Array([...serverFrame({ case: undefined }), 0x7a, 0x02, 0x08, 0x01]);

export const clientMessage = (frame: Uint8Array) => fromBinary(StreamReadMessage_FromClientSchema, frame).clientMessage;

export const payload = (text: string): Uint8Array => new TextEncoder().encode(text);
