import { type Command, Option } from "commander";

type Handlers =
  | "migrateList"
  | "migrateRun"
  | "migrateWatch"
  | "migratePause"
  | "migrateResume"
  | "migrateCancel"
  | "migrateRetry"
  | "migrateVerify"
  | "migrateLint";

/** Adds what `tidemark migrate` can do. */
export function addMigrateCommands(
  migrate: Command,
  run: (name: Handlers) => (...args: unknown[]) => Promise<void>,
): void {
  const database = new Option(
    "--database <url>",
    "a SQLite file, postgres://… or mysql://… (env TIDEMARK_DATABASE, which other users of this machine cannot read)",
  );
  const definitions = new Option("--definitions <path>", "module or folder of definitions (default: ./migrations)");
  const json = new Option("--json", "print JSON, one line for each migration and change");
  const part = (usage: string, summary: string) =>
    migrate
      .command(usage)
      .summary(summary)
      .description(summary.charAt(0).toUpperCase() + summary.slice(1))
      .exitOverride();
  const asks = (made: Command) => made.addOption(database).addOption(json);

  asks(part("list", "how all migrations of a database stand")).action(run("migrateList"));
  asks(part("run", "work on all definitions until nothing can go on, beside whoever else does"))
    .addOption(definitions)
    .action(run("migrateRun"));
  asks(part("watch", "show how they go on, until none does")).action(run("migrateWatch"));
  asks(part("pause <name>", "stop one for now, whichever process works on it")).action(run("migratePause"));
  asks(part("resume <name>", "let a paused one go on")).action(run("migrateResume"));
  asks(part("cancel <name>", "stop one for good; what it did stays")).action(run("migrateCancel"));
  asks(part("retry <name>", "let one that failed or was cancelled go on"))
    .addOption(definitions)
    .option("--from <where>", "cursor: where it stopped; start: visit every row again (default: cursor)")
    .action(run("migrateRetry"));
  asks(part("verify [names...]", "look at every row again, and write nothing"))
    .addOption(definitions)
    .action(run("migrateVerify"));
  part("lint [paths...]", "find what would block, scan or not end, in definitions and in SQL of drizzle-kit")
    .addOption(
      new Option("--database <url>", "plan against the tables and indexes of this database; its rows do not matter"),
    )
    .addOption(new Option("--dialect <name>", "of the SQL files").choices(["sqlite", "postgresql", "mysql"]))
    .addOption(new Option("--format <name>", "what to print").choices(["text", "json", "sarif", "github"]))
    .addOption(new Option("--json", "the same as --format json"))
    .action(run("migrateLint"));
  migrate.addHelpText(
    "after",
    `
A definition is made with defineMigration() of @tidemark/migrate, in a module of the folder.

Examples:
  tidemark migrate run --database app.db --definitions ./migrations
  TIDEMARK_DATABASE=postgres://app:secret@db/app tidemark migrate list --json
  tidemark migrate pause 2026-11-last-seen --database app.db
  tidemark migrate lint ./migrations ./drizzle`,
  );
}
