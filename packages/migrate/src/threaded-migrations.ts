import { Worker } from "node:worker_threads";
import { EventHub } from "./event-hub.ts";
import type { RunLogEntry } from "./ledger.ts";
import { MigrateError } from "./migrate-error.ts";
import type { MigrationEvent } from "./migration-event.ts";
import type { Adjustment, Migrations, RetryOptions } from "./migrations.ts";
import type { MigrationTuning } from "./options.ts";
import type { QuarantinedRow } from "./quarantine.ts";
import type { DryRun, Sample } from "./rehearsal.ts";
import type { Reading, ThrottleSignal } from "./signals.ts";
import { EventLoopMeter, eventLoopReading } from "./signals/local-signals.ts";
import { requireLimit, type ResolvedSignals, type SignalLimits } from "./signals/signal-request.ts";
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
  readonly #limits: SignalLimits;
  /** Of this thread, which the engine's cannot see. */
  readonly #meter = new EventLoopMeter();
  readonly #pending = new Map<number, Pending>();
  readonly #exited: Promise<void>;
  readonly #ready = Promise.withResolvers<void>();
  #nextId = 1;
  #isClosing = false;
  #ended: Error | undefined;

  private constructor(start: Omit<ThreadStart, "requests" | "remote">, signals: ResolvedSignals) {
    const { requests, custom, limits } = signals;
    const here = requests.filter(({ name }) => name === "event-loop");
    const remote = [...custom, ...here.map(({ name }) => ({ name, read: () => this.#readEventLoop() }))];
    this.#signals = new Map(remote.map((signal) => [signal.name, signal]));
    this.#limits = limits;
    this.#worker = new Worker(workerFile, {
      name: "tidemark migrations",
      workerData: {
        ...start,
        requests: requests.filter((request) => !here.includes(request)),
        remote: remote.map(({ name }) => name),
      } satisfies ThreadStart,
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
  static async open(
    start: Omit<ThreadStart, "requests" | "remote">,
    signals: ResolvedSignals,
  ): Promise<ThreadedMigrations> {
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

  tune(name: string, changes: MigrationTuning): Promise<void> {
    return this.#call("tune", [name, changes]);
  }

  async adjust({ limits = {}, ...changes }: Adjustment): Promise<void> {
    const { "event-loop": loopMs, ...others } = limits;
    if (loopMs !== undefined) {
      if (!this.#limits.has("event-loop")) {
        throw new MigrateError("OPTIONS_INVALID", 'signal "event-loop" is not read here');
      }
      requireLimit("event-loop", loopMs);
    }
    await this.#call("adjust", [{ ...changes, limits: others }]);
    if (loopMs !== undefined) this.#limits.set("event-loop", loopMs);
  }

  dryRun(name: string, options: { readonly rows?: number } = {}): Promise<DryRun> {
    return this.#call("dryRun", [name, options]);
  }

  sample(name: string, options: { readonly forMs?: number } = {}): Promise<Sample> {
    return this.#call("sample", [name, options]);
  }

  async write<T>(work: () => T | Promise<T>): Promise<T> {
    let id = 0;
    await this.#ask((number) => ({ type: "enter", id: (id = number) }));
    try {
      return await work();
    } finally {
      this.#post({ type: "leave", id });
    }
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

  async #readEventLoop(): Promise<Reading> {
    return eventLoopReading(this.#meter.read(), this.#limits.get("event-loop") ?? Number.NaN);
  }

  #call<T>(method: ThreadMethod, args: readonly unknown[] = [], signal?: AbortSignal): Promise<T> {
    return this.#ask((id) => ({ type: "call", id, method, args }), signal);
  }

  #ask<T>(message: (id: number) => ToThread, signal?: AbortSignal): Promise<T> {
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
    try {
      this.#post(message(id));
    } catch (error) {
      // Nobody would ever answer, and the process would be kept alive for it.
      const told = `it cannot be sent to the engine's thread: ${messageOf(error)}`;
      this.#forget(id)?.reject(new MigrateError("OPTIONS_INVALID", told, { cause: error }));
    }
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
    this.#meter.close();
    this.#hub.close();
  }
}

function closed(): MigrateError {
  return new MigrateError("CLOSED", "the migrations are closed");
}
