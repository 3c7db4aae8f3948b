import { once } from "node:events";
import { relative } from "node:path";
import { setFlagsFromString } from "node:v8";
import { loadConfig } from "../../config/load-config.ts";
import { resolveSettings, type Settings, type UpFlags } from "../../config/settings.ts";
import type { Daemon } from "../../daemon/daemon.ts";
import { redact } from "../../redact.ts";
import { version } from "../../version.ts";
import { createStyle, type Style } from "../format/style.ts";
import { formatFields } from "../format/table.ts";
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
  const stop = stopSignal();
  // A wrong argument is told without loading all of this.
  const [{ openDaemon }, { createLog }] = await Promise.all([
    import("../../daemon/daemon.ts"),
    import("../../daemon/log.ts"),
  ]);
  process.on("uncaughtException", (error) => process.exit(reportFailure(error, createStyle(process.stderr))));
  const daemon = await openDaemon(settings, { log: createLog(settings.logLevel), signal: stop });
  if (!stop.aborted) {
    announce(daemon, settings, flags.json === true);
    await once(stop, "abort");
  }
  await closeAndExit(() => daemon.close());
  return 0;
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
