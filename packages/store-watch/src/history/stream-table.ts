import type Database from "better-sqlite3";
import type { Cursor, GapReason, ResumePoint, SourceCapabilities } from "../contract.ts";
import type { OpenStreamOptions } from "../history-types.ts";
import type { AppendStats, StreamState } from "./stream-state.ts";

interface StreamRow {
  readonly id: number;
  readonly name: string;
  readonly capabilities: string;
  readonly kind: string;
  readonly scope: string;
  readonly epoch: number | null;
  readonly identity: string | null;
  readonly cursor: string | null;
  readonly keys: number;
  readonly versions: number;
  readonly gaps: number;
  readonly quarantined: number;
  readonly last_commit_at: number | null;
}

/** What a stream's row says about where it stands. */
export type StreamColumns = Pick<
  StreamState,
  "name" | "capabilities" | "epoch" | "cursor" | "keys" | "versions" | "gaps" | "quarantined" | "lastCommitAt"
>;

/** Streams, their epochs and their gaps. Runs within the writer's transaction. */
export class StreamTable {
  readonly #select: Database.Statement<unknown[], StreamRow>;
  readonly #selectById: Database.Statement<unknown[], StreamRow>;
  readonly #insert: Database.Statement;
  readonly #describe: Database.Statement;
  readonly #save: Database.Statement;
  readonly #insertEpoch: Database.Statement;
  readonly #insertGap: Database.Statement;
  readonly #knownGap: Database.Statement<unknown[], number>;
  readonly #explainGap: Database.Statement;

  constructor(db: Database.Database) {
    const columns = `SELECT s.id, s.name, s.capabilities, s.kind, s.scope, s.epoch, e.identity, s.cursor, s.keys, s.versions, s.gaps,
      s.quarantined, s.last_commit_at FROM streams s LEFT JOIN epochs e ON e.id = s.epoch`;
    this.#select = db.prepare(`${columns} WHERE s.name = ?`);
    this.#selectById = db.prepare(`${columns} WHERE s.id = ?`);
    this.#insert = db.prepare(
      "INSERT INTO streams (name, kind, description, scope, capabilities) VALUES (?, ?, ?, ?, ?)",
    );
    this.#describe = db.prepare(
      "UPDATE streams SET kind = ?, description = ?, scope = ?, capabilities = ? WHERE id = ?",
    );
    this.#save = db.prepare(
      `UPDATE streams SET epoch = ?, cursor = ?, keys = ?, versions = ?, gaps = ?, quarantined = ?, last_commit_at = ?
       WHERE id = ?`,
    );
    this.#insertEpoch = db.prepare("INSERT INTO epochs (stream, identity, began_at, reason) VALUES (?, ?, ?, ?)");
    this.#insertGap = db.prepare(
      `INSERT INTO gaps (stream, epoch, reason, detail, from_cursor, to_cursor, position, at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#knownGap = db
      .prepare<unknown[], number>(
        `SELECT 1 FROM gaps WHERE stream = ? AND epoch IS ? AND reason = ? AND from_cursor IS ? AND to_cursor IS ?
         AND (? OR position = ?) LIMIT 1`,
      )
      .pluck();
    this.#explainGap = db.prepare(
      "UPDATE gaps SET detail = ?, from_cursor = ifnull(?, from_cursor), to_cursor = ? WHERE id = ?",
    );
  }

  /** Finds or makes the row, and tells whether what it is about has changed. */
  open(options: OpenStreamOptions): { readonly id: number; readonly previous: StreamRow | undefined } {
    const { name, kind, description, scope } = options;
    const capabilities = JSON.stringify(options.capabilities);
    const previous = this.#select.get(name);
    if (previous === undefined) {
      const { lastInsertRowid } = this.#insert.run(name, kind, description, scope, capabilities);
      return { id: lastInsertRowid as number, previous: undefined };
    }
    this.#describe.run(kind, description, scope, capabilities, previous.id);
    return { id: previous.id, previous };
  }

  load(id: number): StreamColumns {
    const row = this.#selectById.get(id) as StreamRow;
    return {
      name: row.name,
      capabilities: JSON.parse(row.capabilities) as SourceCapabilities,
      epoch: row.epoch === null ? undefined : { id: row.epoch, identity: row.identity as string },
      cursor: row.cursor ?? undefined,
      keys: row.keys,
      versions: row.versions,
      gaps: row.gaps,
      quarantined: row.quarantined,
      lastCommitAt: row.last_commit_at ?? undefined,
    };
  }

  save(stream: StreamState): void {
    this.#save.run(
      stream.epoch?.id ?? null,
      stream.cursor ?? null,
      stream.keys,
      stream.versions,
      stream.gaps,
      stream.quarantined,
      stream.lastCommitAt ?? null,
      stream.id,
    );
  }

  /**
   * Goes over to another epoch: cursors from before mean nothing in it. If nothing said so before, a gap does now,
   * because what happened in between is unknown.
   */
  enterEpoch(stream: StreamState, identity: string, position: number, now: number, stats: AppendStats): void {
    const { epoch } = stream;
    if (epoch?.identity === identity) return;
    // Without a cursor the loss is on record since that was given up.
    if (epoch !== undefined && !stream.isAfterGap && stream.cursor !== undefined) {
      const detail = `the source's history is now ${identity}, it was ${epoch.identity}`;
      stream.ownGap = this.addGap(stream, "epoch-changed", detail, stream.cursor, undefined, position, now, stats);
    }
    const reason = epoch === undefined ? "first" : "changed";
    const { lastInsertRowid } = this.#insertEpoch.run(stream.id, identity, now, reason);
    stream.epoch = { id: lastInsertRowid as number, identity };
    stream.cursor = undefined;
  }

  /** Records that changes were lost; the same gap is recorded once. Returns the row's id, undefined if it was known. */
  addGap(
    stream: StreamState,
    reason: GapReason,
    detail: string,
    from: Cursor | undefined,
    to: Cursor | undefined,
    position: number,
    now: number,
    stats: AppendStats,
  ): number | undefined {
    stream.isAfterGap = true;
    if (reason === "epoch-changed" && stream.ownGap !== undefined) {
      this.#explainGap.run(detail, from ?? null, to ?? null, stream.ownGap);
      stream.ownGap = undefined;
      return undefined;
    }
    const start = from ?? stream.cursor ?? null;
    const isExact = from !== undefined && to !== undefined;
    const epoch = stream.epoch?.id ?? null;
    const known = this.#knownGap.get(stream.id, epoch, reason, start, to ?? null, isExact ? 1 : 0, position);
    if (known !== undefined) return undefined;
    const row = this.#insertGap.run(stream.id, epoch, reason, detail, start, to ?? null, position, now);
    stream.gaps++;
    stats.gaps++;
    return row.lastInsertRowid as number;
  }
}

export function resumeOf(stream: Pick<StreamState, "epoch" | "cursor">): ResumePoint | undefined {
  const { epoch, cursor } = stream;
  return epoch === undefined || cursor === undefined ? undefined : { epoch: epoch.identity, cursor };
}

/** Whether the stream still watches what its cursor was made for. */
export function isSameScope(
  row: { readonly kind: string; readonly scope: string },
  options: OpenStreamOptions,
): boolean {
  return row.kind === options.kind && row.scope === options.scope;
}

/** Whether a boundary with this cursor repeats what was committed: only then, and only where cursors can say so (V1). */
export function isReplay(
  stream: Pick<StreamState, "cursor">,
  capabilities: SourceCapabilities,
  cursor: Cursor,
): boolean {
  return capabilities.resumable && stream.cursor !== undefined && cursor < stream.cursor;
}
