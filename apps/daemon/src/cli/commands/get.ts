import { DaemonError } from "../../daemon-error.ts";
import { atMessage, type CommandFlags, withDaemon } from "../command.ts";
import { showBytes, textOf } from "../format/bytes.ts";
import { formatAgo } from "../format/time.ts";
import { jsonVersion, toJsonLine } from "../json.ts";
import { keyArgument, parseKey } from "../keys.ts";
import { syncFirst } from "../sync.ts";

interface GetFlags extends CommandFlags {
  readonly at?: string;
  readonly fresh?: boolean;
  readonly raw?: boolean;
}

export async function get(keyText: string, flags: GetFlags): Promise<number> {
  const key = parseKey(keyText, flags);
  return withDaemon(flags, async (client, terminal) => {
    const { signal } = terminal;
    const at = atMessage(flags.at, "--at", terminal.nowMs());
    await syncFirst(client, flags, signal);
    const stream = flags.stream ?? "";
    const { version } = await client.admin.get({ stream, key, ...(at && { at }) }, { signal });
    if (version === undefined || version.deleted) {
      const when = flags.at === undefined ? "" : ` at ${flags.at}`;
      if (flags.json === true) await terminal.write(toJsonLine(version === undefined ? null : jsonVersion(version)));
      throw new DaemonError(
        "NOT_FOUND",
        version === undefined
          ? `There is no key ${showBytes(key)}${when}.`
          : `The key ${showBytes(key)} was deleted ${formatAgo(Number(version.committedAtMs), terminal.nowMs())}.`,
        version === undefined ? {} : { fix: `Its past: tidemark log ${keyArgument(key)}` },
      );
    }
    if (flags.json === true) return terminal.write(toJsonLine(jsonVersion(version)));
    // A program gets the bytes as they are; a terminal gets nothing that could harm it.
    if (flags.raw === true || (!terminal.isInteractive && textOf(version.value) === undefined))
      return terminal.write(version.value);
    if (!terminal.isInteractive) return terminal.write(`${textOf(version.value) ?? ""}\n`);
    return terminal.write(`${showBytes(version.value, { isMultiline: true })}\n`);
  });
}
