import type { Clock, Timer } from "@tidemark/clock";
import type { MigrationEvent, MigrationReader, Migrations, MigrationStatus, QuarantinedRow } from "@tidemark/migrate";
import { createMigrationSource, type MigrationSource, TtlCache } from "@tidemark/status";
import {
  type DatabaseAddress,
  type OpenedDatabase,
  openDatabaseAt,
  parseDatabaseUrl,
} from "../cli/migrate/database-url.ts";
import type { MigrationDatabaseSettings } from "../config/migrations-settings.ts";
import { DaemonError } from "../daemon-error.ts";
import { redact } from "../redact.ts";
import type { Logger } from "./log.ts";
import type { Traces } from "./traces.ts";

export type MigrationAction = "pause" | "resume" | "cancel" | "retry";

export interface MigrationDatabaseReport {
  readonly name: string;
  /** Why it cannot be read; undefined when it can. */
  readonly problem: string | undefined;
  readonly migrations: readonly MigrationStatus[];
}

/** A SQLite file of the daemon's own, which is used while migrations bring it up to date. */
export interface OwnDatabase {
  /** How it is called on the page. */
  readonly label: string;
  readonly file: string;
  /** Address of the module with the definitions. */
  readonly definitions: string;
  /** Takes into use what they did. Called when all of them are done, again where it failed. */
  readonly onDone: () => Promise<void>;
}

export interface MigrationBoardOptions {
  readonly databases: readonly MigrationDatabaseSettings[];
  /** @default none */
  readonly own?: readonly OwnDatabase[];
  readonly log: Logger;
  readonly clock: Clock;
  readonly traces: Pick<Traces, "follow">;
}

/** How long until a database whose migrations are worked on, and that cannot be reached, is tried again. */
const reopenMs = 5_000;
const freshMs = 500;
const readTimeoutMs = 5_000;

/** The migrations of several databases: shown, controlled, and worked on where the definitions are here. */
export class MigrationBoard {
  readonly #databases: readonly BoardDatabase[];
  /** For `/healthz`, the banner and the metrics. One that cannot be read makes all of it unreadable: nobody may be told that nothing runs. */
  readonly source: MigrationSource;

  /** @throws {DaemonError} `USAGE` for an address that is none. */
  constructor({ databases, own = [], log, clock, traces }: MigrationBoardOptions) {
    const entries: readonly BoardEntry[] = [
      ...own.map(({ label, file, ...rest }) => ({
        address: { dialect: "sqlite", label, location: file } as const,
        ...rest,
      })),
      ...databases.map(({ url, folder }) => ({ address: parseDatabaseUrl(url), definitions: folder })),
    ];
    this.#databases = entries.map((entry) => new BoardDatabase(entry, { log, clock, traces }));
    const isOnly = entries.length === 1;
    this.source = createMigrationSource({
      timeoutMs: readTimeoutMs + 1_000,
      clock,
      read: async () => {
        const lists = await Promise.all(
          this.#databases.map(async (database) => {
            const statuses = await database.list();
            return isOnly ? statuses : statuses.map((each) => ({ ...each, name: `${database.name}: ${each.name}` }));
          }),
        );
        return lists.flat();
      },
    });
  }

  get size(): number {
    return this.#databases.length;
  }

  /** Begins to work where definitions are. Does not wait, and does not give up. */
  start(): void {
    for (const database of this.#databases) database.start();
  }

  report(): Promise<readonly MigrationDatabaseReport[]> {
    return Promise.all(
      this.#databases.map(async (database) => {
        try {
          return { name: database.name, problem: undefined, migrations: await database.list() };
        } catch (error) {
          return { name: database.name, problem: problemOf(error), migrations: [] };
        }
      }),
    );
  }

  /** @throws {DaemonError} `NOT_FOUND`, `MIGRATION_REFUSED`, `UNREACHABLE`, `DATABASE` */
  async control(database: string, name: string, action: MigrationAction): Promise<MigrationStatus> {
    return this.#find(database).use(async (migrations) => {
      await migrations[action](name);
      return migrations.get(name);
    });
  }

  /** @throws {DaemonError} as {@link control} */
  quarantined(database: string, name: string): Promise<readonly QuarantinedRow[]> {
    return this.#find(database).use((migrations) => migrations.quarantined(name));
  }

  /** @throws {DaemonError} as {@link control} */
  skip(database: string, name: string, key: string): Promise<void> {
    return this.#find(database).use((migrations) => migrations.skipQuarantined(name, key));
  }

  async close(): Promise<void> {
    await Promise.all(this.#databases.map((database) => database.close()));
  }

  #find(name: string): BoardDatabase {
    const found = this.#databases.find((database) => database.name === name);
    if (found !== undefined) return found;
    const names = this.#databases.map((database) => database.name).join(", ") || "none";
    throw new DaemonError("NOT_FOUND", `There is no database ${JSON.stringify(name)}; there is ${names}.`);
  }
}

interface Connection {
  readonly opened: OpenedDatabase;
  readonly reader: MigrationReader;
  /** Undefined until somebody wants to change something. */
  migrations: Promise<Migrations> | undefined;
}

interface BoardEntry {
  readonly address: DatabaseAddress;
  /** A folder or module; undefined: others have them. */
  readonly definitions: string | undefined;
  readonly onDone?: () => Promise<void>;
}

class BoardDatabase {
  /** Without user and password. */
  readonly name: string;
  readonly #entry: BoardEntry;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #traces: Pick<Traces, "follow">;
  readonly #cache: TtlCache<MigrationStatus[]>;
  #connection: Promise<Connection> | undefined;
  #again: Timer | undefined;
  #lastProblem = "";
  #isClosed = false;

