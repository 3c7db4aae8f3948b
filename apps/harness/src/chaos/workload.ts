import type { SeededRng } from "@tidemark/clock";
import { EtcdClient, type EtcdWrite } from "@tidemark/source-etcd/testing";
import { keyText } from "../keys.ts";
import { type KeyState, type Ledger, type LedgerChange, lineageOf, stateAt } from "./ledger.ts";

export interface WorkloadOptions {
  /** Of the store itself: what was done must be known exactly, so nothing disturbs the way there but the store's death. */
  readonly endpoint: string;
  readonly prefix: string;
  readonly ledger: Ledger;
  readonly rng: SeededRng;
  /** Writers at once, each with keys of its own. @default 3 */
  readonly writers?: number;
  /** Keys of each writer. @default 60 */
  readonly keys?: number;
  /** Resolves when the store serves; asked after every failure. */
  readonly serving: () => Promise<void>;
}

/** One thing to do, as one transaction. */
interface Operation {
  readonly changes: readonly LedgerChange[];
  /** The key whose value tells afterwards whether it happened. */
  readonly witness: { readonly key: string; readonly value: string };
  readonly writes: readonly EtcdWrite[];
}

const bytes = (text: string) => Buffer.from(text, "latin1");

/**
 * Writes to a store as fast as it takes it and records exactly what it did. Where an answer is lost it asks the store
 * itself: every operation writes a value that nobody ever wrote before to a key that nobody else writes to.
 */
export class Workload {
  readonly #options: WorkloadOptions;
  readonly #writers: readonly Promise<void>[];
  #client: EtcdClient;
  #acknowledged = 0;
  #waiting: { readonly at: number; readonly resolve: () => void; readonly reject: (error: unknown) => void }[] = [];
  /** While set, writers stop before their next operation. */
  #pause: { readonly until: Promise<void>; readonly end: () => void } | undefined;
  #idle = 0;
  #onIdle: (() => void) | undefined;
  #isOver = false;
  #failure: { readonly error: unknown } | undefined;
  #lives: ReadonlyMap<string, KeyState> = new Map();
  #generation = 0;

