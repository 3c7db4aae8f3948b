import { varintBytes, writeVarint } from "./proto-writer.ts";

/** When messages were created: one for all of a frame. */
export interface CreatedAt {
  readonly seconds: number;
  readonly nanos: number;
}

export function createdNow(): CreatedAt {
  const ms = Date.now();
  return { seconds: Math.floor(ms / 1000), nanos: (ms % 1000) * 1_000_000 };
}

/**
 * A whole gRPC frame with one `StreamWriteMessage.FromClient` of raw messages, in one exact allocation: the codec of the
 * client that knows nothing but the wire, and so the limit for those that know more.
 */
export function encodeWriteFrame(payloads: readonly Uint8Array[], firstSeqNo: number, created: CreatedAt): Buffer {
  const timeBytes = 1 + varintBytes(created.seconds) + (created.nanos === 0 ? 0 : 1 + varintBytes(created.nanos));
  let requestBytes = 2;
  for (let index = 0; index < payloads.length; index++) {
    const bytes = messageBytes(payloads[index] as Uint8Array, firstSeqNo + index, timeBytes);
    requestBytes += 1 + varintBytes(bytes) + bytes;
  }
  const bodyBytes = 1 + varintBytes(requestBytes) + requestBytes;
  const frame = Buffer.allocUnsafe(5 + bodyBytes);
  frame[0] = 0;
  frame.writeUInt32BE(bodyBytes, 1);
  frame[5] = 0x12; // write_request = 2
  let at = writeVarint(frame, 6, requestBytes);
  for (let index = 0; index < payloads.length; index++) {
    const payload = payloads[index] as Uint8Array;
    const seqNo = firstSeqNo + index;
    frame[at++] = 0x0a; // messages = 1
    at = writeVarint(frame, at, messageBytes(payload, seqNo, timeBytes));
    frame[at++] = 0x08; // seq_no = 1
    at = writeVarint(frame, at, seqNo);
    frame[at++] = 0x12; // created_at = 2
    at = writeVarint(frame, at, timeBytes);
    frame[at++] = 0x08;
    at = writeVarint(frame, at, created.seconds);
    if (created.nanos !== 0) {
      frame[at++] = 0x10;
      at = writeVarint(frame, at, created.nanos);
    }
    frame[at++] = 0x1a; // data = 3
    at = writeVarint(frame, at, payload.length);
    frame.set(payload, at);
    at += payload.length;
    frame[at++] = 0x20; // uncompressed_size = 4
    at = writeVarint(frame, at, payload.length);
  }
  frame[at++] = 0x10; // codec = 2
  frame[at++] = 1; // raw
  return frame;
}

function messageBytes(payload: Uint8Array, seqNo: number, timeBytes: number): number {
  const lengthBytes = varintBytes(payload.length);
  return 1 + varintBytes(seqNo) + 2 + timeBytes + 1 + lengthBytes + payload.length + 1 + lengthBytes;
}
