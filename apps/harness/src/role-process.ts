import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { type ProcessUsage, usageOf } from "./process/process-usage.ts";
import { exitRequest, type RoleMethods, type RoleReply } from "./process/role-protocol.ts";

export interface StartRoleOptions {
  /** More arguments of Node, such as `--cpu-prof`. */
  readonly nodeArgs?: readonly string[];
  /** Called with everything that the role tells by itself. */
  readonly onEvent?: (event: never) => void;
}

/** How the process of a role ended. */
export interface RoleEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

type Result<M extends RoleMethods, Name extends keyof M> = Awaited<ReturnType<M[Name]>>;

const isSource = import.meta.url.endsWith(".ts");
const roleMain = fileURLToPath(new URL(isSource ? "./role-main.ts" : "./role-main.js", import.meta.url));
const sourceArgs = isSource ? ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"] : [];

/** Arguments of Node for a process whose wall clock can be made to jump. */
export const shiftedClockArgs: readonly string[] = [
  `--import=${new URL(isSource ? "./process/shifted-clock.ts" : "./process/shifted-clock.js", import.meta.url).href}`,
];

/** How long a process may take to end once it was told to. */
const exitTimeoutMs = 10_000;

/** What keeps running if this process forgets it. */
const children = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
});

/** A role of the harness in a process of its own, so that it can be measured, stopped and killed alone. */
export class RoleProcess<M extends RoleMethods> {
  readonly ended: Promise<RoleEnd>;
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #pending = new Map<number, { resolve(value: unknown): void; reject(error: unknown): void }>();
  readonly #ready: Promise<void>;
  #nextId = 1;
  #end: RoleEnd | undefined;
  #errors = "";

  /** Use `startRole`. */
  constructor(name: string, options: StartRoleOptions) {
    this.#name = name;
    const child = fork(roleMain, [name], {
      execArgv: [...sourceArgs, ...(options.nodeArgs ?? [])],
      serialization: "advanced",
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    this.#child = child;
    children.add(child);
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#errors = (this.#errors + text).slice(-16_384);
    });
    const { promise: ready, resolve: onReady, reject: onFailed } = Promise.withResolvers<void>();
    this.#ready = ready;
    ready.catch(() => {});
    this.ended = new Promise((resolve) => {
      child.once("close", (code, signal) => {
        children.delete(child);
        this.#end = { code, signal };
        const error = this.#goneError();
        onFailed(error);
        for (const { reject } of this.#pending.values()) reject(error);
        this.#pending.clear();
        resolve(this.#end);
      });
    });
    child.once("error", onFailed);
    child.on("message", (reply: RoleReply) => {
      if (reply.type === "ready") onReady();
      else if (reply.type === "event") (options.onEvent as ((event: unknown) => void) | undefined)?.(reply.event);
      else this.#settle(reply);
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get isOver(): boolean {
    return this.#end !== undefined;
  }

  /** What it wrote to its standard error, or the end of that. */
  get errors(): string {
    return this.#errors;
  }

  /** Resolves when the role takes calls. */
  ready(): Promise<void> {
    return this.#ready;
  }

  /** Rejects with the role's error, or when its process ends first. */
  call<Name extends keyof M & string>(method: Name, argument?: Parameters<M[Name]>[0]): Promise<Result<M, Name>> {
    const promise = new Promise<unknown>((resolve, reject) => {
      if (this.#end !== undefined) return reject(this.#goneError());
      const id = this.#nextId++;
      this.#pending.set(id, { resolve, reject });
      this.#child.send({ id, method, argument }, (error) => {
        if (error !== null && this.#pending.delete(id)) reject(error);
      });
      return undefined;
    });
    return promise as Promise<Result<M, Name>>;
  }

  usage(): ProcessUsage {
    return usageOf(this.pid);
  }

  /** Sends a signal and, where it is one that ends the process, waits for the end. */
  async kill(signal: NodeJS.Signals): Promise<void> {
    if (this.#end !== undefined) return;
    this.#child.kill(signal);
    if (signal !== "SIGSTOP" && signal !== "SIGCONT") await this.ended;
  }

  /** Lets it end by itself, which Node 24 does not always manage: then it is killed after a while. */
  async release(): Promise<RoleEnd> {
    // Not by disconnecting from here: then Node would never tell that the child's pipes are closed.
    if (this.#child.connected) this.#child.send(exitRequest, () => {});
    // At its end Node's main thread waits for a thread that waits for a collection by the main thread.
    const kill = setTimeout(() => this.#child.kill("SIGKILL"), exitTimeoutMs);
    try {
      return await this.ended;
    } finally {
      clearTimeout(kill);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill("SIGKILL");
  }

  #settle(reply: Extract<RoleReply, { type: "result" | "failure" }>): void {
    const call = this.#pending.get(reply.id);
    this.#pending.delete(reply.id);
    if (reply.type === "result") call?.resolve(reply.result);
    else call?.reject(new Error(`${this.#name}: ${reply.message}`));
  }

  #goneError(): Error {
    const { code, signal } = this.#end ?? {};
    return new Error(
      `the process of ${this.#name} ended (${signal ?? `code ${code}`})${this.#errors && `:\n${this.#errors}`}`,
    );
  }
}

/** Starts a role and resolves when it takes calls. */
export async function startRole<M extends RoleMethods>(
  name: string,
  options: StartRoleOptions = {},
): Promise<RoleProcess<M>> {
  const role = new RoleProcess<M>(name, options);
  try {
    await role.ready();
  } catch (error) {
    await role.kill("SIGKILL");
    throw error;
  }
  return role;
}
