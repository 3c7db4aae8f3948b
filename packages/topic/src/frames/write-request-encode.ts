import { FrameBuilder } from "./frame-builder.ts";
import { type Int64, int64Length, writeInt64 } from "./int64.ts";
import { encodeMetadataItems, type MetadataItem } from "./metadata.ts";
import type { TransactionRef } from "./write-columns.ts";

/** Messages to write: one array a field, one element a message. */
export interface WriteRequestColumns {
  readonly count: number;
  /** Integers; above 2^53 as bigints. */
  readonly seqNos: ArrayLike<Int64>;
  /** Milliseconds since the epoch; NaN: not set. */
  readonly createdAtMs: ArrayLike<number>;
  readonly data: ArrayLike<Uint8Array>;
  /** Bytes before compression. @default the length of `data` */
  readonly uncompressedBytes?: ArrayLike<number>;
  readonly metadata?: ArrayLike<readonly MetadataItem[] | undefined>;
  readonly codec: number;
  readonly tx?: TransactionRef | undefined;
}

const utf8 = new TextEncoder();
/** More than a message takes beside its body and its metadata, and a frame beside its messages. */
const overheadBytes = 64;

/**
 * One `StreamWriteMessage.FromClient` with a `WriteRequest` of messages that are all there already; whoever gets them one
 * by one has a `FrameBuilder`, as this does.
 */
export function encodeWriteRequest(columns: WriteRequestColumns): Uint8Array {
  const { count, seqNos, createdAtMs, data, uncompressedBytes, metadata, codec, tx } = columns;
  const items = Array.from({ length: count }, (_, n) => metadata?.[n]).map(
    (list) => list && encodeMetadataItems(list.map(({ key, value }) => [key, value])),
  );
  const trailer = tx && encodeTransaction(tx);
  let most = 2 * overheadBytes + (trailer?.length ?? 0);
  for (let n = 0; n < count; n++) most += overheadBytes + (data[n] as Uint8Array).length + (items[n]?.length ?? 0);
  const builder = new FrameBuilder(most, most);
  builder.setTrailer(codec, trailer);
  for (let n = 0; n < count; n++) {
    const body = data[n] as Uint8Array;
    const uncompressed = uncompressedBytes?.[n] ?? body.length;
    builder.append(seqNos[n] as Int64, createdAtMs[n] as number, body, body.length, uncompressed, items[n]);
  }
  return builder.take().bytes;
}

const bytesField = (length: number): number => (length === 0 ? 0 : 1 + int64Length(length) + length);

/** An encoded `TransactionIdentity`. */
export function encodeTransaction(tx: TransactionRef): Uint8Array {
  const id = utf8.encode(tx.id);
  const session = utf8.encode(tx.session);
  const bytes = new Uint8Array(bytesField(id.length) + bytesField(session.length));
  let at = 0;
  for (const [tag, text] of [[0x0a, id] as const, [0x12, session] as const]) {
    if (text.length === 0) continue;
    bytes[at++] = tag;
    at = writeInt64(bytes, at, text.length);
    bytes.set(text, at);
    at += text.length;
  }
  return bytes;
}
