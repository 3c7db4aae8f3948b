import type { LogFile, LogFiles } from "./log-files.ts";
import { SparseIndex } from "./sparse-index.ts";

/** What is known about a segment that takes no more records. */
export interface SegmentMeta {
  readonly baseOffset: number;
  readonly endOffset: number;
  readonly bytes: number;
  readonly firstWrittenAtMs: number;
  readonly lastWrittenAtMs: number;
  readonly index: Uint8Array;
}

/** One file of a partition's log: records one after the other, then nothing or zeros. */
export class Segment {
  readonly path: string;
  readonly baseOffset: number;
  endOffset: number;
  /** Bytes of whole records that were acknowledged. */
  bytes = 0;
  firstWrittenAtMs = Number.POSITIVE_INFINITY;
  lastWrittenAtMs = Number.NEGATIVE_INFINITY;
  index = new SparseIndex();
  readonly #files: LogFiles;
  #file: Promise<LogFile> | undefined;
  #users = 0;
  #isGone = false;

  constructor(files: LogFiles, path: string, baseOffset: number) {
    this.#files = files;
    this.path = path;
    this.baseOffset = baseOffset;
    this.endOffset = baseOffset;
  }

  /** The name sorts as its number does. */
  static fileName(baseOffset: number): string {
    return `${String(baseOffset).padStart(16, "0")}.log`;
  }

  static baseOffsetOf(fileName: string): number | undefined {
    const match = /^(\d{16})\.log$/.exec(fileName);
    return match === null ? undefined : Number(match[1]);
  }

  open(isNew = false): Promise<LogFile> {
    if (this.#file === undefined) {
      const opening = this.#files.open(this.path, isNew);
      this.#file = opening;
      opening.catch(() => {
        if (this.#file === opening) this.#file = undefined;
      });
    }
    return this.#file;
  }

  /** Whatever `use` does with the file, nobody closes it meanwhile. */
  async using<T>(use: (file: LogFile) => Promise<T>): Promise<T> {
    this.#users++;
    try {
      return await use(await this.open());
    } finally {
      this.#users--;
      if (this.#isGone && this.#users === 0) void this.#closeFile();
    }
  }

  /** Closes the file once nobody reads it. */
  async close(): Promise<void> {
    this.#isGone = true;
    if (this.#users === 0) await this.#closeFile();
  }

  note(baseOffset: number, count: number, bytes: number, writtenAtMs: number): void {
    this.index.add(baseOffset, this.bytes, writtenAtMs);
    this.endOffset = baseOffset + count;
    this.bytes += bytes;
    this.firstWrittenAtMs = Math.min(this.firstWrittenAtMs, writtenAtMs);
    this.lastWrittenAtMs = Math.max(this.lastWrittenAtMs, writtenAtMs);
  }

  meta(): SegmentMeta {
    const { baseOffset, endOffset, bytes, firstWrittenAtMs, lastWrittenAtMs } = this;
    return { baseOffset, endOffset, bytes, firstWrittenAtMs, lastWrittenAtMs, index: this.index.encode() };
  }

  restore(meta: SegmentMeta): void {
    this.endOffset = meta.endOffset;
    this.bytes = meta.bytes;
    this.firstWrittenAtMs = meta.firstWrittenAtMs;
    this.lastWrittenAtMs = meta.lastWrittenAtMs;
    this.index = SparseIndex.decode(meta.index);
  }

  async #closeFile(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    if (file !== undefined) await (await file).close();
  }
}
