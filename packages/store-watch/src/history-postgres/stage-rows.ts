import { StoreWatchError } from "../errors.ts";
import { absent, FrameReader, wordsPerFrame } from "../frame-layout.ts";
import type { PostgresClient } from "./driver.ts";
import type { PostgresStreamState } from "./stream-rows.ts";

// The frames of a group that is too large for memory, or whose boundary has not come yet. They are in the database and
// written in the transaction that says what came before them, so they are there, or not, with the cursor.

/** Adds the frames from `from` to the end of a buffer as one piece. */
export async function addStage(
  client: PostgresClient,
  stream: number,
  part: number,
  reader: FrameReader,
  from: number,
): Promise<void> {
  const dataFrom = reader.start(from);
  const dataTo = endOf(reader, reader.frames - 1);
  const words = reader.words.slice(from * wordsPerFrame, reader.frames * wordsPerFrame);
  for (let at = 1; at < words.length; at += wordsPerFrame) words[at] = (words[at] as number) - dataFrom;
  await client.query({
    name: "tidemark_stage",
    text: "INSERT INTO stage (stream, part, frames, words, data) VALUES ($1, $2, $3, $4, $5)",
    values: [stream, part, reader.frames - from, Buffer.from(words.buffer), reader.data.subarray(dataFrom, dataTo)],
  });
}

/** What was added, piece by piece. */
export async function* stagedPieces(
  client: PostgresClient,
  stream: PostgresStreamState,
): AsyncGenerator<FrameReader, void, undefined> {
  for (let part = 0; part < stream.staged; part++) {
    const { rows } = await client.query<{ readonly frames: number; readonly words: Buffer; readonly data: Buffer }>({
      name: "tidemark_staged",
      text: "SELECT frames, words, data FROM stage WHERE stream = $1 AND part = $2",
      values: [stream.id, part],
    });
    const piece = rows[0];
    if (piece === undefined) {
      throw new StoreWatchError("INTERNAL", `piece ${part} of ${stream.staged} of a staged group is missing`);
    }
    yield new FrameReader({
      words: ownMemory(piece.words),
      data: ownMemory(piece.data),
      frames: piece.frames,
      dataLength: piece.data.length,
    });
  }
}

export async function clearStage(client: PostgresClient, stream: number): Promise<void> {
  await client.query({ name: "tidemark_clear_stage", text: "DELETE FROM stage WHERE stream = $1", values: [stream] });
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
