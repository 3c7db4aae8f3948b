import { once } from "node:events";
import { relative } from "node:path";
import { setFlagsFromString } from "node:v8";
import { loadConfig } from "../../config/load-config.ts";
import { resolveSettings, type Settings, type UpFlags } from "../../config/settings.ts";
import type { Daemon } from "../../daemon/daemon.ts";
import { DaemonError } from "../../daemon-error.ts";
import { redact } from "../../redact.ts";
import { version } from "../../version.ts";
import { createStyle, type Style } from "../format/style.ts";
import { formatFields } from "../format/table.ts";
import { createServiceManager } from "../service-manager.ts";
import { closeAndExit, stopSignal } from "../stop-signal.ts";
import { reportFailure } from "../terminal.ts";

interface Flags extends UpFlags {
  readonly config?: string;
  readonly json?: boolean;
}

export async function up(flags: Flags): Promise<number> {
  // What is received is held by short-lived objects, and a young generation that grows to its 48 MiB lets tens of MiB of it
  // pile up. One that stays small costs nothing: `npm run bench -- etcd --part memory`.
  setFlagsFromString("--semi-space-growth-factor=1");
  const { config } = await loadConfig(flags.config);
  // A person at a terminal wants to see trouble, not every step; a service manager wants to keep it all.
  const logLevel = flags.logLevel ?? config.logLevel ?? (process.stderr.isTTY ? "warn" : "info");
  const settings = resolveSettings(config, { ...flags, logLevel });
  let daemon: Daemon | undefined;
  // A terminal that goes away sends it, too, and then nobody is left to tell anything to.
  const isAttended = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
  const stop = stopSignal(isAttended ? undefined : () => void hangup());
  // A wrong argument is told without loading all of this.
  const [{ openDaemon }, { createLog }] = await Promise.all([
    import("../../daemon/daemon.ts"),
    import("../../daemon/log.ts"),
  ]);
  process.on("uncaughtException", (error) => process.exit(reportFailure(error, createStyle(process.stderr))));
  const onStandby = (reason: string) =>
    void process.stderr.write(redact(`Standing by, to go on when the other daemon is gone: ${reason}\n`));
  const log = createLog(settings.logLevel);
  const manager = createServiceManager((reason) => log.warn({ reason }, "systemd could not be told"));
  const readSettings = async () => {
    const again = await loadConfig(flags.config, process.cwd(), true);
    return resolveSettings(again.config, { ...flags, logLevel: flags.logLevel ?? again.config.logLevel ?? logLevel });
  };
  const onWaiting = (reason: string) => {
    onStandby(reason);
    // It does what it is there for: a service manager must not give it up.
    manager.ready("stands by: another daemon writes the history");
  };
  const opened = await openDaemon(settings, { log, signal: stop, onStandby: onWaiting, readSettings }).catch(
    (error: unknown) => {
      // Stopped while it waited: there was nothing to commit.
      if (!stop.aborted || error !== stop.reason) throw error;
      return undefined;
    },
  );
  if (opened === undefined) return 0;
  daemon = opened;
  if (!stop.aborted) {
    announce(opened, settings, flags.json === true);
    manager.ready(`serves ${opened.url}`);
    manager.watch(() => opened.check());
    await once(stop, "abort");
  }
  manager.stopping();
  await closeAndExit(() => opened.close());
  manager.close();
  return 0;

  async function hangup(): Promise<void> {
    try {
      await daemon?.reload();
    } catch (error) {
      const [problem, fix] = DaemonError.is(error) ? [error.problem, error.fix] : [String(error), undefined];
      log.error({ problem, fix }, "the configuration was not reloaded; everything is as it was");
    }
  }
}

function announce(daemon: Daemon, settings: Settings, isJson: boolean): void {
  if (isJson) {
    process.stdout.write(
      `${JSON.stringify({ ready: true, http: daemon.url, watch: daemon.watchUrl ?? null, topics: daemon.topicsUrl ?? null })}\n`,
    );
    return;
  }
  process.stdout.write(redact(describe(daemon, settings, createStyle(process.stdout))));
}

function describe(daemon: Daemon, settings: Settings, style: Style): string {
  const dim = (text: string) => style("dim", text);
  const fields: (readonly [string, string])[] = [["page", style("cyan", daemon.url)]];
  if (daemon.watchUrl !== undefined)
    fields.push(["store", `${daemon.watchUrl}  ${dim("Watch API: gRPC and Connect")}`]);
  if (daemon.topicsUrl !== undefined) fields.push(["topics", `${daemon.topicsUrl}  ${dim("YDB Topic API")}`]);
  for (const { name, description, problem } of daemon.followed()) {
    if (name === "store") continue;
    fields.push([
      "follows",
      `${description}${problem === undefined ? "" : `  ${style("yellow", `not yet, it keeps trying: ${problem}`)}`}`,
    ]);
  }
  const folder = relative(process.cwd(), settings.dataDir);
  fields.push(["data", folder.startsWith("..") ? settings.dataDir : `./${folder}`]);

  const command = process.env["TIDEMARK_COMMAND"] ?? "tidemark";
  const connect = daemon.url === "http://127.0.0.1:4650" ? "" : ` --connect ${daemon.url}`;
  const examples =
    daemon.watchUrl === undefined ? ["ls", "watch", "status"] : ["put greeting hello", "log greeting", "watch"];
  const next = examples.map((example) => `  ${style("bold", `${command} ${example}${connect}`)}\n`).join("");
  const head = `${style("bold", `Tidemark ${version}`)} is ready. ${dim("Ctrl-C stops it.")}\n\n`;
  return `${head}${formatFields(fields, dim).replace(/^(?=.)/gm, "  ")}\nTry, in another terminal:\n${next}`;
}
