import { rmSync } from "node:fs";
import Database from "better-sqlite3";
import type { Frame } from "../../src/contract.ts";
import { checkDatabase } from "../../src/history/fsck.ts";
import { HistoryWriter } from "../../src/history/writer.ts";
import type { FsckReport, OpenStreamOptions } from "../../src/history-types.ts";
import { bufferOf, streamOptions } from "./helpers.ts";

// The writer without its thread: the same code, a hundred times a second.

export class DirectWriter {
  readonly file: string;
  readonly writer: HistoryWriter;
  readonly #opened;

  constructor(file: string, options: Partial<OpenStreamOptions> & { readonly cacheBytes?: number } = {}) {
    const { cacheBytes, ...more } = options;
    this.file = file;
    this.writer = new HistoryWriter({
      file,
      synchronous: "normal",
      origin: "test",
      ...(cacheBytes !== undefined && { cacheBytes }),
    });
    this.#opened = this.writer.openStream(streamOptions("s", more), 1000);
  }

  append(frames: readonly Frame[], nowMs = 1000) {
    const { id: stream, token } = this.#opened;
    const output = this.writer.append({ stream, token, parts: bufferOf(frames).toTransfer(), nowMs });
    if (output.error !== undefined) throw Object.assign(new Error(output.error.message), { record: output.error });
    return output;
  }

  close(): void {
    this.writer.close();
  }
}

export function check(file: string): FsckReport {
  const db = new Database(file, { readonly: true });
  try {
    return checkDatabase(db);
  } finally {
    db.close();
  }
}

export function removeDatabase(file: string): void {
  for (const suffix of ["", "-wal", "-shm", "-lock"]) rmSync(`${file}${suffix}`, { force: true });
}

/** Everything that the frames decide, and nothing that the clock or the cutting of buffers does. */
export function dump(file: string): Record<string, unknown[]> {
  const db = new Database(file, { readonly: true });
  try {
    const all = (query: string) => db.prepare(query).raw().all();
    return {
      versions:
        all(`SELECT v.pos, quote(o.key), v.gen, e.identity, v.parent, v.level, v.via, v.version, quote(v.value), v.batch
        FROM versions v JOIN objects o ON o.id = v.object JOIN epochs e ON e.id = v.epoch ORDER BY v.pos`),
      objects: all("SELECT quote(key), head, is_deleted, seen FROM objects ORDER BY key"),
      batches: all("SELECT id, epoch, cursor, first_pos, count, kind FROM batches ORDER BY id"),
      streams: all("SELECT name, epoch, cursor, keys, versions, gaps, quarantined FROM streams"),
      epochs: all("SELECT id, identity, reason FROM epochs ORDER BY id"),
      gaps: all("SELECT epoch, reason, detail, from_cursor, to_cursor, position FROM gaps ORDER BY id"),
      quarantine: all(
        "SELECT quote(key), quote(value), version, cursor, position, state, resolution FROM quarantine ORDER BY id",
      ),
    };
  } finally {
    db.close();
  }
}
