import type { MessageInitShape } from "@bufbuild/protobuf";
import type { AsOfSchema, Difference } from "../../gen/tidemark/admin/v1/admin_pb.ts";
import { DaemonError } from "../../daemon-error.ts";
import type { DaemonClient } from "../client.ts";
import { atMessage, type CommandFlags, withDaemon } from "../command.ts";
import { showBytes } from "../format/bytes.ts";
import { formatValueDiff } from "../format/diff.ts";
import { jsonDifference, toJsonLine } from "../json.ts";
import { parseBytes } from "../keys.ts";
import { pagesOf } from "../pages.ts";
import type { Terminal } from "../terminal.ts";

interface DiffFlags extends CommandFlags {
  readonly from?: string;
  readonly to?: string;
  readonly prefix?: boolean;
}

type At = MessageInitShape<typeof AsOfSchema>;

export async function diff(keyText: string | undefined, flags: DiffFlags): Promise<number> {
  const key = parseBytes(keyText ?? "", flags, "KEY");
  const isPrefix = key.length === 0 || flags.prefix === true || key.at(-1) === "/".charCodeAt(0);
  if (isPrefix && flags.from === undefined) {
    throw new DaemonError("USAGE", "--from is missing: several keys have no common last change.", {
      fix: 'For example: --from "1h ago". For one key whose name ends in / there is `tidemark log`.',
    });
  }
  return withDaemon(flags, async (client, terminal) => {
    const { signal } = terminal;
    const now = terminal.nowMs();
    const stream = flags.stream ?? "";
    const from =
      atMessage(flags.from, "--from", now) ??
      (isPrefix || flags.from !== undefined ? {} : await beforeLast(client, key, flags, signal));
    // Pages must agree on what "now" was.
    const to = atMessage(flags.to, "--to", now) ?? position((await client.admin.status({}, { signal })).position);
    const range = isPrefix
      ? { stream, prefix: key }
      : { stream, start: key, end: Buffer.concat([key, Buffer.alloc(1)]) };
    const pages = pagesOf(async (page) => {
      const { differences, next } = await client.admin.diff({ from, to, range, ...page }, { signal });
      return { items: differences, next };
    }, undefined);
    let count = 0;
    for await (const page of pages) {
      count += page.length;
      const lines = page.map((one) => (flags.json === true ? toJsonLine(jsonDifference(one)) : format(one, terminal)));
      await terminal.write(lines.join(""));
    }
    if (count === 0 && flags.json !== true) terminal.note("Nothing differs.");
  });
}

const position = (value: bigint): At => ({ at: { case: "position", value } });

/** The moment before the key's last change. */
async function beforeLast(client: DaemonClient, key: Uint8Array, flags: DiffFlags, signal: AbortSignal): Promise<At> {
  const { versions } = await client.admin.log({ stream: flags.stream ?? "", key, limit: 1 }, { signal });
  const last = versions[0];
  if (last === undefined) throw new DaemonError("NOT_FOUND", `There never was a key ${showBytes(key)}.`);
  return position(last.position - 1n);
}

const signs: Readonly<Record<string, string>> = { added: "+", removed: "-", changed: "~" };

function format(one: Difference, { style }: Terminal): string {
  const head = `${signs[one.change] ?? "~"} ${showBytes(one.key)}`;
  const value = (version: Difference["before"]) =>
    version === undefined || version.deleted ? undefined : version.value;
  return `${style("bold", head)}  ${style("dim", whereOf(one))}\n${formatValueDiff(value(one.before), value(one.after), style)}`;
}

function whereOf({ change, before, after }: Difference): string {
  if (before === undefined) return `${change}, position ${after?.position}`;
  return `${change}, position ${before.position}${after === undefined ? "" : ` → ${after.position}`}`;
}