  constructor(options: WorkloadOptions) {
    this.#options = options;
    this.#client = new EtcdClient({ endpoint: options.endpoint });
    const { writers = 3, rng } = options;
    this.#writers = Array.from({ length: writers }, (_, index) =>
      this.#write(index, rng.fork(`writer ${index}`)).catch((error: unknown) => this.#fail(error)),
    );
  }

  /** Operations that are known to have happened. */
  get acknowledged(): number {
    return this.#acknowledged;
  }

  /** Resolves after so many more operations. */
  after(operations: number): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure.error);
    if (operations <= 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiting.push({ at: this.#acknowledged + operations, resolve, reject });
    });
  }

  /** Resolves when everything that was begun is done and recorded; nothing more is begun until `resume`. */
  async pause(): Promise<void> {
    if (this.#pause !== undefined) return;
    const { promise: until, resolve: end } = Promise.withResolvers<void>();
    this.#pause = { until, end };
    if (this.#idle < this.#writers.length) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  resume(): void {
    const pause = this.#pause;
    this.#pause = undefined;
    pause?.end();
  }

  /** The store has another past now: what is live comes from the ledger again. Only while paused. */
  storeChanged(): void {
    this.#generation++;
    this.#lives = stateAt(lineageOf(this.#options.ledger.era));
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    this.resume();
    await Promise.all(this.#writers);
    this.#client.close();
  }

  async #write(index: number, rng: SeededRng): Promise<void> {
    const { prefix, keys = 60 } = this.#options;
    const marker = `${prefix}${index}/marker`;
    // Some keys are no text: etcd does not ask for it.
    const names = Array.from({ length: keys }, (_, n) =>
      n % 10 === 0 ? `${prefix}${index}/\u0000\u00ff${String.fromCharCode(n)}` : `${prefix}${index}/key-${n}`,
    );
    const live = new Set<string>();
    let generation = this.#generation;
    for (let count = 0; !this.#isOver; count++) {
      if (this.#pause !== undefined) await this.#rest(this.#pause.until);
      if (this.#isOver) break;
      if (generation !== this.#generation) {
        generation = this.#generation;
        live.clear();
        for (const name of names) if (this.#lives.has(name)) live.add(name);
      }
      const stamp = `${index}.${this.#generation}.${count}.`;
      const operation =
        rng.float() < 0.05 ? elsewhere(index, stamp) : nextOperation({ rng, names, live, marker, stamp });
      const revision = await this.#perform(operation);
      if (revision === undefined) continue;
      this.#options.ledger.record(revision, operation.changes);
      for (const { key, value } of operation.changes) {
        if (value === undefined) live.delete(key);
        else live.add(key);
      }
      this.#acknowledge();
    }
    this.#idle++;
    this.#onIdle?.();
  }

  async #rest(until: Promise<void>): Promise<void> {
    if (++this.#idle === this.#writers.length) this.#onIdle?.();
    await until;
    this.#idle--;
  }

  /** The revision at which it happened; undefined: it did not. */
  async #perform({ writes, witness }: Operation): Promise<bigint | undefined> {
    const client = this.#client;
    try {
      const [only] = writes;
      if (writes.length === 1 && only?.value !== undefined) return await client.put(only.key, only.value);
      return await client.txn(writes);
    } catch {
      return this.#findOut(witness, client);
    }
  }

  /** After a restart the store has replayed whatever it had accepted, so what is not there now never will be. */
  async #findOut(witness: Operation["witness"], broken: EtcdClient): Promise<bigint | undefined> {
    for (let client = broken; !this.#isOver; ) {
      await this.#options.serving();
      if (this.#client === client) {
        client.close();
        this.#client = new EtcdClient({ endpoint: this.#options.endpoint });
      }
      client = this.#client;
      try {
        const found = await client.get(bytes(witness.key));
        const isThere = found !== undefined && keyText(found.value) === witness.value;
        return isThere ? found.modRevision : undefined;
      } catch {
        // Killed again meanwhile.
      }
    }
    return undefined;
  }

  #acknowledge(): void {
    this.#acknowledged++;
    if (this.#waiting.length === 0) return;
    const due = this.#waiting.filter(({ at }) => at <= this.#acknowledged);
    this.#waiting = this.#waiting.filter(({ at }) => at > this.#acknowledged);
    for (const { resolve } of due) resolve();
  }

  /** A writer does not throw, unless the harness itself is broken. */
  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#isOver = true;
    this.#idle++;
    this.#onIdle?.();
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}

interface OperationOptions {
  readonly rng: SeededRng;
  readonly names: readonly string[];
  readonly live: ReadonlySet<string>;
  readonly marker: string;
  /** Begins a value that was never written before. */
  readonly stamp: string;
}

function nextOperation({ rng, names, live, marker, stamp }: OperationOptions): Operation {
  const kind = rng.float();
  // A put of one key, which is its own witness.
  if (kind < 0.7) {
    const key = rng.pick(names);
    const value = stamp + noise(rng);
    return operationOf([{ key, value }], { key, value });
  }
  const changes = new Map<string, string | undefined>([[marker, stamp]]);
  const size = kind < 0.85 ? 1 : rng.int(2, 20);
  for (let n = 0; n < size; n++) {
    const key = rng.pick(names);
    const isDeletion = live.has(key) && (size === 1 || rng.float() < 0.3);
    // Not every value has something in it.
    changes.set(key, isDeletion ? undefined : rng.float() < 0.1 ? "" : noise(rng));
  }
  return operationOf(
    Array.from(changes, ([key, value]) => ({ key, value })),
    { key: marker, value: stamp },
  );
}

function operationOf(changes: readonly LedgerChange[], witness: Operation["witness"]): Operation {
  const writes = changes.map(
    ({ key, value }): EtcdWrite =>
      value === undefined ? { key: bytes(key) } : { key: bytes(key), value: bytes(value) },
  );
  return { changes, witness, writes };
}

/** Something that nobody follows: the store's revision grows, and the replica has nothing of it. */
function elsewhere(writer: number, stamp: string): Operation {
  const key = `/elsewhere/${writer}`;
  return { changes: [], witness: { key, value: stamp }, writes: [{ key, value: stamp }] };
}

/** Any bytes; seldom so many that etcd cuts its answers into fragments. */
function noise(rng: SeededRng): string {
  const length = rng.float() < 0.01 ? rng.int(1_000, 60_000) : rng.int(0, 200);
  return keyText(rng.bytes(length));
}
