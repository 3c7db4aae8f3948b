import type { AuditReport } from "../../gen/tidemark/admin/v1/upkeep_pb.ts";
import { type CommandFlags, withDaemon } from "../command.ts";
import { safeText, showBytes } from "../format/bytes.ts";
import { formatCount, formatDuration, formatTime } from "../format/time.ts";
import { jsonBytes, toJsonLine } from "../json.ts";
import type { Terminal } from "../terminal.ts";

interface AuditFlags extends CommandFlags {
  /** False: `--no-repair`. */
  readonly repair?: boolean;
  readonly last?: boolean;
}

const shownKeys = 10;

export async function audit(stream: string | undefined, flags: AuditFlags): Promise<number> {
  return withDaemon(flags, async ({ upkeep }, terminal) => {
    const { signal } = terminal;
    const reports = flags.last === true ? last() : now();
    let isEqual = true;
    let count = 0;
    for await (const report of reports) {
      if (report === undefined || (stream !== undefined && report.stream !== stream)) continue;
      count++;
      isEqual &&= report.verdict === "equal" || report.verdict === "repaired";
      await (flags.json === true ? terminal.write(toJsonLine(jsonAudit(report))) : print(report, terminal));
    }
    if (count === 0 && flags.json !== true) {
      terminal.note(flags.last === true ? "Nothing was audited yet." : "Nothing is followed that can be audited.");
    }
    return isEqual ? 0 : 1;

    async function* now() {
      const request = { stream: stream ?? "", dryRun: flags.repair === false };
      for await (const { report } of upkeep.audit(request, { signal })) yield report;
    }

    async function* last() {
      yield* (await upkeep.audits({}, { signal })).reports;
    }
  });
}

async function print(report: AuditReport, terminal: Terminal): Promise<void> {
  const { style } = terminal;
  const { stream, verdict, reason, missing, extra, changed, quarantined, truncated, keys, durationMs } = report;
  const colour =
    verdict === "equal" ? "green" : verdict === "repaired" || verdict === "inconclusive" ? "yellow" : "red";
  const took = `${formatCount(keys, "key")} in ${formatDuration(durationMs)}, ${formatTime(Number(report.atMs))}`;
  await terminal.write(`${style("bold", safeText(stream))}  ${style(colour, verdict)}  ${took}\n`);
  if (missing + extra + changed > 0n) {
    const least = truncated ? "at least " : "";
    await terminal.write(`  ${least}${missing} missing, ${extra} too many, ${changed} with other contents\n`);
    for (const { key, kind } of report.differences.slice(0, shownKeys)) {
      await terminal.write(`  ${kind}  ${showBytes(key, { maxLength: 80 })}\n`);
    }
    if (report.differences.length > shownKeys) await terminal.write("  … more with --json\n");
  }
  if (quarantined > 0n) await terminal.write(`  ${quarantined} differ because of changes in quarantine\n`);
  if (reason !== "") await terminal.write(`  ${safeText(reason)}\n`);
}

function jsonAudit(report: AuditReport) {
  const { reason, epoch, cursor, differences } = report;
  const { stream, verdict, keys, checksum, missing, extra, changed, truncated, quarantined, durationMs } = report;
  return {
    stream,
    verdict,
    reason: reason === "" ? null : reason,
    epoch: epoch === "" ? null : epoch,
    cursor: cursor === "" ? null : cursor,
    keys,
    checksum,
    missing,
    extra,
    changed,
    truncated,
    quarantined,
    differences: differences.map(({ key, kind }) => ({ key: jsonBytes(key), kind })),
    durationMs,
    at: new Date(Number(report.atMs)).toISOString(),
  };
}
