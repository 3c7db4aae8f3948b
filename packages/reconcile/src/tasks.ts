import { type Clock, type Rng, systemClock, systemRng, type Timer } from "@tidemark/clock";
import { backoffDelayMs, resolveBackoff } from "@tidemark/stream";
import { EventHub } from "@tidemark/stream/internal";
import { requireAtLeast, requireName } from "./options.ts";
import { errorText, ReconcileError } from "./reconcile-error.ts";
import { TaskBooks } from "./task-books.ts";
import { taskDefaults, type TaskEvent, type TaskRecord, type TasksOptions, type TaskState } from "./task-types.ts";

const pruneEvery = 100;

/**
 * Opens a durable queue and begins to work on it, with what a process that died was doing first. One process at a time.
 *
 * @throws {ReconcileError} `OPTIONS_INVALID`, or `STATE_FAILED` when the state database cannot be used.
 */
export async function openTasks(options: TasksOptions): Promise<Tasks> {
  const resolved = resolveTasks(options);
  const books = new TaskBooks(options.state, options.queue);
  await books.create();
  await books.requeueRunning([]);
  const engine = new TaskEngine(options, resolved, books);
  engine.start();
  return engine;
}

export interface Tasks extends AsyncDisposable {
  /**
   * Adds a task; it is durable when this resolves. With an `id` that the queue has already nothing happens.
   *
   * @throws {ReconcileError} `NOT_FOUND` for a kind without a handler, `CLOSED`, `STATE_FAILED`.
   */
  enqueue(kind: string, payload: unknown, options?: { readonly id?: string }): Promise<{ id: string; isNew: boolean }>;
  get(id: string): Promise<TaskRecord | undefined>;
  /** The newest first. */
  list(options?: { readonly state?: TaskState; readonly limit?: number }): Promise<TaskRecord[]>;
  /** Cancels what is pending, and aborts what is running. False: it had ended, or there is none. */
  cancel(id: string): Promise<boolean>;
  /** Makes a failed or cancelled task pending again. */
  retry(id: string): Promise<boolean>;
  /** Resolves once the task has ended, with its row. @throws {ReconcileError} `NOT_FOUND`, `CLOSED`. */
  ended(id: string, options?: { readonly signal?: AbortSignal }): Promise<TaskRecord>;
  events(): AsyncIterable<TaskEvent>;
  /** Begins no other task and aborts those that run; they are pending again. */
  close(): Promise<void>;
}

type Resolved = ReturnType<typeof resolveTasks>;

function resolveTasks(options: TasksOptions) {
  requireName("A queue", options.queue);
  const resolved = {
    concurrency: options.concurrency ?? taskDefaults.concurrency,
    maxAttempts: options.maxAttempts ?? taskDefaults.maxAttempts,
    keepEnded: options.keepEnded ?? taskDefaults.keepEnded,
  };
  for (const [name, value] of Object.entries(resolved)) requireAtLeast(name, value, 1);
  const backoff = resolveBackoff({
    initialDelayMs: options.initialDelayMs ?? taskDefaults.initialDelayMs,
    maxDelayMs: options.maxDelayMs ?? taskDefaults.maxDelayMs,
  });
  return { ...resolved, backoff };
}

interface Waiter {
  readonly id: string;
  readonly resolve: (task: TaskRecord) => void;
  readonly reject: (error: Error) => void;
}

class TaskEngine implements Tasks {
  readonly #options: TasksOptions;
  readonly #resolved: Resolved;
  readonly #books: TaskBooks;
  readonly #clock: Clock;
  readonly #rng: Rng;
  readonly #hub = new EventHub<Exclude<TaskEvent, { readonly type: "skipped" }>>();
  readonly #running = new Map<string, AbortController>();
  readonly #cancelled = new Set<string>();
  readonly #waiters = new Set<Waiter>();
  readonly #over = new AbortController();
  #work: Promise<void>[] = [];
  #isLooking = false;
  #lookAgain = false;
  #isUnsure = false;
  #timer: Timer | undefined;
  #endedCount = 0;
  #troubles = 0;

