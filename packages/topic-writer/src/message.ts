import { encodeMetadataItems } from "@tidemark/topic/internal";
import { isSeqNo, type SeqNo, toSeqNo } from "./seq-no.ts";
import { WriterError } from "./writer-error.ts";

// topic.proto, MessageData.metadata_items, and what the service checks.
const maxMetadataItems = 1000;
const maxMetadataBytes = 4096;

/** What a message carries. Text is written as UTF-8. */
export type MessageBody = string | Uint8Array;

/** A message with more than its body. */
export interface WriterMessage {
  /** Copied before `write` returns. */
  readonly data: MessageBody;
  /**
   * Where `seqNo` is `"manual"`: its number, above that of the message before, at least 1. Above 2^53 as a bigint.
   * @default required then, not allowed otherwise
   */
  readonly seqNo?: number | bigint;
  /**
   * When it was made.
   * @default the time of `write`
   */
  readonly createdAt?: Date;
  /** At most 1000 items with at most 4096 bytes of keys and values. A value that is text is written as UTF-8. */
  readonly metadata?: Readonly<Record<string, MessageBody>>;
  /** Where the writer has `partitioning`: what decides about the partition; messages with one key keep their order. */
  readonly key?: string | Uint8Array;
}

/** Anything that `write` takes as one message. */
export type Writable = MessageBody | WriterMessage;

export function isBody(message: Writable): message is MessageBody {
  return typeof message === "string" || message instanceof Uint8Array;
}

export function bodyLength(data: MessageBody): number {
  return typeof data === "string" ? Buffer.byteLength(data) : data.length;
}

/** @throws {WriterError} `SEQ_NO_INVALID`. */
export function checkSeqNo(seqNo: number | bigint | undefined, isManual: boolean, last: SeqNo): SeqNo {
  if (!isManual) {
    if (seqNo === undefined) return 0;
    throw new WriterError(
      "SEQ_NO_INVALID",
      `the writer numbers messages itself; open it with seqNo: "manual" to do it`,
    );
  }
  if (seqNo === undefined || !isSeqNo(seqNo)) {
    throw new WriterError("SEQ_NO_INVALID", `seqNo must be an integer from 1 to 2^63-1, got ${String(seqNo)}`);
  }
  if (!(seqNo > last)) throw new WriterError("SEQ_NO_INVALID", `seqNo must be above the last, ${last}, got ${seqNo}`);
  return toSeqNo(seqNo);
}

/**
 * The encoded items, or undefined where there are none.
 *
 * @throws {WriterError} `MESSAGE_INVALID`.
 */
export function encodeMetadata(metadata: Readonly<Record<string, MessageBody>> | undefined): Uint8Array | undefined {
  if (metadata === undefined) return undefined;
  const items = Object.entries(metadata);
  if (items.length === 0) return undefined;
  if (items.length > maxMetadataItems) {
    throw new WriterError("MESSAGE_INVALID", `at most ${maxMetadataItems} metadata items, got ${items.length}`);
  }
  let total = 0;
  for (const [key, value] of items) total += Buffer.byteLength(key) + bodyLength(value);
  if (total > maxMetadataBytes) {
    throw new WriterError("MESSAGE_INVALID", `at most ${maxMetadataBytes} bytes of metadata, got ${total}`);
  }
  return encodeMetadataItems(items);
}

/** What a writer allows. */
export interface MessageLimits {
  readonly isManual: boolean;
  readonly maxMessageBytes: number;
}

/** A message as `write` was given it, checked. Its body is not copied yet. */
export interface PreparedMessage {
  readonly data: MessageBody;
  readonly bytes: number;
  /** 0: the writer gives it. */
  readonly seqNo: SeqNo;
  readonly createdAtMs: number | undefined;
  readonly metadata: Uint8Array | undefined;
}

/** @throws {WriterError} `MESSAGE_TOO_LARGE`, `MESSAGE_INVALID`, `SEQ_NO_INVALID`. */
export function prepareMessage(message: Writable, limits: MessageLimits, last: SeqNo): PreparedMessage {
  const isPlain = isBody(message);
  const data = isPlain ? message : message?.data;
  if (typeof data !== "string" && !(data instanceof Uint8Array)) {
    throw new WriterError("MESSAGE_INVALID", `data must be text or bytes, got ${typeof data}`);
  }
  const bytes = bodyLength(data);
  if (bytes > limits.maxMessageBytes) throw tooLarge(bytes, limits);
  const seqNo = checkSeqNo(isPlain ? undefined : message.seqNo, limits.isManual, last);
  if (isPlain) return { data, bytes, seqNo, createdAtMs: undefined, metadata: undefined };
  const createdAtMs = message.createdAt?.getTime();
  if (Number.isNaN(createdAtMs)) throw new WriterError("MESSAGE_INVALID", "createdAt is an invalid date");
  return { data, bytes, seqNo, createdAtMs, metadata: encodeMetadata(message.metadata) };
}

/** Checks a list. What is undefined in the result is a body that needs no more than that. */
export function prepareList(
  messages: readonly Writable[],
  limits: MessageLimits,
  lastSeqNo: SeqNo,
): (PreparedMessage | undefined)[] | undefined {
  let prepared: (PreparedMessage | undefined)[] | undefined;
  let last = lastSeqNo;
  for (let n = 0; n < messages.length; n++) {
    const message = messages[n] as Writable;
    if (!limits.isManual && isBody(message)) {
      const bytes = bodyLength(message);
      if (bytes > limits.maxMessageBytes) throw tooLarge(bytes, limits);
      continue;
    }
    prepared ??= [];
    const one = prepareMessage(message, limits, last);
    prepared[n] = one;
    last = one.seqNo;
  }
  return prepared;
}

export function tooLarge(bytes: number, { maxMessageBytes }: MessageLimits): WriterError {
  return new WriterError("MESSAGE_TOO_LARGE", `a message must have at most ${maxMessageBytes} bytes, got ${bytes}`);
}

export function isList(messages: Writable | readonly Writable[]): messages is readonly Writable[] {
  return Array.isArray(messages);
}
