import type { Version } from "../../gen/tidemark/admin/v1/admin_pb.ts";
import { DaemonError } from "../../daemon-error.ts";
import { type CommandFlags, withDaemon } from "../command.ts";
import { showBytes } from "../format/bytes.ts";
import { formatTime } from "../format/time.ts";
import { jsonVersion, toJsonLine } from "../json.ts";
import { parseBytes } from "../keys.ts";
import { parseLimit } from "../pages.ts";
import { Interrupted, type Terminal } from "../terminal.ts";

interface WatchFlags extends CommandFlags {
  readonly after?: string;
  readonly limit?: string;
}

export async function watch(prefixText: string | undefined, flags: WatchFlags): Promise<number> {
  const prefix = parseBytes(prefixText ?? "", flags, "PREFIX");
  const limit = parseLimit(flags.limit) ?? Number.POSITIVE_INFINITY;
  if (flags.after !== undefined && !/^\d{1,19}$/.test(flags.after)) {
    throw new DaemonError("USAGE", `--after must be a position, got ${JSON.stringify(flags.after)}.`, {
      fix: "Use the POSITION of `tidemark log` or `tidemark status`, or 0 for everything since the beginning.",
    });
  }
  const after = flags.after === undefined ? {} : { after: BigInt(flags.after) };
  return withDaemon(flags, async ({ admin, url }, terminal) => {
    let left = limit;
    // Leaving the loop alone would leave the request open, and the process with it.
    const enough = new AbortController();
    const signal = AbortSignal.any([terminal.signal, enough.signal]);
    try {
      const responses = admin.watch({ stream: flags.stream ?? "", prefix, ...after }, { signal });
      let isFirst = true;
      for await (const { versions, position } of responses) {
        if (isFirst && flags.json !== true)
          terminal.note(terminal.errorStyle("dim", `Watching from position ${position}. Ctrl-C ends it.`));
        isFirst = false;
        const shown = versions.slice(0, left);
        left -= shown.length;
        const lines = shown.map((one) => (flags.json === true ? toJsonLine(jsonVersion(one)) : format(one, terminal)));
        if (lines.length > 0) await terminal.write(lines.join(""));
        if (left === 0) {
          enough.abort();
          return 0;
        }
      }
    } catch (error) {
      // The usual way to end a watch is no failure.
      if (terminal.signal.reason instanceof Interrupted) return terminal.signal.reason.exitCode;
      throw error;
    }
    throw new DaemonError("UNREACHABLE", `The daemon at ${url} stopped.`, {
      fix: "Start it again, and go on without a loss with --after and the last position you saw.",
    });
  });
}

function format(version: Version, { style, columns }: Terminal): string {
  const time = formatTime(Number(version.committedAtMs)).slice(11);
  const head = `${style("dim", `${version.position} ${time}`)}  ${version.deleted ? style("red", "del") : style("green", "put")}  `;
  const key = showBytes(version.key, { maxLength: 120 });
  if (version.deleted) return `${head}${key}\n`;
  return `${head}${key} = ${showBytes(version.value, { maxLength: Math.max(20, columns - key.length - 30) })}\n`;
}
