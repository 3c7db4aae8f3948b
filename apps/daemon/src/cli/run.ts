import { CommanderError } from "commander";
import { redact } from "../redact.ts";
import { createStyle } from "./format/style.ts";
import { createProgram } from "./program.ts";
import { reportFailure } from "./terminal.ts";

/** Runs one command line and returns the exit code. Never throws. */
export async function runCli(args: readonly string[]): Promise<number> {
  const style = createStyle(process.stderr);
  let exitCode = 0;
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    // `tidemark --help | head` is not an error. Commands listen, too, and end with it.
    if (error.code !== "EPIPE" && process.stdout.listenerCount("error") === 1) throw error;
  });
  try {
    const program = createProgram((code) => {
      exitCode = code;
    });
    for (const command of [program, ...program.commands, ...program.commands.flatMap(({ commands }) => commands)]) {
      command.configureOutput({
        writeErr: (text) => void process.stderr.write(redact(text)),
        outputError: (text, write) => write(text.replace(/^error:/, style("red", "error:"))),
      });
    }
    await program.parseAsync(args, { from: "user" });
    return exitCode;
  } catch (error) {
    // Commander has printed its own message already.
    if (error instanceof CommanderError) return error.exitCode === 0 || error.code === "commander.help" ? 0 : 2;
    return reportFailure(error, style);
  }
}
