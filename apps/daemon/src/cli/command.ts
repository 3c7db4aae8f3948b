import type { MessageInitShape } from "@bufbuild/protobuf";
import type { AsOfSchema } from "../gen/tidemark/admin/v1/admin_pb.ts";
import { parseAt } from "./at.ts";
import { type ClientFlags, type DaemonClient, failCall, openClient } from "./client.ts";
import type { KeyFlags } from "./keys.ts";
import { createTerminal, type Terminal } from "./terminal.ts";

/** Flags that every command that talks to the daemon has. */
export interface CommandFlags extends ClientFlags, KeyFlags {
  readonly json?: boolean;
  readonly stream?: string;
}

/** Runs a command against the daemon and returns its exit code. */
export async function withDaemon<F extends CommandFlags>(
  flags: F,
  run: (client: DaemonClient, terminal: Terminal) => Promise<number | void>,
): Promise<number> {
  const terminal = createTerminal();
  const client = openClient(flags);
  try {
    return (await run(client, terminal)) ?? 0;
  } catch (error) {
    failCall(error, client.url, terminal.signal);
  }
}

/** `--at` and its kin as the AdminService takes it. */
export function atMessage(
  text: string | undefined,
  flag: string,
  nowMs: number,
): MessageInitShape<typeof AsOfSchema> | undefined {
  if (text === undefined) return undefined;
  const at = parseAt(text, flag, nowMs);
  if (at.timeMs !== undefined) return { at: { case: "timeMs", value: BigInt(at.timeMs) } };
  if (at.position !== undefined) return { at: { case: "position", value: at.position } };
  if (at.cursor !== undefined) return { at: { case: "cursor", value: at.cursor } };
  return undefined;
}
