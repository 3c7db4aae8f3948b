import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import { workerBundle } from "./worker-bundle.ts";

export interface RunningProcess {
  readonly process: ChildProcessWithoutNullStreams;
  /** When it wrote its first line. */
  readonly ready: Promise<void>;
  readonly exited: Promise<{
    readonly code: number | null;
    readonly signal: NodeJS.Signals | null;
    readonly output: string;
  }>;
}

const scripts = {
  worker: workerBundle,
  writer: fileURLToPath(new URL("./live-writer.ts", import.meta.url)),
} as const;

/** Starts a script beside this file. */
export function startProcess(script: keyof typeof scripts, ...args: readonly string[]): RunningProcess {
  const conditions = ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"];
  const child = spawn(process.execPath, [...conditions, scripts[script], ...args]);
  onTestFinished(() => void child.kill("SIGKILL"));
  let output = "";
  let errors = "";
  child.stdout.on("data", (data: Buffer) => (output += data.toString()));
  child.stderr.on("data", (data: Buffer) => (errors += data.toString()));
  const exited = once(child, "close").then(([code, signal]) => {
    if (code !== 0 && signal === null) throw new Error(`${script} failed: ${errors}`);
    return { code: code as number | null, signal: signal as NodeJS.Signals | null, output };
  });
  exited.catch(() => {});
  const ready = Promise.race([once(child.stdout, "data"), exited]).then(() => undefined);
  return { process: child, ready, exited };
}
