import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/** A `tidemark` that can be killed and started again with the same arguments. */
export class Program {
  readonly #args: readonly string[];
  readonly #log: string[] = [];
  #child: ChildProcess | undefined;

  constructor(args: readonly string[]) {
    this.#args = args;
  }

  /** The end of what it wrote to standard error. */
  get log(): string {
    return this.#log.slice(-30).join("\n");
  }

  /** Resolves when it says that it is ready. */
  async start(): Promise<void> {
    const child = spawn(process.execPath, this.#args, { stdio: ["ignore", "pipe", "pipe"] });
    this.#child = child;
    children.add(child);
    child.once("exit", () => children.delete(child));
    createInterface({ input: child.stderr }).on("line", (line) => {
      this.#log.push(line);
      if (this.#log.length > 200) this.#log.shift();
    });
    const lines = createInterface({ input: child.stdout });
    await Promise.race([
      once(lines, "line"),
      once(child, "exit").then(([code]) => {
        throw new Error(`tidemark ended with ${String(code)}:\n${this.log}`);
      }),
    ]);
  }

  async kill(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const closed = once(child, "exit");
    child.kill(signal);
    await closed;
  }
}

const children = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
});
