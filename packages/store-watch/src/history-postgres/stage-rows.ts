import type { Later } from "../history/flow.ts";
import { StoreWatchError } from "../errors.ts";
import { absent, FrameReader, wordsPerFrame } from "../frame-layout.ts";
import { one, type PostgresSession, run } from "./session.ts";
import type { PostgresStreamState } from "./stream-rows.ts";

// The frames of a group that is too large for memory, or whose boundary has not come yet. They are in the database and
// written in the transaction that says what came before them, so they are there, or not, with the cursor.

/** Adds the frames from `from` to the end of a buffer as one piece. */
export async function addStage(
  session: PostgresSession,
  stream: number,
  part: number,
  reader: FrameReader,
  from: number,
): Promise<void> {
  const dataFrom = reader.start(from);
  const dataTo = endOf(reader, reader.frames - 1);
  const words = reader.words.slice(from * wordsPerFrame, reader.frames * wordsPerFrame);
  for (let at = 1; at < words.length; at += wordsPerFrame) words[at] = (words[at] as number) - dataFrom;
  const data = reader.data.subarray(dataFrom, dataTo);
  const text = "INSERT INTO stage (stream, part, frames, words, data) VALUES ($1, $2, $3, $4, $5)";
  await run(session, text, [stream, part, reader.frames - from, Buffer.from(words.buffer), data], "stage");
}

/** What was added, piece by piece. */
export function* stagedPieces(session: PostgresSession, stream: PostgresStreamState): Generator<Promise<FrameReader>> {
  for (let part = 0; part < stream.staged; part++) yield stagedPiece(session, stream, part);
}

async function stagedPiece(session: PostgresSession, stream: PostgresStreamState, part: number): Promise<FrameReader> {
  const text = "SELECT frames, words, data FROM stage WHERE stream = $1 AND part = $2";
  const piece = await one<{ readonly frames: number; readonly words: Buffer; readonly data: Buffer }>(
    session,
    text,
    [stream.id, part],
    "staged",
  );
  if (piece === undefined) {
    throw new StoreWatchError("INTERNAL", `piece ${part} of ${stream.staged} of a staged group is missing`);
  }
  return new FrameReader({
    words: ownMemory(piece.words),
    data: ownMemory(piece.data),
    frames: piece.frames,
    dataLength: piece.data.length,
  });
}

export function clearStage(session: PostgresSession, stream: number): Later<void> {
  return run(session, "DELETE FROM stage WHERE stream = $1", [stream], "clear_stage");
}

/** The driver's buffers may share memory with others; numbers in it must start at a multiple of their size. */
function ownMemory(buffer: Buffer): ArrayBuffer {
  const memory = new ArrayBuffer(buffer.length);
  Buffer.from(memory).set(buffer);
  return memory;
}

function endOf(reader: FrameReader, frame: number): number {
  let end = reader.start(frame);
  for (let field = 0; field < 4; field++) {
    const length = reader.fieldLength(frame, field);
    if (length !== absent) end += length;
  }
  return end;
}
