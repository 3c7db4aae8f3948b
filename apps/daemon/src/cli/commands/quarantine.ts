import { Code, ConnectError } from "@connectrpc/connect";
import { DaemonError } from "../../daemon-error.ts";
import { type CommandFlags, withDaemon } from "../command.ts";
import { safeText, showBytes } from "../format/bytes.ts";
import { formatTable } from "../format/table.ts";
import { formatTime } from "../format/time.ts";
import { jsonQuarantined, toJsonLine } from "../json.ts";

interface ListFlags extends CommandFlags {
  readonly all?: boolean;
}

interface SkipFlags extends CommandFlags {
  readonly reason: string;
}

export async function list(flags: ListFlags): Promise<number> {
  return withDaemon(flags, async ({ admin }, terminal) => {
    const request = { stream: flags.stream ?? "", includeResolved: flags.all === true };
    const { items } = await admin.quarantine(request, { signal: terminal.signal });
    if (flags.json === true) return terminal.write(items.map((item) => toJsonLine(jsonQuarantined(item))).join(""));
    if (items.length === 0) return terminal.note("Nothing is quarantined.");
    const rows = items.map((item) => [
      `${item.id}`,
      item.stream,
      formatTime(Number(item.atMs)),
      showBytes(item.key, { maxLength: 40 }),
      item.state,
      safeText(item.state === "open" ? item.error : item.resolution),
    ]);
    const titles = ["ID", "STREAM", "SINCE", "KEY", "STATE", "WHY"];
    await terminal.write(
      formatTable(
        titles.map((title) => ({ title })),
        rows,
        (text) => terminal.style("dim", text),
      ),
    );
    if (items.some(({ state }) => state === "open")) {
      terminal.note("Resolve one with `tidemark quarantine retry ID` or `tidemark quarantine skip ID --reason …`.");
    }
  });
}

export async function retry(idText: string, flags: CommandFlags): Promise<number> {
  return resolve(idText, flags, { case: "retry", value: true });
}

export async function skip(idText: string, flags: SkipFlags): Promise<number> {
  if (flags.reason.trim() === "") throw new DaemonError("USAGE", "--reason must say why, got nothing.");
  return resolve(idText, flags, { case: "skipReason", value: flags.reason });
}

type Action =
  | { readonly case: "retry"; readonly value: boolean }
  | { readonly case: "skipReason"; readonly value: string };

async function resolve(idText: string, flags: CommandFlags, action: Action): Promise<number> {
  const id = Number(idText);
  if (!/^\d{1,10}$/.test(idText) || id > 0xffff_ffff) {
    throw new DaemonError(
      "USAGE",
      `ID must be a number of \`tidemark quarantine list\`, got ${JSON.stringify(idText)}.`,
    );
  }
  return withDaemon(flags, async ({ admin }, terminal) => {
    const { item } = await admin
      .resolveQuarantined({ id, action }, { signal: terminal.signal })
      .catch((error: unknown) => {
        const { code, rawMessage } = ConnectError.from(error);
        if (code !== Code.FailedPrecondition) throw error;
        throw new DaemonError(
          "STILL_REFUSED",
          `The change could not be stored this time either: ${safeText(rawMessage)}`,
          {
            cause: error,
            fix: `Remove the cause and retry, or leave it out for good: tidemark quarantine skip ${id} --reason …`,
          },
        );
      });
    if (item === undefined) throw new DaemonError("NOT_FOUND", `Nothing quarantined has the id ${id}.`);
    if (flags.json === true) await terminal.write(toJsonLine(jsonQuarantined(item)));
    else await terminal.write(`${showBytes(item.key)} ${item.state}: ${safeText(item.resolution)}\n`);
  });
}
