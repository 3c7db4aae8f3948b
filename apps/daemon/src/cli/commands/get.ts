import { DaemonError } from "../../daemon-error.ts";
import type { DaemonClient } from "../client.ts";
import { atMessage, type CommandFlags, withDaemon } from "../command.ts";
import { showBytes, textOf } from "../format/bytes.ts";
import { formatAgo } from "../format/time.ts";
import { jsonVersion, toJsonLine } from "../json.ts";
import { keyArgument, parseKey } from "../keys.ts";
import { syncFirst } from "../sync.ts";
import type { Terminal } from "../terminal.ts";

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
      if (flags.json === true) await terminal.write(toJsonLine(version === undefined ? null : jsonVersion(version)));
      throw await notFound(client, stream, key, flags, terminal);
    }
    if (flags.json === true) return terminal.write(toJsonLine(jsonVersion(version)));
    // A program gets the bytes as they are; a terminal gets nothing that could harm it.
    if (flags.raw === true || (!terminal.isInteractive && textOf(version.value) === undefined))
      return terminal.write(version.value);
    if (!terminal.isInteractive) return terminal.write(`${textOf(version.value) ?? ""}\n`);
    return terminal.write(`${showBytes(version.value, { isMultiline: true })}\n`);
  });
}

/** There may have been such a key; then its past is the answer. */
async function notFound(
  { admin }: DaemonClient,
  stream: string,
  key: Uint8Array,
  flags: GetFlags,
  terminal: Terminal,
): Promise<DaemonError> {
  const shown = showBytes(key);
  const { versions } = await admin.log({ stream, key, limit: 1 }, { signal: terminal.signal });
  const last = versions[0];
  if (last === undefined) return new DaemonError("NOT_FOUND", `There is no key ${shown}.`);
  const fix = `Its past: tidemark log ${keyArgument(key)}`;
  if (flags.at !== undefined) return new DaemonError("NOT_FOUND", `There was no key ${shown} at ${flags.at}.`, { fix });
  return new DaemonError(
    "NOT_FOUND",
    `The key ${shown} was deleted ${formatAgo(Number(last.committedAtMs), terminal.nowMs())}.`,
    { fix },
  );
}
