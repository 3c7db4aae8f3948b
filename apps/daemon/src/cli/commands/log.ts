import type { Version } from "../../gen/tidemark/admin/v1/admin_pb.ts";
import { DaemonError } from "../../daemon-error.ts";
import { type CommandFlags, withDaemon } from "../command.ts";
import { showBytes } from "../format/bytes.ts";
import { formatValueDiff } from "../format/diff.ts";
import { formatTable } from "../format/table.ts";
import { formatAgo, formatTime } from "../format/time.ts";
import { jsonVersion, toJsonLine } from "../json.ts";
import { parseKey } from "../keys.ts";
import { pagesOf, parseLimit } from "../pages.ts";
import { syncFirst } from "../sync.ts";
import type { Terminal } from "../terminal.ts";

interface LogFlags extends CommandFlags {
  readonly fresh?: boolean;
  readonly limit?: string;
  readonly diff?: boolean;
}

export async function log(keyText: string, flags: LogFlags): Promise<number> {
  const key = parseKey(keyText, flags);
  const limit = parseLimit(flags.limit);
  return withDaemon(flags, async (client, terminal) => {
    const { signal } = terminal;
    await syncFirst(client, flags, signal);
    const pages = pagesOf(
      async (page) => {
        const { versions, next } = await client.admin.log({ stream: flags.stream ?? "", key, ...page }, { signal });
        return { items: versions, next };
        // With --diff the last one shown needs the one before it.
      },
      flags.diff === true && flags.json !== true && limit !== undefined ? limit + 1 : limit,
    );
    let count = 0;
    let newer: Version | undefined;
    for await (const page of pages) {
      const isFirst = count === 0;
      count += page.length;
      if (flags.json === true) await terminal.write(page.map((version) => toJsonLine(jsonVersion(version))).join(""));
      else if (flags.diff !== true) await terminal.write(formatPage(page, terminal, isFirst));
      else {
        for (const version of page) {
          if (newer !== undefined) await terminal.write(formatChange(newer, version, terminal));
          newer = version;
        }
      }
    }
    if (newer !== undefined && (limit === undefined || count <= limit)) {
      await terminal.write(formatChange(newer, undefined, terminal));
    }
    if (count === 0) throw new DaemonError("NOT_FOUND", `There never was a key ${showBytes(key)}.`);
  });
}

function kindOf(version: Version): string {
  if (!version.deleted) return version.parents.length === 0 ? "created" : "put";
  return version.via === "sweep" ? "vanished" : "deleted";
}

function formatPage(versions: readonly Version[], { style, columns, nowMs }: Terminal, isFirst: boolean): string {
  const now = nowMs();
  const rows = versions.map((version) => [
    version.position.toString(),
    formatTime(Number(version.committedAtMs)),
    formatAgo(Number(version.committedAtMs), now),
    version.version,
    kindOf(version),
    version.deleted ? "" : showBytes(version.value, { maxLength: Math.max(20, columns - 64) }),
  ]);
  const table = formatTable(
    [
      { title: "POSITION", align: "right" },
      { title: "COMMITTED" },
      { title: "" },
      { title: "VERSION" },
      { title: "CHANGE" },
      { title: "VALUE" },
    ],
    rows,
    (text) => style("dim", text),
  );
  return isFirst ? table : table.slice(table.indexOf("\n") + 1);
}

function formatChange(version: Version, before: Version | undefined, { style, nowMs }: Terminal): string {
  const when = formatTime(Number(version.committedAtMs));
  const ago = formatAgo(Number(version.committedAtMs), nowMs());
  const head = `${style("bold", `${version.position}`)}  ${kindOf(version)}  ${when}  ${style("dim", ago)}\n`;
  const old = before === undefined || before.deleted ? undefined : before.value;
  return head + formatValueDiff(old, version.deleted ? undefined : version.value, style);
}
