import type { StatusResponse, StreamStatus } from "../../gen/tidemark/admin/v1/admin_pb.ts";
import { type CommandFlags, withDaemon } from "../command.ts";
import { formatSize } from "../format/bytes.ts";
import type { Style } from "../format/style.ts";
import { formatFields } from "../format/table.ts";
import { formatAgo, formatCount, formatDuration } from "../format/time.ts";
import { jsonStatus, toJsonLine } from "../json.ts";

export async function status(flags: CommandFlags): Promise<number> {
  return withDaemon(flags, async ({ admin, url }, terminal) => {
    const report = await admin.status({}, { signal: terminal.signal });
    await terminal.write(
      flags.json === true
        ? toJsonLine(jsonStatus(report))
        : formatStatus(report, url, terminal.style, terminal.nowMs()),
    );
  });
}

function formatStatus(report: StatusResponse, url: string, style: Style, nowMs: number): string {
  const dim = (text: string) => style("dim", text);
  const upMs = nowMs - Number(report.startedAtMs);
  const head = formatFields(
    [
      ["daemon", `${url}  ${dim(`Tidemark ${report.version}, up ${formatDuration(Math.max(0, upMs))}`)}`],
      ...(report.watchUrl === "" ? [] : [["store", `${report.watchUrl}  ${dim("Watch API")}`] as const]),
      ...(report.topicsUrl === "" ? [] : [["topics", `${report.topicsUrl}  ${dim("YDB Topic API")}`] as const]),
      ["data", report.dataDir],
      ["position", report.position.toString()],
    ],
    dim,
  );
  return head + report.streams.map((stream) => `\n${formatStream(stream, style, nowMs)}`).join("");
}

function formatStream(stream: StreamStatus, style: Style, nowMs: number): string {
  const dim = (text: string) => style("dim", text);
  const colour =
    stream.state === "live" ? "green" : stream.state === "quarantined" || stream.state === "stopped" ? "red" : "yellow";
  const lag =
    stream.lagP99Ms === undefined
      ? ""
      : `, lag p50 ${formatMs(stream.lagP50Ms ?? 0)}, p99 ${formatMs(stream.lagP99Ms)}`;
  const commit = stream.lastCommitAtMs === undefined ? "none yet" : formatAgo(Number(stream.lastCommitAtMs), nowMs);
  const troubles = [
    stream.gaps > 0n ? `${formatCount(stream.gaps, "gap")} (see \`tidemark gaps\`)` : "",
    stream.quarantined > 0n ? `${stream.quarantined} quarantined (see \`tidemark quarantine list\`)` : "",
    stream.drops > 0n ? `${stream.drops} dropped` : "",
    stream.reconnects > 0n ? formatCount(stream.reconnects, "reconnect") : "",
  ].filter((text) => text !== "");
  const fields: (readonly [string, string])[] = [
    ["state", style(colour, stream.state)],
    ["holds", `${formatCount(stream.keys, "key")}, ${formatCount(stream.versions, "version")}`],
    ["cursor", stream.cursor === "" ? dim("none yet") : stream.cursor],
    ["commits", `last ${commit}, ${stream.changesPerSecond.toFixed(1)} changes/s${lag}`],
    ...(stream.inflightBytes > 0n ? [["in flight", formatSize(Number(stream.inflightBytes))] as const] : []),
    ...(troubles.length > 0 ? [["noted", troubles.join(", ")] as const] : []),
    ...(stream.problem === "" ? [] : [["problem", style("yellow", stream.problem)] as const]),
  ];
  const body = formatFields(fields, dim).replace(/^/gm, "  ").trimEnd();
  return `${style("bold", stream.name)}  ${dim(`${stream.kind} ${stream.description}`)}\n${body}\n`;
}

const formatMs = (ms: number) => (ms < 10 ? `${ms.toFixed(1)}ms` : formatDuration(ms));
