import { decodeMessage } from "./frame-reader.ts";
import type { Outbox } from "./outbox.ts";
import type { StagedMessage } from "./stage.ts";
import type { UnacknowledgedMessage } from "./writer.ts";

/** What is in the outbox, and behind it what was never encoded, as a user wants it back. */
export function* unacknowledgedIn(
  outbox: Outbox,
  staged: readonly StagedMessage[],
  isCompressed: boolean,
): IterableIterator<UnacknowledgedMessage> {
  for (const { seqNo, rest } of outbox.messages()) yield { seqNo: BigInt(seqNo), isCompressed, ...decodeMessage(rest) };
  yield* unframedIn(staged, isCompressed);
}

/** What is in no frame, as a user wants it back. */
export function* unframedIn(
  messages: Iterable<Omit<StagedMessage, "size">>,
  isCompressed: boolean,
): IterableIterator<UnacknowledgedMessage> {
  for (const { data, isEncoded, seqNo: number, createdAtMs, metadata } of messages) {
    const seqNo = number === 0 ? undefined : BigInt(number);
    if (isEncoded) yield { seqNo, isCompressed, ...decodeMessage(data as Uint8Array) };
    else {
      yield {
        seqNo,
        data: typeof data === "string" ? Buffer.from(data) : data,
        isCompressed: false,
        createdAt: new Date(createdAtMs),
        metadata: metadata === undefined ? {} : decodeMessage(metadata).metadata,
      };
    }
  }
}
