import type { GapReason } from "@tidemark/store-watch/contract";
import Database from "better-sqlite3";
import { keyText } from "../keys.ts";
import type { Replica, ReplicaGap, ReplicaVersion } from "./replica.ts";

interface VersionRow {
  readonly position: number;
  readonly epoch: string;
  readonly key: Buffer;
  readonly value: Buffer | null;
  readonly version: string;
  readonly via: ReplicaVersion["via"];
  readonly batch: number;
  readonly cursor: string;
}

interface GapRow {
  readonly reason: GapReason;
  readonly detail: string;
  readonly position: number;
  readonly from_cursor: string | null;
  readonly to_cursor: string | null;
}

interface StreamRow {
  readonly epoch: string | null;
  readonly cursor: string | null;
}

/**
 * Reads one stream of a replica through a connection of its own, in one read transaction, by the views that are documented
 * for everybody: nothing of the code that wrote it is trusted. The follower may go on meanwhile.
 */
export function readReplica(file: string, stream: string): Replica {
  const database = new Database(file, { readonly: true });
  try {
    return database.transaction(() => readAll(database, stream))();
  } finally {
    database.close();
  }
}

function readAll(database: Database.Database, stream: string): Replica {
  const versions = database
    .prepare<[string], VersionRow>(
      "select position, epoch, key, value, version, via, batch, cursor from history where stream = ? order by position",
    )
    .all(stream)
    .map(versionOf);
  const gaps = database
    .prepare<[string], GapRow>(
      "select reason, detail, position, from_cursor, to_cursor from gap_log where stream = ? order by id",
    )
    .all(stream)
    .map((row): ReplicaGap => ({ ...row, from: revisionOf(row.from_cursor), to: revisionOf(row.to_cursor) }));
  const current = database
    .prepare<[string], VersionRow>("select key, value, version from current where stream = ?")
    .all(stream)
    .map(({ key, value, version }): [string, { value: string; revision: bigint }] => [
      keyText(key),
      // The view promises values only; a null would be found as a wrong one.
      { value: value === null ? "(null)" : keyText(value), revision: sortableNumber(version) },
    ]);
  const epochs = database
    .prepare<[string], string>(
      "select e.identity from epochs e join streams s on s.id = e.stream where s.name = ? order by e.id",
    )
    .pluck()
    .all(stream) as string[];
  const at = database
    .prepare<[string], StreamRow>("select epoch, cursor from stream_status where stream = ?")
    .get(stream);
  const revision = revisionOf(at?.cursor ?? null);
  const epoch = at?.epoch ?? undefined;
  return {
    cursor: epoch === undefined || revision === undefined ? undefined : { epoch, revision },
    epochs,
    versions,
    gaps,
    current: new Map(current),
  };
}

function versionOf({ key, value, version, cursor, ...row }: VersionRow): ReplicaVersion {
  return {
    ...row,
    key: keyText(key),
    value: value === null ? undefined : keyText(value),
    revision: sortableNumber(version),
    cursor: sortableNumber(cursor),
  };
}

function revisionOf(cursor: string | null): bigint | undefined {
  return cursor === null ? undefined : sortableNumber(cursor);
}

/** A number as text that sorts: a letter that says how many digits follow, and the digits. */
function sortableNumber(text: string): bigint {
  if (!/^[a-z]\d+$/.test(text)) throw new Error(`"${text}" is not a revision as the etcd source writes it`);
  return BigInt(text.slice(1));
}
