import { type CommandFlags, withDaemon } from "../command.ts";
import { formatTable } from "../format/table.ts";
import { formatTime } from "../format/time.ts";
import { jsonGap, toJsonLine } from "../json.ts";

export async function gaps(flags: CommandFlags): Promise<number> {
  return withDaemon(flags, async ({ admin }, terminal) => {
    const { gaps: found } = await admin.gaps({ stream: flags.stream ?? "" }, { signal: terminal.signal });
    if (flags.json === true) return terminal.write(found.map((gap) => toJsonLine(jsonGap(gap))).join(""));
    if (found.length === 0) return terminal.note("No gaps: every change since the beginning of each stream is here.");
    const rows = found.map((gap) => [
      `${gap.id}`,
      gap.stream,
      formatTime(Number(gap.atMs)),
      gap.position.toString(),
      gap.reason,
      `${gap.from || "?"} → ${gap.to || "?"}`,
      gap.detail,
    ]);
    const titles = ["ID", "STREAM", "NOTICED", "POSITION", "REASON", "LOST", "DETAIL"];
    return terminal.write(
      formatTable(
        titles.map((title) => ({ title })),
        rows,
        (text) => terminal.style("dim", text),
      ),
    );
  });
}
