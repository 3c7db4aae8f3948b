import { ProtoReader } from "./proto-reader.ts";
import { varintBytes, writeVarint } from "./proto-writer.ts";

/** What the wire says where all is well. */
export const success = 400_000;
const statusBytes = 1 + varintBytes(success);

/** A gRPC frame that acknowledges messages as written at the offsets from `firstOffset` on. */
export function encodeAckFrame(seqNos: Float64Array, count: number, firstOffset: number, partitionId: number): Buffer {
  const partitionBytes = partitionId === 0 ? 0 : 1 + varintBytes(partitionId);
  let ackBytes = 0;
  for (let index = 0; index < count; index++) {
    ackBytes += 6 + varintBytes(seqNos[index] as number) + varintBytes(firstOffset + index);
  }
  // Offset 0 is the default, which is not written: neither its tag nor its byte.
  const savedBytes = firstOffset === 0 && count > 0 ? 2 : 0;
  const responseBytes = partitionBytes + ackBytes - savedBytes;
  const bodyBytes = statusBytes + 1 + varintBytes(responseBytes) + responseBytes;
  const frame = Buffer.allocUnsafe(5 + bodyBytes);
  frame[0] = 0;
  frame.writeUInt32BE(bodyBytes, 1);
  frame[5] = 0x08; // status = 1
  let at = writeVarint(frame, 6, success);
  frame[at++] = 0x22; // write_response = 4
  at = writeVarint(frame, at, responseBytes);
  for (let index = 0; index < count; index++) {
    frame[at] = 0x0a; // acks = 1
    frame[at + 2] = 0x08; // seq_no = 1
    const startAt = at + 2;
    at = writeVarint(frame, at + 3, seqNos[index] as number);
    frame[at] = 0x12; // written = 2
    const writtenAt = at + 2;
    at = writtenAt;
    if (firstOffset + index !== 0) {
      frame[at] = 0x08;
      at = writeVarint(frame, at + 1, firstOffset + index);
    }
    frame[writtenAt - 1] = at - writtenAt;
    frame[startAt - 1] = at - startAt;
  }
  if (partitionId !== 0) {
    frame[at++] = 0x10; // partition_id = 2
    writeVarint(frame, at, partitionId);
  }
  return frame;
}

/** How many messages a `StreamWriteMessage.FromServer` acknowledges. Throws where the server says that something is wrong. */
export function acksIn(body: Uint8Array): number {
  const reader = new ProtoReader(body);
  let acks = 0;
  while (reader.hasMore) {
    const tag = reader.varint();
    if (tag === 0x08) {
      const status = reader.varint();
      if (status !== success) throw new Error(`the server answered with status ${status}`);
    } else if (tag === 0x22) {
      const response = reader.nested();
      while (response.hasMore) {
        const inner = response.varint();
        if (inner === 0x0a) acks++;
        response.skip(inner);
      }
    } else reader.skip(tag);
  }
  return acks;
}
