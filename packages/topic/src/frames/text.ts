import { TopicError } from "../topic-error.ts";

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @throws {TopicError} `FRAME_INVALID` for bytes that are not UTF-8. */
export function decodeText(bytes: Uint8Array, start: number, end: number): string {
  if (start === end) return "";
  if (end - start <= 64) {
    let text = "";
    let at = start;
    for (; at < end && (bytes[at] as number) < 0x80; at++) text += String.fromCharCode(bytes[at] as number);
    if (at === end) return text;
  }
  try {
    return strict.decode(bytes.subarray(start, end));
  } catch (cause) {
    throw new TopicError("FRAME_INVALID", `Not a valid message: a string at byte ${start} is not UTF-8`, { cause });
  }
}
