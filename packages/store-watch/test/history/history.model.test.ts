import { join } from "node:path";
import Database from "better-sqlite3";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Frame } from "../../src/contract.ts";
import { check, DirectWriter, dump, removeDatabase } from "./direct.ts";
import { allCapabilities, temporaryFolder } from "./helpers.ts";
import { anyStep, Script, type Step } from "./script.ts";

const runs = process.env["TIDEMARK_LONG"] === "1" ? 3000 : 120;

interface Row {
  readonly key: Buffer;
  readonly epoch: string;
  readonly via: number;
  readonly version: string;
  readonly cursor: string;
  readonly value: Buffer | null;
}

/** Each key's history and the present state, read by nothing but SQL. */
function readHistory(file: string, isVersioned: boolean) {
  const db = new Database(file, { readonly: true });
  try {
    const rows = db
      .prepare(
        `SELECT o.key, e.identity AS epoch, v.via, v.version, b.cursor, v.value FROM versions v JOIN objects o ON o.id = v.object
         JOIN epochs e ON e.id = v.epoch JOIN batches b ON b.id = v.batch ORDER BY v.pos`,
      )
      .all() as Row[];
    const history = new Map<string, string[]>();
    for (const row of rows) {
      const key = row.key.toString("latin1");
      const via = ["stream", "snapshot", "sweep"][row.via - 1];
      const version = isVersioned ? row.version : "-";
      const value = row.value === null ? "deleted" : `=${row.value.toString("latin1")}`;
      history.set(key, [...(history.get(key) ?? []), `${row.epoch} ${via} ${version} ${row.cursor} ${value}`]);
    }
    const current = db.prepare("SELECT key, value FROM current").all() as { key: Buffer; value: Buffer }[];
    const gaps = db.prepare(
      "SELECT reason || ' ' || from_cursor || ' ' || ifnull(to_cursor, '') FROM gaps ORDER BY id",
    );
    return {
      history,
      current: new Map(current.map(({ key, value }) => [key.toString("latin1"), value.toString("latin1")])),
      gaps: gaps.pluck().all() as string[],
      stream: db
        .prepare("SELECT s.cursor, e.identity AS epoch, s.quarantined FROM streams s JOIN epochs e ON e.id = s.epoch")
        .get(),
    };
  } finally {
    db.close();
  }
}

/** Cuts the frames after those numbers, taken modulo the length. */
function cut(frames: readonly Frame[], cuts: readonly number[]): Frame[][] {
  const ends = [...new Set(cuts.map((number) => number % (frames.length + 1)))].sort((a, b) => a - b);
  let from = 0;
  const buffers = [...ends, frames.length].map((to) => {
    const buffer = frames.slice(from, to);
    from = to;
    return buffer;
  });
  return buffers;
}

function write(file: string, frames: readonly Frame[], cuts: readonly number[], isVersioned: boolean): void {
  const capabilities = { ...allCapabilities, versioned: isVersioned, resumable: isVersioned };
  // So few that objects are forgotten and looked up again all the time.
  const writer = new DirectWriter(file, { capabilities, cacheBytes: 1000 });
  try {
    for (const buffer of cut(frames, cuts)) writer.append(buffer);
  } finally {
    writer.close();
  }
}

const anyCuts = fc.array(fc.nat({ max: 400 }), { maxLength: 12 });

function holds(folder: string, isVersioned: boolean) {
  let round = 0;
  return (steps: readonly Step[], cuts: readonly number[], otherCuts: readonly number[]) => {
    const script = new Script({ isVersioned });
    for (const step of steps) script.run(step);
    const file = join(folder, `${round++}.db`);
    try {
      write(file, script.frames, cuts, isVersioned);
      const found = readHistory(file, isVersioned);
      expect(found.history).toEqual(script.expected);
      const live = [...script.known].filter(([, { value }]) => value !== undefined);
      expect(found.current).toEqual(new Map(live.map(([key, { value }]) => [key, value])));
      expect(found.gaps).toEqual(script.gaps);
      expect(found.stream).toMatchObject({ cursor: script.cursor, epoch: script.epoch });
      expect(check(file).findings).toEqual([]);
      const first = dump(file);
      removeDatabase(file);
      write(file, script.frames, otherCuts, isVersioned);
      expect(dump(file)).toEqual(first);
    } finally {
      removeDatabase(file);
    }
  };
}

test("whatever a source does and however its frames are cut, the history is what it did", {
  timeout: 3_600_000,
}, () => {
  const property = holds(temporaryFolder({ isInMemory: true }), true);
  fc.assert(fc.property(fc.array(anyStep, { maxLength: 25 }), anyCuts, anyCuts, property), { numRuns: runs });
});

test("a source without versions has a version for every change of a value", { timeout: 3_600_000 }, () => {
  const property = holds(temporaryFolder({ isInMemory: true }), false);
  fc.assert(fc.property(fc.array(anyStep, { maxLength: 25 }), anyCuts, anyCuts, property), { numRuns: runs });
});
