import { resolve } from "node:path";
import { DaemonError } from "../../daemon-error.ts";
import { type CommandFlags, withDaemon } from "../command.ts";
import { formatCount, formatDuration } from "../format/time.ts";
import { safeText } from "../format/bytes.ts";
import { toJsonLine } from "../json.ts";
import { createTerminal, type Terminal } from "../terminal.ts";

interface FsckFlags extends CommandFlags {
  readonly data?: string;
}

interface Report {
  readonly clean: boolean;
  readonly findings: readonly { readonly invariant: string; readonly message: string }[];
  readonly versions: bigint;
  readonly keys: bigint;
  readonly durationMs: number;
}

export async function fsck(flags: FsckFlags): Promise<number> {
  if (flags.data !== undefined) {
    if (flags.connect !== undefined) throw new DaemonError("USAGE", "--data and --connect exclude each other.");
    const terminal = createTerminal();
    return print(await checkFolder(resolve(flags.data), terminal.signal), flags, terminal);
  }
  return withDaemon(flags, async ({ admin }, terminal) => {
    const { clean, findings, versions, keys, durationMs } = await admin.fsck({}, { signal: terminal.signal });
    const plain = findings.map(({ invariant, message }) => ({ invariant, message }));
    return print({ clean, findings: plain, versions, keys, durationMs }, flags, terminal);
  });
}

async function checkFolder(folder: string, signal: AbortSignal): Promise<Report> {
  const { checkReplica } = await import("../../daemon/replica.ts");
  const { isClean, findings, versions, keys, durationMs } = await checkReplica(folder, signal);
  return { clean: isClean, findings, versions: BigInt(versions), keys: BigInt(keys), durationMs };
}

async function print(report: Report, flags: FsckFlags, terminal: Terminal): Promise<number> {
  if (flags.json === true) await terminal.write(toJsonLine(report));
  else {
    const { style } = terminal;
    for (const { invariant, message } of report.findings) {
      await terminal.write(`${style("red", invariant)}  ${safeText(message)}\n`);
    }
    const amount = `${formatCount(report.versions, "version")} of ${formatCount(report.keys, "key")} checked in ${formatDuration(report.durationMs)}`;
    const verdict = report.clean
      ? style("green", "clean")
      : style("red", formatCount(report.findings.length, "finding"));
    await terminal.write(`${verdict}  ${amount}\n`);
  }
  return report.clean ? 0 : 1;
}
