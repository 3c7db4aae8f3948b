import { ProtoReader } from "./proto-reader.ts";
import { success } from "./write-response.ts";

/** What one `StreamReadMessage.FromServer` tells. */
export interface FromServer {
  readonly kind: "messages" | "start" | "other";
  /** Its messages: each by its data, a view of the received bytes. */
  readonly data: readonly Uint8Array[];
  /** What it costs of the credit. */
  readonly bytesSize: number;
  /** The partition session that it starts. */
  readonly partitionSessionId: number;
}

/** Looks at every message of an answer and takes a view of its data. */
export function decodeFromServer(body: Uint8Array): FromServer {
  const reader = new ProtoReader(body);
  const data: Uint8Array[] = [];
  let bytesSize = 0;
  let partitionSessionId = 0;
  let kind: FromServer["kind"] = "other";
  while (reader.hasMore) {
    const tag = reader.varint();
    if (tag === 0x08) {
      const status = reader.varint();
      if (status !== success) throw new Error(`the server answered with status ${status}`);
    } else if (tag === 0x22) {
      kind = "messages";
      bytesSize = readResponse(reader.nested(), data);
    } else if (tag === 0x42) {
      kind = "start";
      const session = within(reader.nested(), 0x0a);
      if (session?.varint() === 0x08) partitionSessionId = session.varint();
    } else reader.skip(tag);
  }
  return { kind, data, bytesSize, partitionSessionId };
}

function readResponse(response: ProtoReader, data: Uint8Array[]): number {
  let bytesSize = 0;
  while (response.hasMore) {
    const tag = response.varint();
    if (tag === 0x10) bytesSize = response.varint();
    else if (tag === 0x0a) partitionData(response.nested(), data);
    else response.skip(tag);
  }
  return bytesSize;
}

function partitionData(partition: ProtoReader, data: Uint8Array[]): void {
  while (partition.hasMore) {
    const tag = partition.varint();
    if (tag !== 0x12) {
      partition.skip(tag);
      continue;
    }
    const batch = partition.nested();
    while (batch.hasMore) {
      const inner = batch.varint();
      if (inner === 0x0a) message(batch, data);
      else batch.skip(inner);
    }
  }
}

/** In place, without an object for the message. */
function message(reader: ProtoReader, data: Uint8Array[]): void {
  const end = reader.varint() + reader.at;
  while (reader.at < end) {
    const tag = reader.varint();
    if (tag === 0x2a) {
      const length = reader.varint();
      data.push(reader.bytes.subarray(reader.at, reader.at + length));
      reader.at += length;
    } else reader.skip(tag);
  }
}

function within(reader: ProtoReader, wanted: number): ProtoReader | undefined {
  while (reader.hasMore) {
    const tag = reader.varint();
    if (tag === wanted) return reader.nested();
    reader.skip(tag);
  }
  return undefined;
}
