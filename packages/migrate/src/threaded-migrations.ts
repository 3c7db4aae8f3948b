import { Worker } from "node:worker_threads";
import { EventHub } from "./event-hub.ts";
import type { RunLogEntry } from "./ledger.ts";
import { MigrateError } from "./migrate-error.ts";
import type { MigrationEvent } from "./migration-event.ts";
import type { Migrations, RetryOptions } from "./migrations.ts";
import type { QuarantinedRow } from "./quarantine.ts";
import type { ThrottleSignal } from "./signals.ts";
import { messageOf } from "./body-rows.ts";
import type { MigrationStatus } from "./status.ts";
import {
  type FromThread,
  fromErrorRecord,
  type ThreadMethod,
  type ThreadStart,
  type ToThread,
} from "./thread-protocol.ts";

// The engine's module is beside this one, as .ts in sources and as .js in dist.
const workerFile = new URL(
  import.meta.url.endsWith(".ts") ? "./engine-worker.ts" : "./engine-worker.js",
  import.meta.url,
);

interface Pending {
  resolve(result: unknown): void;
  reject(error: unknown): void;
}

/** An engine in a thread of its own; every call is settled, also when the thread dies. */
export class ThreadedMigrations implements Migrations {
  readonly #worker: Worker;
  readonly #hub = new EventHub();
  readonly #signals: ReadonlyMap<string, ThrottleSignal>;
  readonly #pending = new Map<number, Pending>();
  readonly #exited: Promise<void>;
  readonly #ready = Promise.withResolvers<void>();
  #nextId = 1;
  #isClosing = false;
  #ended: Error | undefined;

  private constructor(start: ThreadStart, signals: readonly ThrottleSignal[]) {
    this.#signals = new Map(signals.map((signal) => [signal.name, signal]));
    this.#worker = new Worker(workerFile, {
      name: "tidemark migrations",
      workerData: start,
      ...(workerFile.pathname.endsWith(".ts") && {
        execArgv: ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"],
      }),
    });
    this.#worker.on("message", (message: FromThread) => this.#receive(message));
    this.#worker.on("messageerror", (error) => this.#end(error));
    this.#worker.on("error", (error) => this.#end(error));
    this.#exited = new Promise((resolve) => {
      this.#worker.on("exit", (code) => {
        this.#end(new Error(`exit code ${code}`));
        resolve();
      });
    });
  }

  /** @throws {MigrateError} whatever the engine says about its database and its definitions. */
  static async open(start: ThreadStart, signals: readonly ThrottleSignal[]): Promise<ThreadedMigrations> {
    const migrations = new ThreadedMigrations(start, signals);
    try {
      await migrations.#ready.promise;
    } catch (error) {
      await migrations.#exited;
      throw error;
    }
    // From now on it keeps the process alive only while somebody waits for an answer or a run is under way.
    migrations.#worker.unref();
    return migrations;
  }

  list(): Promise<MigrationStatus[]> {
    return this.#call("list");
  }

  get(name: string): Promise<MigrationStatus> {
    return this.#call("get", [name]);
  }

  start(): void {
    // The thread does not end by itself while it works; it is for the caller to keep the process alive.
    this.#call("start").catch((error: unknown) => this.#hub.emit({ type: "error", error }));
  }

  run({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<MigrationStatus[]> {
    return this.#call("run", [], signal);
  }

  pause(name: string): Promise<void> {
    return this.#call("pause", [name]);
  }

  resume(name: string): Promise<void> {
    return this.#call("resume", [name]);
  }

  cancel(name: string): Promise<void> {
    return this.#call("cancel", [name]);
  }

  retry(name: string, options: RetryOptions = {}): Promise<void> {
    return this.#call("retry", [name, options]);
  }

  quarantined(name: string): Promise<QuarantinedRow[]> {
    return this.#call("quarantined", [name]);
  }

  skipQuarantined(name: string, key: string): Promise<void> {
    return this.#call("skipQuarantined", [name, key]);
  }

  history(name: string): Promise<RunLogEntry[]> {
    return this.#call("history", [name]);
  }

  requireDone(...names: readonly string[]): Promise<void> {
    return this.#call("requireDone", names);
  }

  events(): AsyncIterableIterator<MigrationEvent, undefined> {
    return this.#hub.subscribe();
  }

  async close(): Promise<void> {
    if (!this.#isClosing && this.#ended === undefined) {
      this.#isClosing = true;
      this.#worker.ref();
      this.#post({ type: "close" });
    }
    await this.#exited;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #call<T>(method: ThreadMethod, args: readonly unknown[] = [], signal?: AbortSignal): Promise<T> {
    if (this.#isClosing) return Promise.reject(closed());
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    // The answer to an abort is awaited: the lease has been given back then.
    const onAbort = () => this.#post({ type: "abort", id });
    signal?.addEventListener("abort", onAbort, { once: true });
    const settled = () => signal?.removeEventListener("abort", onAbort);
    this.#pending.set(id, {
      resolve(result) {
        settled();
        resolve(result as T);
      },
      reject(error) {
        settled();
        reject(signal?.aborted ? (signal.reason as Error) : (error as Error));
      },
    });
    if (this.#pending.size === 1) this.#worker.ref();
    this.#post({ type: "call", id, method, args });
    return promise;
  }

  #receive(message: FromThread): void {
    switch (message.type) {
      case "ready":
        this.#ready.resolve();
        break;
      case "refused":
        this.#ready.reject(fromErrorRecord(message.error));
        break;
      case "result":
        this.#forget(message.id)?.resolve(message.result);
        break;
      case "thrown":
        this.#forget(message.id)?.reject(fromErrorRecord(message.error));
        break;
      case "event":
        this.#hub.emit(message.event);
        break;
      case "trouble":
        this.#hub.emit({ type: "error", error: fromErrorRecord(message.error) });
        break;
      case "read-signal":
        void this.#readSignal(message.id, message.name);
        break;
    }
  }

  async #readSignal(id: number, name: string): Promise<void> {
    try {
      const signal = this.#signals.get(name);
      if (signal === undefined) throw new Error(`there is no signal "${name}"`);
      const { utilisation, reason } = await signal.read();
      this.#post({ type: "reading", id, utilisation, reason });
    } catch (error) {
      this.#post({ type: "no-reading", id, message: messageOf(error) });
    }
  }

  #post(message: ToThread): void {
    this.#worker.postMessage(message);
  }

  #forget(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    if (this.#pending.delete(id) && this.#pending.size === 0) this.#worker.unref();
    return pending;
  }

  #end(cause: unknown): void {
    if (this.#ended !== undefined) return;
    this.#ended = this.#isClosing
      ? closed()
      : new MigrateError("WORKER_DIED", "the engine's thread ended by itself; open the migrations again", { cause });
    this.#ready.reject(this.#ended);
    // Nobody may be waiting for it any more.
    this.#ready.promise.catch(() => undefined);
    for (const pending of this.#pending.values()) pending.reject(this.#ended);
    this.#pending.clear();
    this.#hub.close();
  }
}

function closed(): MigrateError {
  return new MigrateError("CLOSED", "the migrations are closed");
}
