import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { onTestFinished } from "vitest";
import type { ChangeFrame, Frame, SourceCapabilities } from "../../src/contract.ts";
import { sortableInteger } from "../../src/cursor.ts";
import { openHistory } from "../../src/history/history.ts";
import { bufferOf } from "./helpers-frames.ts";
import type {
  AppendResult,
  History,
  HistoryStream,
  OpenStreamOptions,
  VersionRecord,
} from "../../src/history-types.ts";

export { bufferOf };

export const allCapabilities: SourceCapabilities = {
  resumable: true,
  transactional: true,
  tombstones: true,
  snapshotMarker: true,
  tooOldSignal: true,
  ordered: true,
  versioned: true,
};

export function streamOptions(name = "s", more: Partial<OpenStreamOptions> = {}): OpenStreamOptions {
  return { name, kind: "test", description: "a test", scope: "all", capabilities: allCapabilities, ...more };
}

/** A folder that is gone after the test; in memory where there is such a thing, for what opens hundreds of databases. */
export function temporaryFolder(options: { readonly isInMemory?: boolean } = {}): string {
  const parent = options.isInMemory === true && existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
  const folder = mkdtempSync(join(parent, "tidemark-history-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export function temporaryFile(): string {
  return join(temporaryFolder(), "history.db");
}

/** A history that is closed after the test. */
export async function openedHistory(options: Partial<Parameters<typeof openHistory>[0]> = {}): Promise<{
  readonly history: History;
  readonly file: string;
}> {
  const file = options.file ?? temporaryFile();
  const history = await openHistory({ ...options, file });
  onTestFinished(() => history.close());
  return { history, file };
}

export const bytes = (text: string) => new Uint8Array(Buffer.from(text, "latin1"));
export const text = (value: Uint8Array | undefined) =>
  value === undefined ? undefined : Buffer.from(value).toString("latin1");

export function append(stream: HistoryStream, frames: Iterable<Frame>): Promise<AppendResult> {
  return stream.append(bufferOf(frames));
}

export const at = sortableInteger;

/** `put("k", "v", 3)`: key k has value v since version 3. */
export function put(key: string, value: string, version?: number, more: Partial<ChangeFrame> = {}): Frame {
  return {
    type: "change",
    key: bytes(key),
    value: bytes(value),
    ...(version !== undefined && { version: at(version) }),
    ...more,
  };
}

export function remove(key: string, version?: number): Frame {
  return { type: "change", key: bytes(key), value: undefined, ...(version !== undefined && { version: at(version) }) };
}

export const commit = (cursor: number): Frame => ({ type: "commit", cursor: at(cursor) });
export const progress = (cursor: number): Frame => ({ type: "progress", cursor: at(cursor) });
export const reset = (epoch: string): Frame => ({ type: "reset", epoch });
export const discard: Frame = { type: "discard" };
export const begin = (epoch: string): Frame => ({ type: "begin-snapshot", epoch });
export const end = (cursor: number): Frame => ({ type: "snapshot-end", cursor: at(cursor) });

/** What a version says, in a form that reads well in a failure. */
export function brief(version: VersionRecord): string {
  const value = version.kind === "delete" ? "deleted" : `= ${text(version.value)}`;
  return `${version.position} ${text(version.key)} ${value} (${version.version}, ${version.via})`;
}

/** key → value of everything that is live. */
export async function state(history: History, options: Parameters<History["list"]>[1] = {}, stream?: string) {
  const found: Record<string, string> = {};
  for (let after: string | undefined; ; ) {
    const page = await history.list(stream === undefined ? {} : { stream }, {
      ...options,
      ...(after !== undefined && { after }),
    });
    for (const item of page.items) found[text(item.key) as string] = text(item.value) as string;
    after = page.next;
    if (after === undefined) return found;
  }
}

/** Looks at the database as any SQLite tool would. */
export function plain<T>(file: string, look: (db: Database.Database) => T): T {
  const db = new Database(file);
  try {
    return look(db);
  } finally {
    db.close();
  }
}
