import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seededRng, systemClock } from "@tidemark/clock";
import type { Migration } from "@tidemark/migrate";
import { MigrationEngine, resolveEngine } from "@tidemark/migrate/internal";
import Sqlite from "better-sqlite3";
import { inject, onTestFinished } from "vitest";
import { type Address, linkTo, type Link } from "./address.ts";
import { linkToPglite } from "./pglite.ts";
import type { EngineSetup } from "./scratch.ts";
import type { DialectName } from "./shared-tables.ts";

export type StageName = "sqlite" | "pg" | "postgres" | "pglite" | "mariadb";

/** A database of a test's own. */
export interface Stage {
  readonly dialect: DialectName;
  readonly address: Address | { readonly dialect: "postgresql" };
  /** Runs one statement beside the engine. */
  query(text: string): Promise<unknown[][]>;
  readonly database: Link["database"];
  /** An engine in this thread, closed after the test. */
  engine(definitions: readonly Migration[], setup?: EngineSetup): Promise<MigrationEngine>;
}

let next = 0;
const freshName = () => `test_${process.pid}_${next++}`;

async function addressOf(name: Exclude<StageName, "pglite">): Promise<Address> {
  const database = freshName();
  switch (name) {
    case "sqlite": {
      const folder = mkdtempSync(join(tmpdir(), "tidemark-migrate-"));
      onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
      const file = join(folder, "app.db");
      const db = new Sqlite(file);
      db.pragma("journal_mode = wal");
      db.close();
      return { dialect: "sqlite", file };
    }
    case "pg":
    case "postgres": {
      const folder = inject("postgresFolder");
      const root = await linkTo({ dialect: "postgresql", driver: "pg", folder, name: "postgres" });
      await root.query(`create database ${database}`);
      await root.end();
      return { dialect: "postgresql", driver: name, folder, name: database };
    }
    case "mariadb": {
      const socket = inject("mariadbSocket");
      const root = await linkTo({ dialect: "mysql", socket, name: "mysql" });
      await root.query(`create database ${database}`);
      await root.end();
      return { dialect: "mysql", socket, name: database };
    }
  }
}

/** Databases of servers stay until those end; a file goes with its test. */
export async function stageOn(name: StageName, statements: readonly string[] = []): Promise<Stage> {
  const address = name === "pglite" ? ({ dialect: "postgresql" } as const) : await addressOf(name);
  const link = "driver" in address || address.dialect !== "postgresql" ? await linkTo(address) : await linkToPglite();
  onTestFinished(() => link.end());
  for (const statement of statements) await link.query(statement);
  return {
    dialect: address.dialect,
    address,
    query: (text) => link.query(text),
    database: link.database,
    async engine(definitions, setup = {}) {
      const engine = await MigrationEngine.open({
        database: await link.open(),
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
    },
  };
}
