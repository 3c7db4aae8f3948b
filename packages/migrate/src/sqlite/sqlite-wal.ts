import type { SqlQuery } from "../connection.ts";
import type { SqliteClient } from "./sqlite-client.ts";

/** Whoever makes the WAL so many pages long moves them, unless told otherwise. */
export const autoCheckpointPages = 1000;
/** How long chunks let the WAL become at least and at most. Each time it is emptied costs three waits for the disk. */
const minWalPages = 256;
const maxWalPages = 900;
/** The next chunk may leave so many times what the last ones have left: it may be that much larger. */
const growthAhead = 1.2;
/** How often it is tried to empty the WAL while others write into it, before the next chunk: each costs waits for the disk. */
const maxAttempts = 2;
/** Since this SQLite a checkpoint can be asked how much there would be to do. */
const asksSince = [3, 51];
/** Without that, so many chunks are waited for. */
const maxChunks = 32;

/** Pages in the WAL, and how many of them the database has too. */
interface Filling {
  readonly inWal: number;
  readonly moved: number;
}

/** Empties the WAL between chunks, before somebody else's commit has to. */
export class SqliteWal {
  readonly #client: SqliteClient;
  /** Undefined: not known yet. */
  #asks: boolean | undefined;
  #chunks = 0;
  /** Pages in the WAL at the last look, and how many more they are from one look to the next. */
  #inWal = 0;
  #growth = 0;

  constructor(client: SqliteClient) {
    this.#client = client;
  }

  /**
   * Moves the pages into the database, which takes two waits for the disk and no lock, and then says `mark`, a statement that
   * writes: whoever writes first after that begins the WAL anew and waits for the disk once more, with the lock. That had
   * better be this than a chunk, which is longer, or somebody else.
   */
  tidyUp(mark: () => SqlQuery): void {
    this.#asks ??= isAtLeast(String(this.#first("select sqlite_version()")[0]), asksSince);
    if (!this.#asks) {
      if (++this.#chunks % maxChunks === 0) this.#empty(mark);
      return;
    }
    const { inWal } = this.#look();
    if (this.#isDue(inWal) && this.#empty(mark)) this.#inWal = 0;
  }

  /** As late as leaves room for one more chunk before somebody else's commit would have to do it. */
  #isDue(inWal: number): boolean {
    const more = inWal >= this.#inWal ? inWal - this.#inWal : inWal;
    this.#inWal = inWal;
    this.#growth = Math.max(more, this.#growth * 0.9);
    const room = autoCheckpointPages - growthAhead * this.#growth;
    return inWal >= Math.min(Math.max(room, minWalPages), maxWalPages);
  }

  /** Whether the WAL began anew. */
  #empty(mark: () => SqlQuery): boolean {
    let before = -1;
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const { inWal, moved } = this.#move();
      // A reader who is in the middle of it keeps the rest there, and will for a while.
      if (moved < inWal && moved === before) return false;
      before = moved;
      // Somebody has written meanwhile: that is little, and quick to move.
      if (moved < inWal) continue;
      const { sql, params } = mark();
      this.#client.execute(sql, params);
      // A reader who looked into the WAL just then keeps it from beginning anew.
      if (this.#asks !== true || this.#look().inWal < inWal) return true;
    }
    return false;
  }

  #look(): Filling {
    return this.#filling("pragma wal_checkpoint(noop)");
  }

  #move(): Filling {
    return this.#filling("pragma wal_checkpoint(passive)");
  }

  #filling(pragma: string): Filling {
    const [, inWal, moved] = this.#first(pragma).map(Number);
    return { inWal: inWal ?? 0, moved: moved ?? 0 };
  }

  #first(text: string) {
    return this.#client.execute(text, []).rows[0] ?? [];
  }
}

function isAtLeast(version: string, [major = 0, minor = 0]: readonly number[]): boolean {
  const [itsMajor = 0, itsMinor = 0] = version.split(".").map(Number);
  return itsMajor > major || (itsMajor === major && itsMinor >= minor);
}
