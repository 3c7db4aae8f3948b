import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";

// Debian's packages are for Debian's interpreter, whatever else is on PATH.
const python = "/usr/bin/python3";
const script = fileURLToPath(new URL("./peer.py", import.meta.url));

/** A process of `peer.py`. */
export class PythonPeer {
  readonly #child: ChildProcess;
  readonly #lines: Record<string, unknown>[] = [];
  readonly #waiters: ((line: Record<string, unknown>) => void)[] = [];
  #errors = "";
  #isDead = false;

  constructor(...args: readonly string[]) {
    const child = spawn(python, [script, ...args], { stdio: ["pipe", "pipe", "pipe"] });
    this.#child = child;
    child.stderr?.on("data", (text: Buffer) => (this.#errors += text.toString()));
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on("line", (text) => {
      const line = JSON.parse(text) as Record<string, unknown>;
      const waiter = this.#waiters.shift();
      if (waiter === undefined) this.#lines.push(line);
      else waiter(line);
    });
    child.on("close", () => {
      this.#isDead = true;
      for (const waiter of this.#waiters.splice(0)) waiter({ died: this.#errors });
    });
    onTestFinished(() => void child.kill("SIGKILL"));
  }

  tell(message: object): void {
    this.#child.stdin?.write(`${JSON.stringify(message)}\n`);
  }

  /** The next thing it says. */
  heard(): Promise<Record<string, unknown>> {
    const line = this.#lines.shift() ?? (this.#isDead ? { died: this.#errors } : undefined);
    return line === undefined ? new Promise((resolve) => this.#waiters.push(resolve)) : Promise.resolve(line);
  }

  async asked(method: string, request: object): Promise<Record<string, unknown>> {
    this.tell({ method, request });
    return this.heard();
  }
}
