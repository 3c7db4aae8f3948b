import type { Version } from "../../gen/tidemark/admin/v1/admin_pb.ts";
import { atMessage, type CommandFlags, withDaemon } from "../command.ts";
import { showBytes } from "../format/bytes.ts";
import { formatTable } from "../format/table.ts";
import { formatAgo, formatCount } from "../format/time.ts";
import { jsonVersion, toJsonLine } from "../json.ts";
import { parseBytes } from "../keys.ts";
import { pagesOf, parseLimit } from "../pages.ts";
import { syncFirst } from "../sync.ts";
import type { Terminal } from "../terminal.ts";

interface ListFlags extends CommandFlags {
  readonly at?: string;
  readonly fresh?: boolean;
  readonly deleted?: boolean;
  readonly limit?: string;
}

export async function ls(prefixText: string | undefined, flags: ListFlags): Promise<number> {
  const prefix = parseBytes(prefixText ?? "", flags, "PREFIX");
  const limit = parseLimit(flags.limit);
  return withDaemon(flags, async (client, terminal) => {
    const { signal } = terminal;
    // Every page shows the same moment, whatever happens in between.
    const at = atMessage(flags.at, "--at", terminal.nowMs());
    await syncFirst(client, flags, signal);
    const { admin } = client;
    const range = { stream: flags.stream ?? "", prefix };
    const moment = at ?? { at: { case: "position" as const, value: (await admin.status({}, { signal })).position } };
    const pages = pagesOf(async (page) => {
      const request = { range, at: moment, includeDeleted: flags.deleted === true, ...page };
      const { versions, next } = await admin.list(request, { signal });
      return { items: versions, next };
    }, limit);
    let count = 0;
    for await (const page of pages) {
      count += page.length;
      if (flags.json === true) await terminal.write(page.map((version) => toJsonLine(jsonVersion(version))).join(""));
      else await terminal.write(formatPage(page, terminal, count === page.length));
    }
    if (flags.json !== true && count === 0) {
      terminal.note(
        prefix.length === 0 ? "There are no keys." : `There are no keys that begin with ${showBytes(prefix)}.`,
      );
    }
    if (count > 20 && terminal.isInteractive) terminal.note(terminal.errorStyle("dim", formatCount(count, "key")));
  });
}

function formatPage(versions: readonly Version[], { style, columns, nowMs }: Terminal, isFirst: boolean): string {
  const hasStreams = new Set(versions.map(({ stream }) => stream)).size > 1;
  const now = nowMs();
  const rows = versions.map((version) => [
    ...(hasStreams ? [version.stream] : []),
    showBytes(version.key, { maxLength: Math.max(20, Math.floor(columns / 3)) }),
    version.position.toString(),
    formatAgo(Number(version.committedAtMs), now),
    version.deleted
      ? style("dim", "(deleted)")
      : showBytes(version.value, { maxLength: Math.max(20, Math.floor(columns / 2) - 24) }),
  ]);
  const titles = [...(hasStreams ? [{ title: "STREAM" }] : []), { title: "KEY" }];
  const table = formatTable(
    [...titles, { title: "POSITION", align: "right" }, { title: "CHANGED" }, { title: "VALUE" }],
    rows,
    (text) => style("dim", text),
  );
  return isFirst ? table : table.slice(table.indexOf("\n") + 1);
}
