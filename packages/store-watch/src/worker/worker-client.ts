import { type ResourceLimits, type Transferable, Worker } from "node:worker_threads";
import { type ErrorRecord, fromErrorRecord } from "./error-record.ts";
import { closeMethod, type WorkerMethods, type WorkerReply, type WorkerRequest } from "./worker-server.ts";

export interface WorkerClientOptions {
  /** Shown in debuggers and in errors. */
  readonly name: string;
  /** Given to the worker as `workerData`. */
  readonly data?: unknown;
  /** Bounds of the thread's JavaScript heap. @default Node's own, which let garbage pile up */
  readonly resourceLimits?: ResourceLimits;
  /** Makes the error of a refused call. @default a plain `Error` with the same name, message and `code` */
  readonly reviveError?: (record: ErrorRecord) => Error;
  /** Makes the error of every call after the worker ended by itself. @default a plain `Error` */
  readonly diedError?: (message: string, cause: unknown) => Error;
  /** Makes the error of every call after `close()` or `destroy()`. @default a plain `Error` */
  readonly closedError?: () => Error;
}

interface Pending {
  resolve(result: unknown): void;
  reject(error: unknown): void;
}

/**
 * The calling end of a worker thread: typed calls, answered in any order, every one of them settled. The worker keeps
 * the process alive only while a call is pending.
 */
export class WorkerClient<M extends WorkerMethods> {
  readonly #worker: Worker;
  readonly #options: WorkerClientOptions;
  readonly #pending = new Map<number, Pending>();
  readonly #exited: Promise<void>;
  #nextId = 1;
  #isClosing = false;
  #ended: Error | undefined;

  /**
   * Starts the thread. `file` is the worker's module, `.ts` when running from sources: see {@link workerFile}.
   */
  constructor(file: URL, options: WorkerClientOptions) {
    this.#options = options;
    this.#worker = new Worker(file, {
      name: options.name,
      workerData: options.data,
      ...(options.resourceLimits !== undefined && { resourceLimits: options.resourceLimits }),
      ...(file.pathname.endsWith(".ts") && {
        execArgv: ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"],
      }),
    });
    this.#worker.unref();
    this.#worker.on("message", (reply: WorkerReply) => this.#settle(reply));
    this.#worker.on("messageerror", (error) => this.#end(error));
    this.#worker.on("error", (error) => this.#end(error));
    this.#exited = new Promise((resolve) => {
      this.#worker.on("exit", (code) => {
        this.#end(new Error(`exit code ${code}`));
        resolve();
      });
    });
  }

  /** Calls that have not settled. */
  get pending(): number {
    return this.#pending.size;
  }

  /** Why the worker no longer answers; undefined while it does. */
  get ended(): Error | undefined {
    return this.#ended;
  }

  /**
   * Calls a method of the worker. Memory in `transfer` moves there.
   *
   * @throws what the handler threw, revived; `signal.reason` when the signal aborts first (the worker finishes the call
   * all the same, and its result is dropped).
   */
  call<Name extends keyof M & string>(
    method: Name,
    input: Parameters<M[Name]>[0],
    options: { readonly transfer?: readonly Transferable[]; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<Awaited<ReturnType<M[Name]>>> {
    if (this.#isClosing) return Promise.reject(this.#closedError());
    return this.#request(method, input, options) as Promise<Awaited<ReturnType<M[Name]>>>;
  }

  /** Lets pending calls finish, runs the worker's `close` handler and waits until the thread is gone. Idempotent. */
  async close(): Promise<void> {
    if (!this.#isClosing && this.#ended === undefined) {
      this.#isClosing = true;
      // A handler that fails to close must not keep the thread.
      await this.#request(closeMethod, undefined, {}).catch((error: unknown) => this.#end(error));
      await this.#worker.terminate();
    }
    await this.#exited;
  }

  /** Stops the thread now; pending calls reject at once. Resolves when the thread is gone. Idempotent. */
  async destroy(): Promise<void> {
    this.#isClosing = true;
    // Within a call of the system the thread cannot be stopped: nobody's answer waits for that.
    this.#end(undefined);
    await this.#worker.terminate();
    await this.#exited;
  }

  #request(
    method: string,
    input: unknown,
    options: { readonly transfer?: readonly Transferable[]; readonly signal?: AbortSignal | undefined },
  ): Promise<unknown> {
    const { signal, transfer } = options;
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const onAbort = () => {
      this.#forget(id);
      reject(signal?.reason as Error);
    };
    this.#pending.set(id, {
      resolve(result) {
        signal?.removeEventListener("abort", onAbort);
        resolve(result);
      },
      reject(error) {
        signal?.removeEventListener("abort", onAbort);
        reject(error as Error);
      },
    });
    if (this.#pending.size === 1) this.#worker.ref();
    try {
      this.#worker.postMessage({ id, method, input } satisfies WorkerRequest, transfer ?? []);
    } catch (error) {
      this.#forget(id);
      return Promise.reject(error as Error);
    }
    signal?.addEventListener("abort", onAbort, { once: true });
    return promise;
  }

  #settle(reply: WorkerReply): void {
    const pending = this.#forget(reply.id);
    if (pending === undefined) return;
    if (reply.error === undefined) pending.resolve(reply.result);
    else pending.reject((this.#options.reviveError ?? fromErrorRecord)(reply.error));
  }

  #forget(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    if (this.#pending.delete(id) && this.#pending.size === 0) this.#worker.unref();
    return pending;
  }

  #end(cause: unknown): void {
    if (this.#ended !== undefined) return;
    const message = `the thread ${this.#options.name} ended`;
    this.#ended = this.#isClosing
      ? this.#closedError()
      : (this.#options.diedError?.(message, cause) ?? new Error(message, { cause }));
    const waiting = [...this.#pending.values()];
    this.#pending.clear();
    this.#worker.unref();
    for (const pending of waiting) pending.reject(this.#ended);
  }

  #closedError(): Error {
    return this.#options.closedError?.() ?? new Error(`the thread ${this.#options.name} is closed`);
  }
}

/**
 * The worker's module beside the caller's: `workerFile(import.meta.url, "./store-worker")` is the `.ts` file when the
 * caller runs from sources and the `.js` file otherwise.
 */
export function workerFile(callerUrl: string, path: string): URL {
  return new URL(`${path}${callerUrl.endsWith(".ts") ? ".ts" : ".js"}`, callerUrl);
}
