import { once } from "node:events";
import { relative } from "node:path";
import { systemClock } from "@tidemark/clock";
import { loadConfig } from "../../config/load-config.ts";
import { resolveTopicsSettings, type TopicsFlags, type TopicsSettings } from "../../config/topics-settings.ts";
import { version } from "../../version.ts";
import { createStyle } from "../format/style.ts";
import { formatFields } from "../format/table.ts";
import { closeAndExit, stopSignal } from "../stop-signal.ts";
import { reportFailure } from "../terminal.ts";

interface Flags extends TopicsFlags {
  readonly config?: string;
  readonly json?: boolean;
}

/** `tidemark topics`: the topic service and nothing else. */
export async function topics(flags: Flags): Promise<number> {
  const { config } = await loadConfig(flags.config);
  const settings = resolveTopicsSettings(config, flags);
  const stop = stopSignal();
  // A wrong argument is told without loading all of this.
  const [{ openDataDir }, { openEmbeddedTopics }] = await Promise.all([
    import("../../daemon/data-dir.ts"),
    import("../../daemon/embedded-topics.ts"),
  ]);
  process.on("uncaughtException", (error) => process.exit(reportFailure(error, createStyle(process.stderr))));
  const folder = openDataDir(settings.dataDir);
  try {
    const service = await openEmbeddedTopics(folder.topicsFolder, settings.topics, "--listen", systemClock);
    folder.announce(service.url);
    if (!stop.aborted) {
      const { url } = service;
      process.stdout.write(
        flags.json === true
          ? `${JSON.stringify({ ready: true, topics: url })}\n`
          : describe(url, settings.dataDir, settings.topics),
      );
      await once(stop, "abort");
    }
    await closeAndExit(() => service.close());
    return 0;
  } finally {
    folder.release();
  }
}

function describe(url: string, dataDir: string, { syncIntervalMs }: TopicsSettings): string {
  const style = createStyle(process.stdout);
  const dim = (text: string) => style("dim", text);
  const folder = relative(process.cwd(), dataDir);
  const acknowledged =
    syncIntervalMs === undefined
      ? "once on the disk"
      : `before it is on the disk: a power cut can take the last ${syncIntervalMs} ms`;
  const fields = [
    ["topics", `${style("cyan", url)}  ${dim("YDB Topic API")}`],
    ["data", folder.startsWith("..") ? dataDir : `./${folder}`],
    ["writes", `acknowledged ${acknowledged}`],
  ] as const;
  const head = `${style("bold", `Tidemark ${version}`)} serves topics. ${dim("Ctrl-C stops it.")}`;
  return `${head}\n\n${formatFields(fields, dim).replace(/^(?=.)/gm, "  ")}`;
}
