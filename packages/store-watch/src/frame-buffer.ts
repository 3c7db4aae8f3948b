import type { Frame, GapReason } from "./contract.ts";
import { StoreWatchError } from "./errors.ts";
import {
  absent,
  bytesPerFrame,
  type FrameBufferParts,
  FrameReader,
  frameKinds,
  wideTextFlag,
  wordsPerFrame,
} from "./frame-layout.ts";

const minFrames = 256;
const minDataBytes = 16 * 1024;
/** A buffer that was much larger than it needed to be gives memory back above this. */
const keepBytes = 4 * 1024 * 1024;
/** Offsets are 32 bits wide; SQLite takes no larger value either. */
const maxDataBytes = 2 ** 32 - 1;

/**
 * Frames packed into two growing memory areas: writing one allocates nothing, and handing thousands to another thread
 * moves two pointers. It is the buffer of the watcher's `Handoff` and what {@link HistoryStream.append} takes.
 */
export class FrameBuffer {
  #data = Buffer.alloc(0);
  #words = new Uint32Array(0);
  #floats = new Float64Array(0);
  #dataLength = 0;
  #frames = 0;
  #sealedGroups = 0;
  #endsOpen = false;
  #isAway = false;

  /** Bytes of everything written since the last `clear()`, with the fixed cost of each frame. */
  get bytes(): number {
    return this.#dataLength + this.#frames * bytesPerFrame;
  }

  get frames(): number {
    return this.#frames;
  }

  /** How many boundaries (commit, snapshot-end, progress, gap, reset, discard) it contains: what may be cut off before. */
  get sealedGroups(): number {
    return this.#sealedGroups;
  }

  /** Whether changes, or the begin of a snapshot, follow the last boundary. */
  get endsOpen(): boolean {
    return this.#endsOpen;
  }

  /** Whether its memory is with the writer's thread; until it is back, writing throws. */
  get isAway(): boolean {
    return this.#isAway;
  }

