import type { DaemonClient } from "./client.ts";
import type { CommandFlags } from "./command.ts";

/** `--fresh`: what the source had when the command began is in what is read afterwards. */
export async function syncFirst(
  client: DaemonClient,
  flags: CommandFlags & { readonly fresh?: boolean },
  signal: AbortSignal,
): Promise<void> {
  if (flags.fresh === true) await client.admin.sync({ stream: flags.stream ?? "" }, { timeoutMs: 30_000, signal });
}
