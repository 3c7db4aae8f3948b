import type { LogFile, LogFiles } from "../src/internal.ts";
import { TopicServerError } from "../src/index.ts";
import type { Rng } from "@tidemark/clock";

interface Written {
  readonly at: number;
  readonly bytes: Buffer;
}

interface Content {
  synced: Buffer;
  /** Writes since the last sync; a crash keeps any part of each. */
  pending: Written[];
  size: number;
}

/** A disk in memory that loses at a crash what was not synced, in pieces of its own choice, and that can be full. */
export class CrashingFiles implements LogFiles {
  readonly isDurable = true;
  roomBytes = Number.POSITIVE_INFINITY;
  /** How long a write takes that is to be on the disk at its end, so that two of them can end in any order; else no time. */
  pace: Rng | undefined;
  /** Writes that began while another one was on its way. */
  overlaps = 0;
  /** Files that were cut off while somebody wrote to them. */
  earlyCuts = 0;
  #underWay = 0;
  readonly #files = new Map<string, Content>();

  async open(path: string, isNew: boolean): Promise<LogFile> {
    let content = this.#files.get(path);
    if (content === undefined || isNew) {
      content = { synced: Buffer.alloc(0), pending: [], size: 0 };
      this.#files.set(path, content);
    }
    return this.#file(content);
  }

  async list(folder: string): Promise<string[]> {
    return [...this.#files.keys()]
      .filter((path) => path.startsWith(`${folder}/`))
      .map((path) => path.slice(folder.length + 1));
  }

  async remove(path: string): Promise<void> {
    for (const each of this.#files.keys()) if (each === path || each.startsWith(`${path}/`)) this.#files.delete(each);
  }

  async syncFolder(): Promise<void> {}

  /** What another process would find after a power failure now. */
  crash(rng: Rng): CrashingFiles {
    const after = new CrashingFiles();
    after.pace = this.pace;
    after.overlaps = this.overlaps;
    after.earlyCuts = this.earlyCuts;
    for (const [path, content] of this.#files) {
      let image: Buffer = Buffer.from(content.synced);
      for (const { at, bytes } of content.pending) {
        // Pages arrive or do not, each on its own.
        for (let from = 0; from < bytes.length; from += 512) {
          if (rng.float() < 0.5) continue;
          const piece = bytes.subarray(from, from + 512);
          image = grow(image, at + from + piece.length);
          image.set(piece, at + from);
        }
      }
      after.#files.set(path, { synced: image, pending: [], size: image.length });
    }
    return after;
  }

  /** Turns a bit over. */
  damage(path: string, position: number): void {
    const content = this.#files.get(path);
    if (content === undefined) throw new Error(`no ${path}`);
    const image = whole(content);
    image[position] = (image[position] as number) ^ 1;
    content.synced = image;
    content.pending = [];
  }

  paths(): string[] {
    return [...this.#files.keys()].toSorted();
  }

  #file(content: Content): LogFile {
    const file: LogFile = {
      size: () => content.size,
      write: async (pieces, position) => {
        const bytes = Buffer.concat(pieces);
        if (bytes.length > this.roomBytes) {
          // As much as there is room for is written all the same.
          const part = bytes.subarray(0, this.roomBytes);
          if (part.length > 0) content.pending.push({ at: position, bytes: part });
          content.size = Math.max(content.size, position + part.length);
          throw new TopicServerError("DISK_FULL", "no room", { retryable: true });
        }
        this.roomBytes -= bytes.length;
        content.pending.push({ at: position, bytes });
        content.size = Math.max(content.size, position + bytes.length);
      },
      writeThrough: async (pieces, position) => {
        if (this.#underWay > 0) this.overlaps++;
        this.#underWay++;
        try {
          for (let left = this.pace?.int(0, 12) ?? 0; left > 0; left--) await Promise.resolve();
          const writing = file.write(pieces, position);
          const written = content.pending.at(-1);
          await writing;
          for (let left = this.pace?.int(0, 12) ?? 0; left > 0; left--) await Promise.resolve();
          if (written === undefined || !content.pending.includes(written)) return;
          // This one alone; of what was written there before, nothing comes back.
          const before = content.pending.slice(0, content.pending.indexOf(written));
          for (const each of before) overlay(each, written);
          content.pending = content.pending.filter((each) => each !== written);
          content.synced = grow(content.synced, written.at + written.bytes.length);
          written.bytes.copy(content.synced, written.at);
        } finally {
          this.#underWay--;
        }
      },
      sync: async () => {
        content.synced = whole(content);
        content.pending = [];
      },
      read: async (target, position) => whole(content).copy(target as Buffer, 0, position),
      truncate: async (size) => {
        if (this.#underWay > 0) this.earlyCuts++;
        content.synced = grow(whole(content).subarray(0, size), size);
        content.pending = [];
        content.size = size;
      },
      close: async () => {},
    };
    return file;
  }
}

/** Puts what a later write has in common with an earlier one into the earlier one. */
function overlay(earlier: Written, later: Written): void {
  const from = Math.max(earlier.at, later.at);
  const to = Math.min(earlier.at + earlier.bytes.length, later.at + later.bytes.length);
  if (from < to) later.bytes.copy(earlier.bytes, from - earlier.at, from - later.at, to - later.at);
}

function grow(image: Buffer, size: number): Buffer {
  return image.length >= size ? image : Buffer.concat([image, Buffer.alloc(size - image.length)]);
}

function whole(content: Content): Buffer {
  let image: Buffer = Buffer.from(content.synced);
  for (const { at, bytes } of content.pending) {
    image = grow(image, at + bytes.length);
    image.set(bytes, at);
  }
  return image;
}
