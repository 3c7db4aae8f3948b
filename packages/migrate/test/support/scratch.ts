import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seededRng, systemClock } from "@tidemark/clock";
import { type EngineOptions, type Migration, type ThrottleSignal } from "@tidemark/migrate";
import { MigrationEngine, openSqlite, resolveEngine, type RunPoint } from "@tidemark/migrate/internal";
import Database from "better-sqlite3";
import { onTestFinished } from "vitest";

/** A database in a file of its own, gone after the test. */
export function scratch(journalMode = "wal"): { readonly file: string; readonly db: Database.Database } {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-migrate-"));
  const file = join(folder, "app.db");
  const db = new Database(file);
  db.pragma(`journal_mode = ${journalMode}`);
  db.pragma("synchronous = off");
  db.pragma("busy_timeout = 10000");
  onTestFinished(() => {
    db.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return { file, db };
}

export interface EngineSetup extends EngineOptions {
  readonly probe?: (point: RunPoint) => void;
  readonly signals?: readonly ThrottleSignal[];
  readonly clock?: typeof systemClock;
  readonly owner?: string;
  readonly isShared?: boolean;
  readonly busyTimeoutMs?: number;
  readonly driver?: "better-sqlite3" | "node:sqlite";
}

/** An engine in this thread, closed after the test. */
export async function engineOn(
  file: string,
  definitions: readonly Migration[],
  setup: EngineSetup = {},
): Promise<MigrationEngine> {
  const { busyTimeoutMs = 5000, driver } = setup;
  const database = await openSqlite({ dialect: "sqlite", file, busyTimeoutMs, ...(driver && { driver }) });
  const engine = await MigrationEngine.open({
    database,
    definitions,
    options: resolveEngine({ pollMs: 5, signalIntervalMs: 5, ...setup }),
    clock: setup.clock ?? systemClock,
    rng: seededRng(1),
    owner: setup.owner ?? "test",
    signals: setup.signals ?? [],
    isShared: setup.isShared ?? false,
    ...(setup.probe && { probe: setup.probe }),
  });
  onTestFinished(() => engine.close());
  return engine;
}

/** No waits between chunks; and a total, also where the machine stands still while rows are counted. */
export const eager = { nice: 0, minGapMs: 0, maxGapMs: 0, maxCountMs: 60_000 } as const;

/** `n` integers from 1. */
export const upTo = (n: number): number[] => Array.from({ length: n }, (_, index) => index + 1);
