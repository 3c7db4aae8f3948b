import type { WriterCodec } from "./wire.ts";
import { WriterError } from "./writer-error.ts";
import type { ResolvedWriterOptions } from "./options.ts";

/** The codec of a writer. */
export interface ChosenCodec {
  /** Its number on the wire. */
  readonly id: number;
  /** Bodies go out as they are. */
  readonly isRaw: boolean;
  compress(bodies: readonly Uint8Array[]): Promise<readonly Uint8Array[]>;
}

const raw: ChosenCodec = { id: 1, isRaw: true, compress: (bodies) => Promise.resolve(bodies) };

/**
 * @param supported what the topic takes; empty: anything
 * @throws {WriterError} `CODEC_UNSUPPORTED`.
 */
export function chooseCodec(
  wanted: ResolvedWriterOptions["codec"],
  supported: readonly number[],
  topic: string,
): ChosenCodec {
  const chosen = typeof wanted === "object" ? { ...wanted, isRaw: false } : raw;
  if (supported.length > 0 && !supported.includes(chosen.id)) {
    throw new WriterError("CODEC_UNSUPPORTED", `${topic} takes codecs ${supported.join(", ")}, not ${chosen.id}`);
  }
  return chosen;
}
export type { WriterCodec };
