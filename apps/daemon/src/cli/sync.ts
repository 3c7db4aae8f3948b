import { Code, ConnectError } from "@connectrpc/connect";
import { DaemonError } from "../daemon-error.ts";
import type { DaemonClient } from "./client.ts";
import type { CommandFlags } from "./command.ts";

const freshWithinMs = 10_000;

/** `--fresh`: what the source had when the command began is in what is read afterwards. */
export async function syncFirst(
  client: DaemonClient,
  flags: CommandFlags & { readonly fresh?: boolean },
  signal: AbortSignal,
): Promise<void> {
  if (flags.fresh !== true) return;
  try {
    await client.admin.sync({ stream: flags.stream ?? "" }, { timeoutMs: freshWithinMs, signal });
  } catch (error) {
    if (signal.aborted || ConnectError.from(error).code !== Code.DeadlineExceeded) throw error;
    throw new DaemonError("REFUSED", `The replica did not catch up with its source within ${freshWithinMs / 1000} s.`, {
      cause: error,
      fix: "`tidemark status` tells what is wrong; without --fresh you see what the replica has.",
    });
  }
}
