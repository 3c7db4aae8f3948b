import { type CommandFlags, withDaemon } from "../command.ts";
import { toJsonLine } from "../json.ts";

/** `tidemark reload`: the daemon reads its configuration again, and says what changed. */
export async function reload(flags: CommandFlags): Promise<number> {
  return withDaemon(flags, async ({ admin }, terminal) => {
    const { changes } = await admin.reload({}, { signal: terminal.signal });
    if (flags.json === true) await terminal.write(toJsonLine({ changes }));
    else if (changes.length === 0) terminal.note("Nothing changed.");
    else await terminal.write(changes.map((change) => `${change}\n`).join(""));
  });
}
