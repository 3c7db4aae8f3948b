import type { LogFile, LogFiles } from "./log-files.ts";

/** Files that are gone with the process. They hold the pieces they are given, without copying them. */
export function memoryFiles(): LogFiles {
  const files = new Map<string, MemoryFile>();
  const below = (folder: string) => [...files.keys()].filter((path) => path.startsWith(`${folder}/`));
  return {
    isDurable: false,
    async open(path, isNew) {
      const known = files.get(path);
      if (known !== undefined && !isNew) return known;
      const file = new MemoryFile();
      files.set(path, file);
      return file;
    },
    async list(folder) {
      return below(folder).map((path) => path.slice(folder.length + 1));
    },
    async remove(path) {
      files.delete(path);
      for (const each of below(path)) files.delete(each);
    },
    async syncFolder() {},
  };
}

/** Pieces in the order of their positions; a log only ever appends. */
class MemoryFile implements LogFile {
  #pieces: Uint8Array[] = [];
  #starts: number[] = [];
  #size = 0;

  size(): number {
    return this.#size;
  }

  async write(pieces: readonly Uint8Array[], position: number): Promise<void> {
    if (position < this.#size) await this.truncate(position);
    for (const piece of pieces) {
      this.#pieces.push(piece);
      this.#starts.push(this.#size);
      this.#size += piece.length;
    }
  }

  writeThrough(pieces: readonly Uint8Array[], position: number): Promise<void> {
    return this.write(pieces, position);
  }

  async sync(): Promise<void> {}

  async read(target: Uint8Array, position: number): Promise<number> {
    let at = 0;
    let index = this.#indexOf(position);
    while (at < target.length && index < this.#pieces.length) {
      const piece = this.#pieces[index] as Uint8Array;
      const from = position + at - (this.#starts[index] as number);
      const part = piece.subarray(from, from + target.length - at);
      target.set(part, at);
      at += part.length;
      index++;
    }
    return at;
  }

  async truncate(size: number): Promise<void> {
    while (this.#size > size) {
      const start = this.#starts.at(-1) as number;
      if (start < size) {
        this.#pieces.push((this.#pieces.pop() as Uint8Array).subarray(0, size - start));
        this.#size = size;
        return;
      }
      this.#pieces.pop();
      this.#starts.pop();
      this.#size = start;
    }
    if (this.#size < size) {
      this.#pieces.push(new Uint8Array(size - this.#size));
      this.#starts.push(this.#size);
      this.#size = size;
    }
  }

  async close(): Promise<void> {}

  #indexOf(position: number): number {
    let low = 0;
    let high = this.#starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#starts[middle] as number) <= position) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }
}
