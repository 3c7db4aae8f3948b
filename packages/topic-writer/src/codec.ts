import { type CodecName, type Compression, TopicError } from "@tidemark/topic";
import { WriterError } from "./writer-error.ts";

const rawCodec = 1;

/** The codec of a writer. */
export interface ChosenCodec {
  /** Its number on the wire. */
  readonly id: number;
  /** Bodies go out as they are. */
  readonly isRaw: boolean;
}

/**
 * @param supported what the topic takes; empty: anything
 * @throws {WriterError} `CODEC_UNSUPPORTED`.
 */
export function chooseCodec(
  compression: Compression,
  wanted: CodecName | "auto",
  supported: readonly number[],
): ChosenCodec {
  try {
    const id = compression.choose(wanted, supported);
    return { id, isRaw: id === rawCodec };
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause);
    if (TopicError.is(cause)) throw new WriterError("CODEC_UNSUPPORTED", text.replace(/^\[\w+\] /, ""), { cause });
    throw cause;
  }
}