  constructor(entry: BoardEntry, { log, clock, traces }: Pick<MigrationBoardOptions, "log" | "clock" | "traces">) {
    this.#entry = entry;
    this.name = entry.address.label;
    this.#log = log;
    this.#clock = clock;
    this.#traces = traces;
    this.#cache = new TtlCache({
      name: `The list of migrations of ${this.name}`,
      load: () => this.#list(),
      ttlMs: freshMs,
      timeoutMs: readTimeoutMs,
      clock,
    });
  }

  start(): void {
    if (this.#entry.definitions === undefined || this.#isClosed) return;
    this.#work().catch((error: unknown) => {
      if (this.#isClosed) return;
      const problem = problemOf(error);
      // Once, however long it lasts.
      if (problem !== this.#lastProblem) {
        this.#log.warn({ database: this.name, problem }, "migrations cannot be worked on; it is tried until it works");
      }
      this.#lastProblem = problem;
      this.#again = this.#clock.setTimer(reopenMs, () => this.start());
      this.#again.unref();
    });
  }

  list(): Promise<readonly MigrationStatus[]> {
    return this.#cache.get();
  }

  /** Runs a command, and shows what it changed to the next who looks. */
  async use<T>(command: (migrations: Migrations) => Promise<T>): Promise<T> {
    try {
      return await command(await this.#hands());
    } catch (error) {
      throw await toldError(error);
    } finally {
      this.#cache.invalidate();
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#again?.cancel();
    const connection = await this.#connection?.catch(() => undefined);
    if (connection === undefined) return;
    const migrations = await connection.migrations?.catch(() => undefined);
    await migrations?.close();
    await connection.reader.close();
    await connection.opened.close();
  }

  /** Whoever has the definitions knows what waits for what; everybody else reads the books. */
  async #list(): Promise<MigrationStatus[]> {
    const { reader, migrations } = await this.#open();
    if (this.#entry.definitions === undefined || migrations === undefined) return reader.list();
    const opened = await migrations.catch(() => undefined);
    return (opened ?? reader).list();
  }

  async #work(): Promise<void> {
    const migrations = await this.#hands();
    const { definitions, onDone } = this.#entry;
    this.#traces.follow(this.name, migrations);
    if (onDone !== undefined) void this.#finish(migrations, migrations.events(), onDone);
    migrations.start();
    this.#lastProblem = "";
    this.#log.info({ database: this.name, definitions }, "working on migrations");
  }

  /** Looks once, since they may have been done before, and again with whatever happens to them. */
  async #finish(
    migrations: Migrations,
    events: AsyncIterable<MigrationEvent>,
    onDone: () => Promise<void>,
  ): Promise<void> {
    try {
      const names = (await migrations.list()).map(({ name }) => name);
      if (await this.#isFinished(migrations, names, onDone)) return;
      for await (const { type } of events) {
        if (type === "progress") continue;
        if (await this.#isFinished(migrations, names, onDone)) return;
      }
    } catch (error) {
      if (!this.#isClosed)
        this.#log.warn({ database: this.name, problem: problemOf(error) }, "cannot be brought up to date");
    }
  }

  async #isFinished(migrations: Migrations, names: readonly string[], onDone: () => Promise<void>): Promise<boolean> {
    const { MigrateError } = await import("@tidemark/migrate");
    try {
      await migrations.requireDone(...names);
    } catch (error) {
      if (MigrateError.is(error) && error.code === "NOT_DONE") return false;
      throw error;
    }
    await onDone();
    this.#log.info({ database: this.name, migrations: names }, "is up to date");
    return true;
  }

  async #hands(): Promise<Migrations> {
    const connection = await this.#open();
    connection.migrations ??= this.#openMigrations(connection);
    try {
      return await connection.migrations;
    } catch (error) {
      connection.migrations = undefined;
      throw error;
    }
  }

  async #openMigrations({ opened }: Connection): Promise<Migrations> {
    const { openMigrations } = await import("@tidemark/migrate");
    const { definitions } = this.#entry;
    const { database } = opened;
    // Without definitions nothing is worked on, and a command is one short transaction.
    return definitions === undefined
      ? openMigrations({ database, definitions: [], thread: "caller" })
      : openMigrations({ database, definitions });
  }

  #open(): Promise<Connection> {
    this.#connection ??= this.#connect().catch((error: unknown) => {
      this.#connection = undefined;
      throw error;
    });
    return this.#connection;
  }

  async #connect(): Promise<Connection> {
    if (this.#isClosed) throw new DaemonError("REFUSED", "The daemon is stopping.");
    const { openMigrationReader } = await import("@tidemark/migrate");
    const opened = await openDatabaseAt(this.#entry.address);
    try {
      const reader = await openMigrationReader({ database: opened.database, clock: this.#clock });
      return { opened, reader, migrations: undefined };
    } catch (error) {
      await opened.close();
      throw error;
    }
  }
}

/** What is wrong, for the person at the page. */
function problemOf(error: unknown): string {
  if (DaemonError.is(error)) return redact(error.problem);
  return redact((error instanceof Error ? error.message : String(error)).replace(/^\[[A-Z_]+\] /, ""));
}

async function toldError(error: unknown): Promise<unknown> {
  const { MigrateError } = await import("@tidemark/migrate");
  if (!MigrateError.is(error)) return error;
  const sentence = redact(error.message.replace(/^\[\w+\] /, ""));
  const code =
    error.code === "NOT_FOUND" ? "NOT_FOUND" : error.code === "STATE_REFUSED" ? "MIGRATION_REFUSED" : "DATABASE";
  return new DaemonError(code, sentence, { cause: error });
}
