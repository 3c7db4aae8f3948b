import type { LastAudit, SourceFact, StatusResponse, StreamStatus } from "../../gen/tidemark/admin/v1/admin_pb.ts";
import { type CommandFlags, withDaemon } from "../command.ts";
import { formatSize, safeText } from "../format/bytes.ts";
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
    [
      "holds",
      [
        formatCount(stream.keys, "key"),
        formatCount(stream.versions, "version"),
        ...(stream.storedBytes === undefined ? [] : [`${formatSize(Number(stream.storedBytes))} in the store`]),
      ].join(", "),
    ],
    ["cursor", stream.cursor === "" ? dim("none yet") : stream.cursor],
    // What sites share is followed by nobody who would measure it.
    [
      "commits",
      `last ${commit}${stream.kind === "graph" ? "" : `, ${stream.changesPerSecond.toFixed(1)} changes/s${lag}`}`,
    ],
    ...(stream.sourceFacts.length > 0 ? [["source", formatFacts(stream.sourceFacts, style)] as const] : []),
    ...(stream.lastAudit === undefined ? [] : [["audit", formatAudit(stream.lastAudit, style, nowMs)] as const]),
    ...(stream.inflightBytes > 0n ? [["in flight", formatSize(Number(stream.inflightBytes))] as const] : []),
    ...(troubles.length > 0 ? [["noted", troubles.join(", ")] as const] : []),
    ...(stream.problem === "" ? [] : [["problem", style("yellow", stream.problem)] as const]),
  ];
  const body = formatFields(fields, dim).replace(/^/gm, "  ").trimEnd();
  return `${style("bold", stream.name)}  ${dim(`${stream.kind} ${stream.description}`)}\n${body}\n`;
}

/** `577 leaves, 3 duplicates, encoding proto`: what should worry stands out. */
function formatFacts(facts: readonly SourceFact[], style: Style): string {
  return facts
    .map(({ name, value, notable }) => {
      const shown = value.case === "text" ? `${name} ${safeText(value.value)}` : `${value.value ?? 0n} ${name}`;
      return notable ? style("yellow", shown) : shown;
    })
    .join(", ");
}

function formatAudit(
  { verdict, atMs, differences, truncated, reason }: LastAudit,
  style: Style,
  nowMs: number,
): string {
  const colour = verdict === "equal" ? "green" : verdict === "different" || verdict === "failed" ? "red" : "yellow";
  const found = differences === 0n ? "" : `, ${truncated ? "at least " : ""}${formatCount(differences, "difference")}`;
  const why = reason === "" ? "" : `: ${safeText(reason)}`;
  return `${style(colour, verdict)} ${formatAgo(Number(atMs), nowMs)}${found}${why} (see \`tidemark audit --last\`)`;
}

const formatMs = (ms: number) => (ms < 10 ? `${ms.toFixed(1)}ms` : formatDuration(ms));
