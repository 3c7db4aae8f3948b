/**
 * How frames are packed, so that a batch crosses to the writer's thread as two memory areas and not as objects.
 *
 * Every frame is eight 32-bit words: kind and flags, where its bytes start, the lengths of up to four fields that lie
 * there one behind the other, and a 64-bit float for the source's time (NaN: none).
 */
export const wordsPerFrame = 8;
export const bytesPerFrame = wordsPerFrame * 4;

/** Length of a field that is not there. */
export const absent = 0xffff_ffff;

export const frameKinds = {
  change: 1,
  poison: 2,
  "begin-snapshot": 3,
  "snapshot-end": 4,
  commit: 5,
  progress: 6,
  gap: 7,
  reset: 8,
  discard: 9,
} as const;

export type FrameKind = (typeof frameKinds)[keyof typeof frameKinds];

const kindMask = 0xff;
/** `flag << field`: the text in this field has a character outside ASCII, so it is UTF-8 rather than Latin-1. */
export const wideTextFlag = 0x100;

/** The memory of a frame buffer on its way to another thread and back. */
export interface FrameBufferParts {
  readonly words: ArrayBuffer;
  readonly data: ArrayBuffer;
  readonly frames: number;
  readonly dataLength: number;
}

/** Reads packed frames without making an object for each. Fields are numbered in the order in which they were written. */
export class FrameReader {
  readonly frames: number;
  readonly data: Buffer;
  readonly words: Uint32Array;
  readonly #floats: Float64Array;

  constructor(parts: FrameBufferParts) {
    this.frames = parts.frames;
    this.data = Buffer.from(parts.data);
    this.words = new Uint32Array(parts.words);
    this.#floats = new Float64Array(parts.words);
  }

  kind(frame: number): FrameKind {
    return ((this.words[frame * wordsPerFrame] as number) & kindMask) as FrameKind;
  }

  /** Where the frame's first field starts in `data`. */
  start(frame: number): number {
    return this.words[frame * wordsPerFrame + 1] as number;
  }

  /** {@link absent} when the field is not there. */
  fieldLength(frame: number, field: number): number {
    return this.words[frame * wordsPerFrame + 2 + field] as number;
  }

  fieldStart(frame: number, field: number): number {
    const at = frame * wordsPerFrame;
    let start = this.words[at + 1] as number;
    for (let before = 0; before < field; before++) {
      const length = this.words[at + 2 + before] as number;
      if (length !== absent) start += length;
    }
    return start;
  }

  /** A view, not a copy. */
  bytes(frame: number, field: number): Buffer | undefined {
    const length = this.fieldLength(frame, field);
    if (length === absent) return undefined;
    const start = this.fieldStart(frame, field);
    return this.data.subarray(start, start + length);
  }

  text(frame: number, field: number): string | undefined {
    const length = this.fieldLength(frame, field);
    if (length === absent) return undefined;
    const start = this.fieldStart(frame, field);
    const isWide = ((this.words[frame * wordsPerFrame] as number) & (wideTextFlag << field)) !== 0;
    return this.data.toString(isWide ? "utf8" : "latin1", start, start + length);
  }

  sourceTimeMs(frame: number): number | undefined {
    const time = this.#floats[frame * (wordsPerFrame / 2) + 3] as number;
    return Number.isNaN(time) ? undefined : time;
  }
}
