import { buffer } from "node:stream/consumers";
import { Code, ConnectError } from "@connectrpc/connect";
import { DaemonError } from "../../daemon-error.ts";
import { storeStreamName } from "../../config/defaults.ts";
import type { DaemonClient } from "../client.ts";
import { type CommandFlags, withDaemon } from "../command.ts";
import { showBytes } from "../format/bytes.ts";
import { jsonBytes, toJsonLine } from "../json.ts";
import { parseKey } from "../keys.ts";
import type { Terminal } from "../terminal.ts";

interface WriteFlags extends CommandFlags {
  readonly sync: boolean;
}

export async function put(keyText: string, valueText: string, flags: WriteFlags): Promise<number> {
  const key = parseKey(keyText, flags);
  const value = valueText === "-" ? await buffer(process.stdin) : Buffer.from(valueText, "utf8");
  return withDaemon(flags, async (client, terminal) => {
    const { revision } = await write(() => client.store.put({ key, value }, { signal: terminal.signal }), client);
    const position = await sync(client, terminal, flags);
    if (flags.json === true)
      return terminal.write(toJsonLine({ key: jsonBytes(key), revision, position: position ?? null }));
    return terminal.write(
      `${showBytes(key)} = ${showBytes(value, { maxLength: 60 })}  ${terminal.style("dim", `revision ${revision}`)}\n`,
    );
  });
}

export async function del(keyText: string, flags: WriteFlags): Promise<number> {
  const key = parseKey(keyText, flags);
  return withDaemon(flags, async (client, terminal) => {
    const { revision, existed } = await write(() => client.store.delete({ key }, { signal: terminal.signal }), client);
    if (!existed) {
      if (flags.json === true)
        await terminal.write(toJsonLine({ key: jsonBytes(key), existed, revision, position: null }));
      throw new DaemonError("NOT_FOUND", `There is no key ${showBytes(key)}, so nothing was deleted.`);
    }
    const position = await sync(client, terminal, flags);
    if (flags.json === true) {
      return terminal.write(toJsonLine({ key: jsonBytes(key), existed, revision, position: position ?? null }));
    }
    return terminal.write(`${showBytes(key)} deleted  ${terminal.style("dim", `revision ${revision}`)}\n`);
  });
}

/** A daemon without an embedded store does not know the service at all. */
async function write<T>(call: () => Promise<T>, client: DaemonClient): Promise<T> {
  try {
    return await call();
  } catch (error) {
    const { code } = ConnectError.from(error);
    if (code !== Code.Unimplemented && code !== Code.NotFound) throw error;
    const { streams } = await client.admin.status({});
    const followed = streams.map(({ kind, description }) => `${kind} at ${description}`).join(" and ") || "nothing";
    throw new DaemonError("REFUSED", `This daemon has no store of its own; it follows ${followed}.`, {
      fix: "Change keys there, or set `store: true` in its tidemark.config.ts.",
      cause: error,
    });
  }
}

/** Waits until a read sees what was just written; a replica that is behind does not undo the write. */
async function sync({ admin }: DaemonClient, terminal: Terminal, flags: WriteFlags): Promise<bigint | undefined> {
  if (!flags.sync) return undefined;
  try {
    return (await admin.sync({ stream: storeStreamName }, { timeoutMs: 5000, signal: terminal.signal })).position;
  } catch (error) {
    if (terminal.signal.aborted) throw error;
    terminal.note(
      `The store has it, but the replica does not yet: ${ConnectError.from(error).rawMessage}. See \`tidemark status\`.`,
    );
    return undefined;
  }
}
