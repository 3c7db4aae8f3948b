import { type ChildProcess, type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { inject, onTestFinished } from "vitest";

const bundle = inject("bundle");
/** The command line as a file. */
export const main: string = join(bundle, "cli/main.js");
/** Shared by all test files, and not the one of whoever runs the tests. */
const compileCache = join(bundle, "compiled");
const nodeArgs = ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"];

/** A folder of definitions of migrations. */
export const definitions = (name: string): string => join(bundle, "definitions", name);

/** A folder that goes away with the test. */
export function testFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-daemon-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface RunResult {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stdoutBytes: Buffer;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string | Uint8Array;
  readonly signal?: AbortSignal;
}

function environment(more: Readonly<Record<string, string>> = {}): Record<string, string | undefined> {
  const { NO_COLOR: _, FORCE_COLOR: __, TIDEMARK_URL: ___, ...rest } = process.env;
  return { ...rest, NODE_COMPILE_CACHE: compileCache, ...more };
}

/** Runs the real command line to its end. */
export async function tidemark(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const child = spawn(process.execPath, [...nodeArgs, main, ...args], {
    cwd: options.cwd ?? tmpdir(),
    env: environment(options.env),
    stdio: "pipe",
    ...(options.signal !== undefined && { signal: options.signal }),
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => stderr.push(chunk));
  child.stdin.on("error", () => {});
  child.stdin.end(options.stdin ?? "");
  const [exitCode] = (await once(child, "close")) as [number | null];
  const stdoutBytes = Buffer.concat(stdout);
  return { exitCode, stdout: stdoutBytes.toString(), stdoutBytes, stderr: Buffer.concat(stderr).toString() };
}

/** A command that keeps running; it is killed with the test. */
export function spawnCli(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  cwd: string = tmpdir(),
): ChildProcessByStdio<null, Readable, Readable> {
  const child = spawn(process.execPath, [...nodeArgs, main, ...args], {
    cwd,
    env: environment(env),
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  return child;
}

/** Looks until it is so; the test's own time limit ends it. */
export async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** Splits a command like a shell does, as far as a README needs it. */
export function shellWords(command: string): string[] {
  return [...command.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(
    ([, single, double, plain]) => single ?? double ?? plain ?? "",
  );
}

interface Ready {
  readonly ready: true;
  readonly http: string;
  readonly watch: string | null;
  readonly topics: string | null;
}

/** A daemon in a process of its own. */
export interface TestDaemon extends Ready {
  readonly child: ChildProcess;
  /** Everything it wrote so far. */
  readonly output: () => { readonly stdout: string; readonly stderr: string };
  /** One command against this daemon. */
  readonly cli: (args: readonly string[], options?: RunOptions) => Promise<RunResult>;
  /** The lines of a command's JSON. */
  readonly json: (args: readonly string[]) => Promise<readonly Json[]>;
  readonly stop: (signal: "SIGTERM" | "SIGINT" | "SIGKILL") => Promise<number | null>;
}

// oxlint-disable-next-line typescript/no-explicit-any -- what tests read from JSON is checked by what they expect of it
export type Json = any;

/** Starts `tidemark up` on free ports and waits until it is ready. It is killed with the test. */
export async function startDaemon(args: readonly string[], options: RunOptions = {}): Promise<TestDaemon> {
  const ports = ["--listen", "127.0.0.1:0", "--watch-listen", "127.0.0.1:0", "--topics-listen", "127.0.0.1:0"];
  const child = spawn(process.execPath, [...nodeArgs, main, "up", "--json", ...ports, ...args], {
    cwd: options.cwd ?? tmpdir(),
    env: environment(options.env),
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  let stdout = "";
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const ready = await new Promise<Ready>((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      stdout += `${line}\n`;
      try {
        resolve(JSON.parse(line) as Ready);
      } catch (error) {
        reject(error as Error);
      }
    });
    child.once("close", (code) => reject(new Error(`tidemark up ended with ${code}: ${stdout}${stderr}`)));
  });
  const cli: TestDaemon["cli"] = (args, cliOptions = {}) =>
    tidemark(args, { ...cliOptions, env: { TIDEMARK_URL: ready.http, ...cliOptions.env } });
  return {
    ...ready,
    child,
    output: () => ({ stdout, stderr }),
    cli,
    json: async (args) => {
      const result = await cli([...args, "--json"]);
      if (result.exitCode !== 0) throw new Error(`${args.join(" ")} ended with ${result.exitCode}: ${result.stderr}`);
      return jsonLines(result.stdout);
    },
    stop: async (signal) => {
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
      const closed = once(child, "close");
      child.kill(signal);
      await closed;
      return child.exitCode;
    },
  };
}

function jsonLines(text: string): readonly Json[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Json);
}
