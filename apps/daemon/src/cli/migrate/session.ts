import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { MigrateError, MigrationReader, Migrations, MigrationStatus } from "@tidemark/migrate";
import { closest } from "../../closest.ts";
import { DaemonError } from "../../daemon-error.ts";
import { createTerminal, Interrupted, type Terminal } from "../terminal.ts";
import { type OpenedDatabase, openDatabaseAt, parseDatabaseUrl } from "./database-url.ts";

/** Flags of every `tidemark migrate …` that asks a database. */
export interface MigrateFlags {
  readonly database?: string;
  readonly definitions?: string;
  readonly json?: boolean;
}

/** A database that answers, and ways to ask it. */
export interface MigrateSession {
  readonly opened: OpenedDatabase;
  readonly terminal: Terminal;
  readonly reader: MigrationReader;
  /** Opens migrations that are closed with the session; without definitions for commands that only touch the books. */
  open(definitions: string | undefined): Promise<Migrations>;
  /** How one stands. @throws {DaemonError} `NOT_FOUND` */
  find(name: string): Promise<MigrationStatus>;
}

const defaultFolder = "migrations";

/** Where the definitions are. @throws {DaemonError} `USAGE` */
export function definitionsAt({ definitions }: MigrateFlags): string {
  const path = resolve(definitions ?? defaultFolder);
  if (existsSync(path)) return path;
  const what = definitions === undefined ? `./${defaultFolder}` : definitions;
  throw new DaemonError("USAGE", `Expected a folder or module of definitions at ${what}, and there is none.`, {
    fix: "Say where it is with --definitions PATH. Its modules export what defineMigration() of @tidemark/migrate makes.",
  });
}

/** The same, or undefined where none were named and there are none at the usual place. */
export function definitionsIfAny(flags: MigrateFlags): string | undefined {
  return flags.definitions === undefined && !existsSync(resolve(defaultFolder)) ? undefined : definitionsAt(flags);
}

/** Runs a command against a database and returns its exit code. */
export async function withDatabase(
  flags: MigrateFlags,
  run: (session: MigrateSession) => Promise<number>,
): Promise<number> {
  const address = parseDatabaseUrl(flags.database);
  const terminal = createTerminal();
  const closers: (() => Promise<void>)[] = [];
  const opened = await openDatabaseAt(address);
  closers.push(() => opened.close());
  // Loaded when there is something to ask: a slip of the finger must not wait for it.
  const { MigrateError, openMigrationReader, openMigrations } = await import("@tidemark/migrate");
  try {
    const reader = await openMigrationReader({ database: opened.database });
    closers.push(() => reader.close());
    const open = async (definitions: string | undefined) => {
      const migrations = await openMigrations({
        database: opened.database,
        definitions: definitions ?? [],
        ...(definitions === undefined ? { thread: "caller" as const } : {}),
      });
      closers.push(() => migrations.close());
      return migrations;
    };
    const find = async (name: string) => {
      const known = await reader.list();
      const found = known.find((status) => status.name === name);
      if (found !== undefined) return found;
      const near = closest(
        name,
        known.map((status) => status.name),
      );
      const names = known.map((status) => status.name).join(", ") || "none";
      throw new DaemonError("NOT_FOUND", `There is no migration "${name}" in ${address.label}.`, {
        fix: near === undefined ? `It has: ${names}.` : `Did you mean ${near}?`,
      });
    };
    return await run({ opened, terminal, reader, open, find });
  } catch (error) {
    if (terminal.signal.aborted && terminal.signal.reason instanceof Interrupted) throw terminal.signal.reason;
    throw MigrateError.is(error) ? toldError(error) : error;
  } finally {
    for (const close of closers.toReversed()) await close();
  }
}

/** Errors of migrations, as the command line tells them. */
export function toldError(error: MigrateError): DaemonError {
  const problem = error.message.replace(/^\[\w+\] /, "").replace(/^[a-z]/, (letter) => letter.toUpperCase());
  const sentence = /[.!?]$/.test(problem) ? problem : `${problem}.`;
  switch (error.code) {
    case "NOT_FOUND":
      return new DaemonError("NOT_FOUND", sentence, { cause: error });
    case "OPTIONS_INVALID":
    case "DEFINITIONS_INVALID":
    case "DEFINITION_INVALID":
    case "KEY_INVALID":
      return new DaemonError("USAGE", sentence, { cause: error, fix: "Correct the definition and run it again." });
    case "DATABASE_UNFIT":
    case "DRIVER_MISSING":
      return new DaemonError("DATABASE", sentence, { cause: error });
    case "STATE_REFUSED":
      return new DaemonError("MIGRATION_REFUSED", sentence, { cause: error });
    default:
      return new DaemonError("REFUSED", sentence, { cause: error });
  }
}