  constructor(options: TasksOptions, resolved: Resolved, books: TaskBooks) {
    this.#options = options;
    this.#resolved = resolved;
    this.#books = books;
    this.#clock = options.clock ?? systemClock;
    this.#rng = options.rng ?? systemRng;
  }

  start(): void {
    void this.#look();
  }

  async enqueue(
    kind: string,
    payload: unknown,
    { id = this.#rng.uuid() }: { readonly id?: string } = {},
  ): Promise<{ id: string; isNew: boolean }> {
    this.#over.signal.throwIfAborted();
    if (!Object.hasOwn(this.#options.kinds, kind)) {
      const kinds = Object.keys(this.#options.kinds).join(", ");
      throw new ReconcileError("NOT_FOUND", `There is no handler for tasks of kind ${kind}, only for ${kinds}`);
    }
    try {
      return { id, isNew: await this.#books.insert(id, kind, JSON.stringify(payload ?? null), this.#clock.now()) };
    } finally {
      // Also after an error: the row may be there.
      void this.#look();
    }
  }

  get(id: string): Promise<TaskRecord | undefined> {
    return this.#books.get(id);
  }

  list({ state, limit = 100 }: { readonly state?: TaskState; readonly limit?: number } = {}): Promise<TaskRecord[]> {
    return this.#books.list(state, limit);
  }

  async cancel(id: string): Promise<boolean> {
    if (await this.#books.cancelPending(id, this.#clock.now())) {
      await this.#told(id);
      return true;
    }
    const running = this.#running.get(id);
    if (running === undefined) return false;
    this.#cancelled.add(id);
    running.abort(new ReconcileError("CLOSED", `Task ${id} was cancelled`));
    return true;
  }

  async retry(id: string): Promise<boolean> {
    const isRevived = await this.#books.revive(id);
    if (isRevived) void this.#look();
    return isRevived;
  }

  async ended(id: string, { signal }: { readonly signal?: AbortSignal } = {}): Promise<TaskRecord> {
    this.#over.signal.throwIfAborted();
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<TaskRecord>();
    const waiter = { id, resolve, reject };
    // It waits before it looks, so that an end in between is not missed.
    this.#waiters.add(waiter);
    const onAbort = () => reject(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      const task = await this.#books.get(id);
      if (task === undefined) throw new ReconcileError("NOT_FOUND", `There is no task ${id}`);
      if (task.state !== "pending" && task.state !== "running") return task;
      return await promise;
    } finally {
      signal?.removeEventListener("abort", onAbort);
      this.#waiters.delete(waiter);
      promise.catch(() => {});
    }
  }

  events(): AsyncIterable<TaskEvent> {
    return this.#hub.subscribe();
  }

  async close(): Promise<void> {
    const closed = new ReconcileError("CLOSED", `The tasks of ${this.#options.queue} were closed`);
    if (!this.#over.signal.aborted) this.#over.abort(closed);
    this.#timer?.cancel();
    for (const controller of this.#running.values()) controller.abort(closed);
    await Promise.all(this.#work);
    for (const waiter of this.#waiters) waiter.reject(closed);
    this.#hub.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Begins what is due while there is room, then sleeps until something is. One at a time. */
  async #look(): Promise<void> {
    if (this.#isLooking) {
      this.#lookAgain = true;
      return;
    }
    this.#isLooking = true;
    this.#timer?.cancel();
    try {
      do {
        this.#lookAgain = false;
        await this.#begin();
      } while (this.#lookAgain);
      this.#troubles = 0;
    } catch (error) {
      this.#hub.emit({ type: "trouble", error: errorText(error) });
      // A task may have been taken although the answer was lost.
      this.#isUnsure = true;
      const delayMs = backoffDelayMs(this.#resolved.backoff, "fast", ++this.#troubles, this.#rng);
      this.#wake(delayMs);
    } finally {
      this.#isLooking = false;
    }
  }

  async #begin(): Promise<void> {
    const { concurrency, backoff } = this.#resolved;
    if (this.#isUnsure) {
      await this.#books.requeueRunning([...this.#running.keys()]);
      this.#isUnsure = false;
    }
    while (this.#running.size < concurrency && !this.#over.signal.aborted) {
      const nowMs = this.#clock.now();
      // One whose end is not known to be written still runs here, whatever its row says.
      const task = await this.#books.take(nowMs, backoff.maxDelayMs, [...this.#running.keys()]);
      if (task === undefined) {
        const dueMs = await this.#books.nextDueMs();
        if (dueMs !== undefined) this.#wake(dueMs - nowMs);
        return;
      }
      const work = this.#run(task).finally(() => {
        this.#work = this.#work.filter((each) => each !== work);
      });
      this.#work.push(work);
    }
  }

  #wake(delayMs: number): void {
    if (this.#over.signal.aborted) return;
    this.#timer?.cancel();
    this.#timer = this.#clock.setTimer(Math.max(1, delayMs), () => void this.#look());
  }

  async #run(task: TaskRecord): Promise<void> {
    const controller = new AbortController();
    this.#running.set(task.id, controller);
    if (this.#over.signal.aborted) controller.abort(this.#over.signal.reason);
    this.#hub.emit({ type: "started", task });
    const context = { id: task.id, attempt: task.attempts, signal: controller.signal };
    let end: () => Promise<boolean>;
    try {
      const handler = this.#options.kinds[task.kind];
      if (handler === undefined) throw new ReconcileError("NOT_FOUND", `There is no handler for ${task.kind}`);
      const result = JSON.stringify((await handler(task.payload, context)) ?? null);
      end = () => this.#books.end(task, "done", this.#clock.now(), { result });
    } catch (error) {
      end = () => this.#failed(task, errorText(error));
    }
    await this.#persist(end);
    this.#running.delete(task.id);
    this.#cancelled.delete(task.id);
    if (this.#over.signal.aborted) return;
    await this.#told(task.id).catch(() => {});
    void this.#look();
  }

  #failed(task: TaskRecord, error: string): Promise<boolean> {
    const nowMs = this.#clock.now();
    if (this.#cancelled.has(task.id)) return this.#books.end(task, "cancelled", nowMs, { error });
    // Aborted by close: its attempt does not count as a failure, and the next process goes on at once.
    if (this.#over.signal.aborted) return this.#books.postpone(task, 0, error);
    if (task.attempts >= this.#resolved.maxAttempts) return this.#books.end(task, "failed", nowMs, { error });
    const delayMs = backoffDelayMs(this.#resolved.backoff, "fast", task.attempts, this.#rng);
    return this.#books.postpone(task, nowMs + Math.ceil(delayMs), error);
  }

  /** The work is done; only its row is missing. It is not run again because of that, unless the process ends first. */
  async #persist(step: () => Promise<boolean>): Promise<void> {
    for (let failures = 1; ; failures++) {
      try {
        await step();
        return;
      } catch (error) {
        this.#hub.emit({ type: "trouble", error: errorText(error) });
        if (this.#over.signal.aborted) return;
        const delayMs = backoffDelayMs(this.#resolved.backoff, "fast", failures, this.#rng);
        await this.#clock.sleep(delayMs, { signal: this.#over.signal }).catch(() => {});
      }
    }
  }

  /** Durable first, then waiters, then events, then the callback (R10). */
  async #told(id: string): Promise<void> {
    const task = await this.#books.get(id);
    if (task === undefined) return;
    if (task.state === "pending" || task.state === "running") {
      this.#hub.emit({ type: "postponed", task });
      return;
    }
    for (const waiter of this.#waiters) if (waiter.id === id) waiter.resolve(task);
    this.#hub.emit({ type: "ended", task });
    this.#options.onEnded?.(task);
    if (++this.#endedCount % pruneEvery === 0) await this.#books.prune(this.#resolved.keepEnded);
  }
}
