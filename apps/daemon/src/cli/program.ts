import { Command, Option } from "commander";
import { configDefaults } from "../config/defaults.ts";
import { version } from "../version.ts";
import { addMigrateCommands } from "./migrate/migrate-program.ts";

/** What a command's module does: gets its arguments and flags, returns the exit code. */
type Handler = (...args: never[]) => Promise<number>;

// A module is loaded when its command runs: `tidemark get` must not pay for the daemon.
const handlers = {
  up: async () => (await import("./commands/up.ts")).up,
  audit: async () => (await import("./commands/audit.ts")).audit,
  put: async () => (await import("./commands/put.ts")).put,
  del: async () => (await import("./commands/put.ts")).del,
  get: async () => (await import("./commands/get.ts")).get,
  ls: async () => (await import("./commands/ls.ts")).ls,
  log: async () => (await import("./commands/log.ts")).log,
  diff: async () => (await import("./commands/diff.ts")).diff,
  watch: async () => (await import("./commands/watch.ts")).watch,
  check: async () => (await import("./commands/check.ts")).check,
  reload: async () => (await import("./commands/reload.ts")).reload,
  topics: async () => (await import("./commands/topics.ts")).topics,
  status: async () => (await import("./commands/status.ts")).status,
  fsck: async () => (await import("./commands/fsck.ts")).fsck,
  gaps: async () => (await import("./commands/gaps.ts")).gaps,
  quarantineList: async () => (await import("./commands/quarantine.ts")).list,
  quarantineRetry: async () => (await import("./commands/quarantine.ts")).retry,
  quarantineSkip: async () => (await import("./commands/quarantine.ts")).skip,
  migrateList: async () => (await import("./commands/migrate.ts")).list,
  migrateRun: async () => (await import("./commands/migrate.ts")).run,
  migrateWatch: async () => (await import("./commands/migrate.ts")).watch,
  migratePause: async () => (await import("./commands/migrate.ts")).pause,
  migrateResume: async () => (await import("./commands/migrate.ts")).resume,
  migrateCancel: async () => (await import("./commands/migrate.ts")).cancel,
  migrateRetry: async () => (await import("./commands/migrate.ts")).retry,
  migrateVerify: async () => (await import("./commands/migrate.ts")).verify,
  migrateLint: async () => (await import("./commands/migrate-lint.ts")).lint,
} as const satisfies Record<string, () => Promise<Handler>>;

const moment = 'a time (2026-11-22T09:30), a duration ("5m ago"), a position (1234) or a cursor (cursor:d1234)';

const exitCodeHelp = `
Exit codes: 0 done · 1 not found, or check, fsck, verify or lint found something, or a migration is not done · 2 wrong argument or configuration
            3 no daemon or database there · 4 the daemon cannot start (address, data folder, database), or a database is not fit · 5 anything else
            130, 143 stopped by a signal`;