  /**
   * Copies one frame in.
   *
   * @throws {StoreWatchError} `OPTIONS_INVALID` when the buffer would pass 4 GiB, `INTERNAL` while it {@link isAway}.
   */
  write(frame: Frame): void {
    switch (frame.type) {
      case "change":
        this.#open(frameKinds.change, frame.sourceTimeMs);
        this.#putBytes(0, frame.key);
        this.#putBytes(1, frame.value);
        this.#putText(2, frame.version);
        this.#putText(3, frame.attributes);
        this.#endsOpen = true;
        break;
      case "poison":
        this.#open(frameKinds.poison, undefined);
        this.#putBytes(0, frame.key);
        this.#putBytes(1, frame.raw);
        this.#putText(2, frame.version);
        this.#putText(3, frame.error);
        this.#endsOpen = true;
        break;
      case "begin-snapshot":
        this.#open(frameKinds["begin-snapshot"], undefined);
        this.#putText(0, frame.epoch);
        this.#endsOpen = true;
        break;
      case "snapshot-end":
        this.#open(frameKinds["snapshot-end"], undefined);
        this.#putText(0, frame.cursor);
        this.#seal();
        break;
      case "commit":
        this.#open(frameKinds.commit, frame.sourceTimeMs);
        this.#putText(0, frame.cursor);
        this.#seal();
        break;
      case "progress":
        this.#open(frameKinds.progress, undefined);
        this.#putText(0, frame.cursor);
        // Inside a group it moves nothing, so the group stays open.
        if (!this.#endsOpen) this.#seal();
        break;
      case "gap":
        this.#open(frameKinds.gap, undefined);
        this.#putText(0, frame.reason);
        this.#putText(1, frame.detail);
        this.#putText(2, frame.from);
        this.#putText(3, frame.to);
        this.#seal();
        break;
      case "reset":
        this.#open(frameKinds.reset, undefined);
        this.#putText(0, frame.epoch);
        this.#seal();
        break;
      case "discard":
        this.#open(frameKinds.discard, undefined);
        this.#seal();
        break;
      default:
        frame satisfies never;
    }
    this.#frames++;
  }

  /** Forgets every frame; keeps the memory for the next ones, unless it was far too large for these. */
  clear(): void {
    if (this.#isAway) throw awayError();
    if (this.#data.length > keepBytes && this.#dataLength < this.#data.length / 4) {
      this.#data = Buffer.from(new ArrayBuffer(this.#data.length >>> 1));
    }
    if (this.#words.byteLength > keepBytes && this.#frames * bytesPerFrame < this.#words.byteLength / 4) {
      this.#adoptWords(new ArrayBuffer(this.#words.byteLength >>> 1));
    }
    this.#dataLength = 0;
    this.#frames = 0;
    this.#sealedGroups = 0;
    this.#endsOpen = false;
  }

  /** Every frame as an object of its own, with copied bytes. For tests and diagnostics. */
  decode(): Frame[] {
    const frames: Frame[] = [];
    this.forEach((frame) => frames.push(frame));
    return frames;
  }

  /** Calls back for every frame in order, as {@link decode} would return it. */
  forEach(callback: (frame: Frame, index: number) => void): void {
    if (this.#isAway) throw awayError();
    const reader = new FrameReader({
      words: this.#words.buffer,
      data: this.#data.buffer as ArrayBuffer,
      frames: this.#frames,
      dataLength: this.#dataLength,
    });
    for (let index = 0; index < this.#frames; index++) callback(decodeFrame(reader, index), index);
  }

  /** Gives the memory away, for a `postMessage` with `[parts.words, parts.data]` as its transfer list. */
  toTransfer(): FrameBufferParts {
    if (this.#isAway) throw awayError();
    this.#isAway = true;
    return {
      words: this.#words.buffer,
      data: this.#data.buffer as ArrayBuffer,
      frames: this.#frames,
      dataLength: this.#dataLength,
    };
  }

  /** Takes the memory back that {@link toTransfer} gave away, its frames untouched. */
  takeBack(parts: FrameBufferParts): void {
    this.#data = Buffer.from(parts.data);
    this.#adoptWords(parts.words);
    this.#frames = parts.frames;
    this.#dataLength = parts.dataLength;
    this.#isAway = false;
  }

  /** Starts over with new memory: what was given away died with the thread that had it. */
  abandon(): void {
    this.takeBack({ words: new ArrayBuffer(0), data: new ArrayBuffer(0), frames: 0, dataLength: 0 });
    this.clear();
  }

  /** A buffer made of what another thread's buffer gave away. */
  static fromTransfer(parts: FrameBufferParts): FrameBuffer {
    const buffer = new FrameBuffer();
    buffer.takeBack(parts);
    buffer.forEach((frame) => buffer.#count(frame.type));
    return buffer;
  }

  #count(type: Frame["type"]): void {
    if (type === "change" || type === "poison" || type === "begin-snapshot") this.#endsOpen = true;
    else if (type !== "progress" || !this.#endsOpen) this.#seal();
  }

  #seal(): void {
    this.#sealedGroups++;
    this.#endsOpen = false;
  }

  #open(kind: number, sourceTimeMs: number | undefined): void {
    if (this.#isAway) throw awayError();
    const at = this.#frames * wordsPerFrame;
    if (at + wordsPerFrame > this.#words.length) this.#growWords();
    const words = this.#words;
    words[at] = kind;
    words[at + 1] = this.#dataLength;
    words[at + 2] = absent;
    words[at + 3] = absent;
    words[at + 4] = absent;
    words[at + 5] = absent;
    this.#floats[(at >>> 1) + 3] = sourceTimeMs ?? Number.NaN;
  }

  #putBytes(field: number, bytes: Uint8Array | undefined): void {
    if (bytes === undefined) return;
    const { length } = bytes;
    const start = this.#dataLength;
    if (start + length > this.#data.length) this.#growData(start + length);
    const data = this.#data;
    // Below this a loop is cheaper than the call.
    if (length <= 24) for (let index = 0; index < length; index++) data[start + index] = bytes[index] as number;
    else data.set(bytes, start);
    this.#dataLength = start + length;
    this.#words[this.#frames * wordsPerFrame + 2 + field] = length;
  }

  #putText(field: number, text: string | undefined): void {
    if (text === undefined) return;
    const start = this.#dataLength;
    // UTF-8 needs at most three bytes for one UTF-16 unit.
    const most = start + text.length * 3;
    if (most > this.#data.length) this.#growData(most);
    const data = this.#data;
    let length = 0;
    for (; length < text.length; length++) {
      const unit = text.charCodeAt(length);
      if (unit > 0x7f) break;
      data[start + length] = unit;
    }
    const at = this.#frames * wordsPerFrame;
    if (length < text.length) {
      length = data.write(text, start, "utf8");
      this.#words[at] = (this.#words[at] as number) | (wideTextFlag << field);
    }
    this.#dataLength = start + length;
    this.#words[at + 2 + field] = length;
  }

  #growData(needed: number): void {
    if (needed > maxDataBytes) {
      throw new StoreWatchError("OPTIONS_INVALID", `a frame buffer holds at most ${maxDataBytes} bytes, got ${needed}`);
    }
    // Doubling a large buffer would waste up to half of it.
    const factor = this.#data.length < keepBytes ? 2 : 1.25;
    const size = Math.min(maxDataBytes, Math.max(minDataBytes, needed, Math.ceil(this.#data.length * factor)));
    // `transfer` frees the old memory at once; left to the garbage collector, it would pile up.
    this.#data = Buffer.from((this.#data.buffer as ArrayBuffer).transfer(size));
  }

  #growWords(): void {
    const size = Math.max(minFrames * bytesPerFrame, this.#words.byteLength * 2);
    this.#adoptWords(this.#words.buffer.transfer(size));
  }

  #adoptWords(memory: ArrayBuffer): void {
    this.#words = new Uint32Array(memory);
    this.#floats = new Float64Array(memory);
  }
}

function awayError(): StoreWatchError {
  return new StoreWatchError("INTERNAL", "this frame buffer is with the history until its append settles");
}

function decodeFrame(reader: FrameReader, index: number): Frame {
  const bytes = (field: number) => {
    const view = reader.bytes(index, field);
    return view === undefined ? undefined : new Uint8Array(view);
  };
  const text = (field: number) => reader.text(index, field);
  const required = <T>(value: T | undefined) => value as T;
  const sourceTimeMs = reader.sourceTimeMs(index);
  switch (reader.kind(index)) {
    case frameKinds.change:
      return {
        type: "change",
        key: required(bytes(0)),
        value: bytes(1),
        ...defined({ version: text(2), attributes: text(3), sourceTimeMs }),
      };
    case frameKinds.poison:
      return {
        type: "poison",
        key: required(bytes(0)),
        raw: required(bytes(1)),
        error: required(text(3)),
        ...defined({ version: text(2) }),
      };
    case frameKinds["begin-snapshot"]:
      return { type: "begin-snapshot", epoch: required(text(0)) };
    case frameKinds["snapshot-end"]:
      return { type: "snapshot-end", cursor: required(text(0)) };
    case frameKinds.commit:
      return { type: "commit", cursor: required(text(0)), ...defined({ sourceTimeMs }) };
    case frameKinds.progress:
      return { type: "progress", cursor: required(text(0)) };
    case frameKinds.gap:
      return {
        type: "gap",
        reason: required(text(0)) as GapReason,
        detail: required(text(1)),
        ...defined({ from: text(2), to: text(3) }),
      };
    case frameKinds.reset:
      return { type: "reset", epoch: required(text(0)) };
    case frameKinds.discard:
      return { type: "discard" };
  }
}

/** Leaves out what is undefined, so that a decoded frame equals the one that was written. */
function defined<T extends object>(fields: T): { [Key in keyof T]?: NonNullable<T[Key]> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;
}
