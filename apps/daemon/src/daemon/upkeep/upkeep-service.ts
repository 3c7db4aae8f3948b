import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import { type AuditReportSchema, type UpkeepService } from "../../gen/tidemark/admin/v1/upkeep_pb.ts";
import type { RecordedAudit } from "./upkeep-types.ts";
import type { Upkeep } from "./upkeep.ts";

/** Answers what `tidemark audit` asks. `signal` aborts when the daemon stops. */
export function createUpkeepService(upkeep: Upkeep, stopping: AbortSignal): ServiceImpl<typeof UpkeepService> {
  return {
    async *audit({ stream, dryRun }, context) {
      const known = upkeep.auditable();
      if (stream !== "" && !known.includes(stream)) {
        const there = known.length === 0 ? "none" : known.join(", ");
        throw new ConnectError(
          `No stream ${stream} is followed that can be audited; there is ${there}.`,
          Code.NotFound,
        );
      }
      const signal = AbortSignal.any([context.signal, stopping]);
      for (const name of stream === "" ? known : [stream]) {
        yield { report: toReport(await upkeep.audit(name, !dryRun, signal)) };
      }
    },

    audits() {
      return { reports: upkeep.reports().map(toReport) };
    },
  };
}

function toReport(report: RecordedAudit): MessageInitShape<typeof AuditReportSchema> {
  const { stream, verdict, reason, epoch, cursor, checksum, isTruncated, differences, durationMs } = report;
  return {
    stream,
    verdict,
    reason: reason ?? "",
    epoch: epoch ?? "",
    cursor: cursor ?? "",
    keys: BigInt(report.keys),
    checksum,
    missing: BigInt(report.missing),
    extra: BigInt(report.extra),
    changed: BigInt(report.changed),
    truncated: isTruncated,
    quarantined: BigInt(report.quarantined),
    differences: differences.map(({ key, kind }) => ({ key: new Uint8Array(key), kind })),
    durationMs,
    atMs: BigInt(Math.trunc(report.atMs)),
  };
}
