import { closeSync, ftruncateSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { absent, bytesPerFrame, FrameReader, wordsPerFrame } from "../frame-layout.ts";
import type { StreamState } from "./stream-state.ts";

// A staged group is not history yet: after a crash the source sends it again. So it lies in a file of its own without
// journal or sync, and not in the database, which would write each byte twice more.

const headerBytes = 16;

/** Frames of a group that is too large to hold in memory, or whose boundary has not come yet. */
export class Stage {
  readonly #path: string;
  #descriptor: number | undefined;
  #length = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** Bytes of what was added, as {@link truncate} takes them. */
  get length(): number {
    return this.#length;
  }

  /** Adds the frames [from, to) of a buffer. On failure, nothing is added. */
  append(reader: FrameReader, from: number, to: number): void {
    if (from >= to) return;
    const descriptor = this.#open();
    const dataFrom = reader.start(from);
    const dataTo = endOf(reader, to - 1);
    const words = reader.words.slice(from * wordsPerFrame, to * wordsPerFrame);
    for (let at = 1; at < words.length; at += wordsPerFrame) words[at] = (words[at] as number) - dataFrom;
    const header = Buffer.alloc(headerBytes);
    header.writeDoubleLE(to - from, 0);
    header.writeDoubleLE(dataTo - dataFrom, 8);
    let at = this.#length;
    for (const part of [header, words, reader.data.subarray(dataFrom, dataTo)]) at = writeAll(descriptor, part, at);
    this.#length = at;
  }

  /** What was added, piece by piece. The reader is valid until the next one. */
  *pieces(): Generator<FrameReader> {
    if (this.#length === 0) return;
    const descriptor = this.#open();
    const header = Buffer.alloc(headerBytes);
    // The same memory for every piece: large buffers are dear, and freed late.
    let [words, data] = [new ArrayBuffer(0), new ArrayBuffer(0)];
    for (let at = 0; at < this.#length; ) {
      at = readAll(descriptor, header, at);
      const frames = header.readDoubleLE(0);
      const dataLength = header.readDoubleLE(8);
      const wordsLength = frames * bytesPerFrame;
      if (words.byteLength < wordsLength) words = new ArrayBuffer(wordsLength);
      if (data.byteLength < dataLength) data = new ArrayBuffer(dataLength);
      at = readAll(descriptor, new Uint8Array(words, 0, wordsLength), at);
      at = readAll(descriptor, new Uint8Array(data, 0, dataLength), at);
      yield new FrameReader({ words, data, frames, dataLength });
    }
  }

  /** Forgets what was added beyond a length. */
  truncate(length: number): void {
    if (this.#length === length) return;
    this.#length = length;
    if (this.#descriptor !== undefined) ftruncateSync(this.#descriptor, length);
  }

  close(): void {
    if (this.#descriptor === undefined) return;
    closeSync(this.#descriptor);
    this.#descriptor = undefined;
    this.#length = 0;
    rmSync(this.#path, { force: true });
  }

  #open(): number {
    if (this.#descriptor === undefined) {
      this.#descriptor = openSync(this.#path, "w+", 0o600);
      try {
        // It lives as long as this process has it open.
        rmSync(this.#path, { force: true });
      } catch {
        // Where an open file cannot be removed, `close` and the next start do it.
      }
    }
    return this.#descriptor;
  }
}

/** An open stream whose open group is kept in files. */
export interface StagedStreamState extends StreamState {
  /** Frames of the open group from earlier buffers. */
  stage: Stage;
  /** Empty; takes the next open group while the current one is applied. */
  spare: Stage;
}

function endOf(reader: FrameReader, frame: number): number {
  let end = reader.start(frame);
  for (let field = 0; field < 4; field++) {
    const length = reader.fieldLength(frame, field);
    if (length !== absent) end += length;
  }
  return end;
}

function writeAll(descriptor: number, bytes: NodeJS.ArrayBufferView, at: number): number {
  let done = 0;
  while (done < bytes.byteLength) done += writeSync(descriptor, bytes, done, bytes.byteLength - done, at + done);
  return at + done;
}

function readAll(descriptor: number, bytes: Uint8Array, at: number): number {
  let done = 0;
  while (done < bytes.byteLength) {
    const read = readSync(descriptor, bytes, done, bytes.byteLength - done, at + done);
    if (read === 0) throw new Error(`the stage ends at ${at + done}, ${bytes.byteLength - done} bytes too early`);
    done += read;
  }
  return at + done;
}