/** The whole command line. `finish` gets the exit code of the command that ran. */
export function createProgram(finish: (exitCode: number) => void): Command {
  const run =
    (name: keyof typeof handlers) =>
    async (...args: unknown[]) => {
      const handler = (await handlers[name]()) as (...args: unknown[]) => Promise<number>;
      // The last argument is the command itself.
      finish(await handler(...args.slice(0, -1)));
    };

  const program = new Command("tidemark")
    .description("Follow anything that changes. Lose nothing. Never block a reader.")
    .version(version, "-V, --version", "print the version")
    .helpOption("-h, --help", "print help")
    .helpCommand("help [command]", "print help for a command")
    .configureHelp({ sortSubcommands: false, showGlobalOptions: true })
    .showSuggestionAfterError(true)
    .showHelpAfterError("Run `tidemark --help` to see what there is.")
    .exitOverride();

  const command = (usage: string, summary: string) =>
    program
      .command(usage)
      .summary(summary)
      .description(summary.charAt(0).toUpperCase() + summary.slice(1))
      .exitOverride();
  const json = new Option("--json", "print JSON: exact, bytes as base64, big integers as text");
  const connect = new Option(
    "--connect <url>",
    `where the daemon is (env TIDEMARK_URL, default http://${configDefaults.listen})`,
  );
  const stream = new Option("--stream <name>", "which stream, where the daemon follows several");
  const hex = new Option("--hex", "KEY or PREFIX is hex");
  const base64 = new Option("--base64", "KEY or PREFIX is base64");
  const at = new Option("--at <moment>", `as it was at ${moment}`);
  const fresh = new Option("--fresh", "first wait until the replica has everything the source has");
  const limit = (what: string) => new Option("-n, --limit <count>", `at most this many ${what}`);
  const talks = (made: Command) => made.addOption(json).addOption(connect);
  const keyed = (made: Command) => talks(made).addOption(hex).addOption(base64);

  program.commandsGroup("Daemon");
  command("up", "run the daemon: follow a source, keep its history, serve the page")
    .option("--config <file>", "configuration (default: tidemark.config.{ts,mts,js,mjs,json} if there is one)")
    .option("--data <dir>", "folder of everything the daemon keeps (default: ./tidemark-data)")
    .option("--listen <host:port>", "page, health and metrics (default: 127.0.0.1:4650; port 0: a free one)")
    .option("--watch-listen <host:port>", "Watch API of the embedded store (default: 127.0.0.1:4651)")
    .option("--topics-listen <host:port>", "topics, as the YDB Topic API (default: 127.0.0.1:2136)")
    .option("--no-topics", "serve no topics")
    .option("--etcd <urls>", "follow etcd instead of the embedded store: URLs separated by commas")
    .option("--prefix <prefix>", "with --etcd: only keys that begin with this")
    .option(
      "--gnmi <host:port>",
      "follow a network device over gNMI: TLS, but for addresses of this machine or http://",
    )
    .option("--path <paths...>", "with --gnmi: what to follow of it, such as /interfaces")
    .option("--catalog <urls...>", "follow HTTP catalogues: URLs of JSON lists")
    .option("--insecure", "allow addresses that other machines can reach; nobody is asked for a password")
    .addOption(
      new Option("--log-level <level>", "structured logs on standard error").choices([
        "trace",
        "debug",
        "info",
        "warn",
        "error",
        "silent",
      ]),
    )
    .option("--json", 'when ready print one line: {"ready":true,"http":"…","watch":"…"}')
    .addHelpText(
      "after",
      `
User and password of etcd belong in TIDEMARK_ETCD_USERNAME and TIDEMARK_ETCD_PASSWORD, or in the configuration;
in a URL other users of this machine can read them. Those of a device belong in TIDEMARK_GNMI_USERNAME and
TIDEMARK_GNMI_PASSWORD, or TIDEMARK_GNMI_TOKEN; without TLS they are sent only with --insecure. A catalogue is sent
TIDEMARK_CATALOG_TOKEN as a bearer token.

Examples:
  tidemark up
  tidemark up --data /var/lib/tidemark --listen 127.0.0.1:8080
  tidemark up --etcd http://127.0.0.1:2379 --prefix /config/
  tidemark up --gnmi 192.0.2.1:9339 --path /interfaces /system
  tidemark up --catalog https://example.org/apps.json`,
    )
    .action(run("up"));
  command("check", "try everything that the configuration names: files, folders, ports, connections")
    .option("--config <file>", "configuration (default: tidemark.config.{ts,mts,js,mjs,json} if there is one)")
    .option("--data <dir>", "folder of everything the daemon keeps (default: ./tidemark-data)")
    .option("--insecure", "as for `up`")
    .option("--timeout <seconds>", "how long each connection may take (default: 10)")
    .addOption(json)
    .addHelpText(
      "after",
      "\nChanges nothing. Ends with 1 when something failed, and with 2 when the configuration is wrong.",
    )
    .action(run("check"));
  talks(command("reload", "have the daemon read its configuration again; what cannot change is refused")).action(
    run("reload"),
  );
  command("topics", "serve topics alone: the YDB Topic API over gRPC")
    .option("--config <file>", "configuration (default: tidemark.config.{ts,mts,js,mjs,json} if there is one)")
    .option("--data <dir>", "folder of everything that is kept (default: ./tidemark-data)")
    .option("--listen <host:port>", "where clients connect (default: 127.0.0.1:2136; port 0: a free one)")
    .addOption(
      new Option(
        "--sync <when>",
        "always: a message is on the disk before it is acknowledged; interval: faster, a power cut can take the last second",
      ).choices(["always", "interval"]),
    )
    .option("--insecure", "allow addresses that other machines can reach without users or without TLS")
    .option("--json", 'when ready print one line: {"ready":true,"topics":"…"}')
    .addHelpText(
      "after",
      "\nClients connect to grpc://127.0.0.1:2136/local, as to any YDB. Users with passwords, tokens and rights, and TLS:\n`topicsAuth` and `topicsTls` of the configuration.",
    )
    .action(run("topics"));
  talks(command("status", "what is followed, how far it is and what is wrong")).action(run("status"));
  talks(command("fsck", "check every invariant of the history"))
    .option("--data <dir>", "check the folder of a daemon that is not running")
    .action(run("fsck"));
  talks(command("audit [stream]", "compare the replica with its sources now, and correct what differs"))
    .option("--no-repair", "only tell what differs")
    .option("--last", "show what was found last, without looking again")
    .addHelpText(
      "after",
      "\nBy checksum over all keys, values and versions at one position of the source. Ends with 1 where something differs.",
    )
    .action(run("audit"));
  talks(command("gaps", "where history was lost at the source")).addOption(stream).action(run("gaps"));
  const quarantine = command("quarantine", "changes that could not be stored and were set aside");
  const part = (usage: string, summary: string, isDefault = false) =>
    talks(quarantine.command(usage, { isDefault }).summary(summary).description(summary).exitOverride());
  part("list", "show them (what `tidemark quarantine` does)", true)
    .addOption(stream)
    .option("--all", "also those that are resolved")
    .action(run("quarantineList"));
  quarantine.commands[0]?.alias("ls");
  part("retry <id>", "try to store one again").action(run("quarantineRetry"));
  part("skip <id>", "leave one out for good")
    .requiredOption("--reason <text>", "why, for whoever asks later")
    .action(run("quarantineSkip"));

  program.commandsGroup("Keys");
  keyed(command("put <key> <value>", "set a key of the embedded store; VALUE - reads standard input"))
    .option("--no-sync", "do not wait until the replica has it")
    .addHelpText("after", "\nExamples:\n  tidemark put config/colour blue\n  tidemark put logo - < logo.png")
    .action(run("put"));
  keyed(command("del <key>", "delete a key of the embedded store"))
    .option("--no-sync", "do not wait until the replica has it")
    .action(run("del"));
  keyed(command("get <key>", "print a key's value, now or then"))
    .addOption(stream)
    .addOption(at)
    .addOption(fresh)
    .option("--raw", "print exactly the value's bytes, without a line end, also to a terminal")
    .addHelpText("after", '\nExamples:\n  tidemark get config/colour\n  tidemark get config/colour --at "5m ago"')
    .action(run("get"));
  keyed(command("ls [prefix]", "list keys, now or then"))
    .addOption(stream)
    .addOption(at)
    .addOption(fresh)
    .option("--deleted", "also keys that are deleted")
    .addOption(limit("keys (default: all)"))
    .action(run("ls"));

  program.commandsGroup("History");
  keyed(command("log <key>", "a key's versions, newest first"))
    .addOption(stream)
    .addOption(fresh)
    .addOption(limit("versions (default: all)"))
    .option("--diff", "show how each version differs from the one before")
    .action(run("log"));
  keyed(command("diff [key]", "what differs between two moments"))
    .addOption(stream)
    .option("--from <moment>", `from ${moment}; default for one key: before its last change`)
    .option("--to <moment>", "to this moment (default: now)")
    .option("--prefix", "KEY is a prefix, as it is when it ends in /")
    .addHelpText(
      "after",
      '\nExamples:\n  tidemark diff config/colour\n  tidemark diff config/ --from "1h ago"\n  tidemark diff --from 100 --to 200',
    )
    .action(run("diff"));
  keyed(command("watch [prefix]", "print changes as they are committed, without losing one"))
    .addOption(stream)
    .option("--after <position>", "begin after this position of the history (default: now)")
    .addOption(limit("changes, then end"))
    .action(run("watch"));

  program.commandsGroup("Migrations");
  addMigrateCommands(command("migrate", "fill, change and check the rows of a database while it is in use"), run);

  program.addHelpText(
    "after",
    `
Begin with \`tidemark up\`, then \`tidemark put greeting hello\` and \`tidemark log greeting\`.
${exitCodeHelp}`,
  );
  return program;
}
