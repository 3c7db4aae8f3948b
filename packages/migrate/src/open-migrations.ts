import { hostname } from "node:os";
import { type Clock, type Rng, systemClock, systemRng } from "@tidemark/clock";
import { isMigration, type Migration } from "./definition.ts";
import { MigrationEngine } from "./engine.ts";
import { type EngineOptions, resolveEngine } from "./engine-options.ts";
import { loadDefinitions } from "./load-definitions.ts";
import type { Database } from "./dialect.ts";
import { MigrateError } from "./migrate-error.ts";
import type { Migrations } from "./migrations.ts";
import { type MysqlDatabase, openMysql } from "./mysql/open-mysql.ts";
import { openPostgres, type PostgresDatabase } from "./postgres/open-postgres.ts";
import { openSignals } from "./signals/own-signals.ts";
import { resolveSignals, type SignalOption } from "./signals/signal-request.ts";
import { checkSqliteFile, openSqlite, type SqliteFile } from "./sqlite/open-sqlite.ts";
import { ThreadedMigrations } from "./threaded-migrations.ts";

/** Which migrations, where, and how. */
export interface OpenMigrationsOptions extends EngineOptions {
  /** SQLite: a file. PostgreSQL, MySQL and MariaDB: the pool of your driver. */
  readonly database: SqliteFile | PostgresDatabase | MysqlDatabase;
  /**
   * A module or a folder of modules that export definitions; or, with `thread: "caller"`, the definitions themselves.
   * Functions cannot be sent to a thread, so a thread loads them.
   */
  readonly definitions: URL | string | readonly Migration[];
  /**
   * `worker`: in a thread, so that neither SQLite nor a mapper ever holds up the event loop. `caller`: here, for tests
   * and small tables; the event loop stands still for up to `targetMs` at a time, and for as long as another process
   * writes. PostgreSQL and MySQL are asked from here: their drivers wait without blocking, and a pool cannot be sent.
   * @default "worker" for SQLite, else "caller"
   */
  readonly thread?: "worker" | "caller";
  /**
   * What may suffer from a run, and stops it while it does: names, with limits or without, of what the engine reads by
   * itself, and signals of your own, which are read in this thread. The WAL of SQLite is watched in any case.
   */
  readonly signals?: readonly SignalOption[];
  /** With `thread: "caller"`. @default the machine's */
  readonly clock?: Clock;
  /** @default the machine's randomness */
  readonly rng?: Rng;
}

/**
 * Opens the migrations of a database: prepares the books, registers the definitions, and returns. It looks at no row of
 * any table, however large. Nothing runs before `start()` or `run()`.
 *
 * @throws {MigrateError} `OPTIONS_INVALID`, `DATABASE_UNFIT`, `DRIVER_MISSING`, `DEFINITIONS_INVALID`, `SQL_FAILED`
 */
export async function openMigrations(options: OpenMigrationsOptions): Promise<Migrations> {
  const { database, definitions, signals = [], clock = systemClock, rng = systemRng } = options;
  const isFile = database.dialect === "sqlite";
  const { thread = isFile ? "worker" : "caller" } = options;
  const resolved = resolveEngine(options);
  if (isFile) checkSqliteFile(database);
  const watched = resolveSignals(database.dialect, signals, resolved);
  const owner = `${hostname()}:${process.pid}:${rng.uint32().toString(36)}`;
  if (thread === "caller") {
    const loaded = isList(definitions) ? definitions : await loadDefinitions(String(definitions));
    const opened = await openDatabase(database, clock);
    const own = openSignals(watched, opened, clock, isFile ? database : undefined);
    try {
      return await MigrationEngine.open({
        database: opened,
        definitions: loaded,
        options: resolved,
        clock,
        rng,
        owner,
        signals: own.signals,
        limits: watched.limits,
        closeSignals: () => own.close(),
        isShared: isFile,
      });
    } catch (error) {
      await own.close();
      await opened.connection.close();
      throw error;
    }
  }
  if (!isFile) {
    const message = `thread must be "caller" for ${database.dialect}: a pool cannot be sent to a thread`;
    throw new MigrateError("OPTIONS_INVALID", message);
  }
  if (isList(definitions)) {
    throw new MigrateError(
      "OPTIONS_INVALID",
      "definitions must be the path or URL of a module or folder, because a worker thread cannot be sent functions; " +
        'or say thread: "caller"',
    );
  }
  const start = { database, definitions: String(definitions), options: resolved, owner };
  return ThreadedMigrations.open(start, watched);
}

/** The connection of an engine, or of a reader. @throws {MigrateError} */
export async function openDatabase(database: OpenMigrationsOptions["database"], clock: Clock): Promise<Database> {
  switch (database.dialect) {
    case "sqlite":
      return openSqlite(database);
    case "postgresql":
      return openPostgres(database, clock);
    case "mysql":
      return openMysql(database, clock);
    default: {
      const { dialect } = database as { readonly dialect?: unknown };
      throw new MigrateError(
        "OPTIONS_INVALID",
        `database.dialect must be sqlite, postgresql or mysql, got ${String(dialect)}`,
      );
    }
  }
}

function isList(definitions: OpenMigrationsOptions["definitions"]): definitions is readonly Migration[] {
  if (!Array.isArray(definitions)) return false;
  const other: unknown = definitions.find((each) => !isMigration(each));
  if (other === undefined) return true;
  throw new MigrateError("OPTIONS_INVALID", `definitions must be made with defineMigration(), got ${typeof other}`);
}
