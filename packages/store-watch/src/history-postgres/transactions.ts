import type { Clock } from "@tidemark/clock";
import { StoreWatchError } from "../errors.ts";
import type { PostgresClient, PostgresPool } from "./driver.ts";
import type { Fence, WriterLease } from "./lease.ts";
import { commitFailed, isConnectionError, messageOf, sqlState } from "./postgres-errors.ts";
import type { WriterSession } from "./writer-session.ts";

/** What the writer remembers from transaction to transaction, and must take from the database again when it is in doubt. */
export interface Memory {
  reload(): Promise<void>;
  /** Nobody who has opened a stream so far may go on: what they know may not be so any more. */
  invalidate(error: StoreWatchError): void;
}

/** The writer's connection and its transactions, one at a time, each of which proves first that the lease is still ours. */
export class FencedTransactions {
  readonly #pool: PostgresPool;
  readonly #lease: WriterLease;
  readonly #where: string;
  readonly #clock: Clock;
  readonly #memory: Memory;
  readonly #leader: FencedTransactions | undefined;
  readonly #isDurable: boolean;
  #client: PostgresClient | undefined;
  #fence: Fence | undefined;
  /** What is remembered may not be what the database says. */
  #isStale = true;
  /** A commit was sent, and no answer came. */
  #isUnknown = false;
  #queue: Promise<unknown> = Promise.resolve();
  /** Of the transaction that runs. */
  readonly session: WriterSession;

  constructor(
    pool: PostgresPool,
    parts: {
      readonly lease: WriterLease;
      readonly where: string;
      readonly clock: Clock;
      readonly memory: Memory;
      readonly session: WriterSession;
      /** Whoever writes there writes here, too. */
      readonly leader: FencedTransactions | undefined;
      /** Whether a commit is on the disk when it is reported, also where the server does not ask for that. */
      readonly isDurable: boolean;
    },
  ) {
    this.session = parts.session;
    this.#pool = pool;
    this.#lease = parts.lease;
    this.#where = parts.where;
    this.#clock = parts.clock;
    this.#memory = parts.memory;
    this.#leader = parts.leader;
    this.#isDurable = parts.isDurable;
  }

  get isHolder(): boolean {
    return this.#fence !== undefined;
  }

  /**
   * Takes the lease, unless this writer has it.
   *
   * @throws {StoreWatchError} `DATABASE_LOCKED`; `DATABASE_UNREADABLE`
   */
  acquire(waitMs: number): Promise<void> {
    return this.#turn(async () => {
      if (this.#fence !== undefined) return;
      try {
        const leader = this.#leader;
        if (leader !== undefined && !(await leader.prove())) throw this.#led();
        const client = await this.#connected();
        this.#fence = await this.#lease.take(client, waitMs, this.#clock, leader !== undefined);
        this.#isStale = true;
        this.#isUnknown = false;
      } catch (error) {
        this.#drop(error);
        throw StoreWatchError.is(error) ? error : unreachable(this.#where, error);
      }
    });
  }

  /**
   * Runs `work` in a transaction. When it fails, nothing of it is in the database, and memory is taken from there again.
   *
   * @throws {StoreWatchError} `DATABASE_LOCKED` when another one has the lease; `DATABASE_UNREADABLE` when nobody knows
   * whether it was committed; what the server says about the connection and itself as `COMMIT_FAILED`, and errors about
   * the data as they are.
   */
  run<T>(work: (session: WriterSession) => Promise<T>): Promise<T> {
    return this.#turn(async () => {
      const fence = this.#holder();
      let result: T;
      let client: PostgresClient;
      let isHeld: Promise<boolean> | undefined;
      try {
        client = await this.#connected();
        if (this.#isUnknown) await this.#settle(client, fence);
        this.session.begin(client);
        // Sent with what follows. The server says it first, and does nothing of the rest when the lease is lost.
        isHeld = this.#lease.hold(client, fence);
        isHeld.catch(() => undefined);
        if (this.#isStale) {
          await this.#memory.reload();
          this.#isStale = false;
        }
        result = await work(this.session);
        this.session.check();
      } catch (error) {
        this.#isStale = true;
        await this.#rollBack(error);
        throw await this.#failure(error, isHeld);
      }
      await this.#commit(client, fence, isHeld);
      return result;
    });
  }

  /** Whether this writer has the lease, by the word of the database. @throws {StoreWatchError} `DATABASE_UNREADABLE` */
  prove(): Promise<boolean> {
    return this.#turn(async () => {
      if (this.#fence === undefined) return false;
      try {
        await this.#renew(this.#fence);
      } catch (error) {
        this.#drop(error);
        if (!StoreWatchError.is(error)) throw unreachable(this.#where, error);
      }
      return this.isHolder;
    });
  }

  /** Says that this writer is alive. Whatever goes wrong shows at the next transaction. */
  renew(): Promise<void> {
    return this.#turn(async () => {
      const fence = this.#fence;
      if (fence === undefined) return;
      await this.#renew(fence).catch((error: unknown) => this.#drop(error));
    });
  }

  /** After everything that is under way. */
  close(): Promise<void> {
    return this.#turn(async () => {
      const fence = this.#fence;
      this.#fence = undefined;
      if (this.#client === undefined) return;
      try {
        if (fence !== undefined) await this.#lease.release(this.#client, fence);
      } catch {
        // It runs out by itself.
      }
      this.#client.release();
      this.#client = undefined;
    });
  }

  async #renew(fence: Fence): Promise<void> {
    const client = await this.#connected();
    if (this.#isUnknown) await this.#settle(client, fence);
    if (!(await this.#lease.renew(client, fence))) this.#lost();
  }

  async #commit(client: PostgresClient, fence: Fence, isHeld: Promise<boolean>): Promise<void> {
    let command: string;
    try {
      ({ command } = await client.query("COMMIT"));
    } catch (error) {
      this.#isStale = true;
      this.#drop(error);
      // An error that the server names came instead of the commit. Without one, the commit may have happened.
      if (!isConnectionError(error) && sqlState(error) !== undefined) throw commitFailed(error);
      await this.#learn(fence, error);
      return;
    }
    if (command !== "ROLLBACK") {
      fence.tx++;
      return;
    }
    // Something that was sent before was refused.
    this.#isStale = true;
    let refused: unknown = new StoreWatchError("INTERNAL", "the server rolled a transaction back and did not say why");
    try {
      this.session.check();
    } catch (error) {
      refused = error;
    }
    throw await this.#failure(refused, isHeld);
  }

  /** Why a transaction failed that nothing of is in the database. */
  async #failure(error: unknown, isHeld: Promise<boolean> | undefined): Promise<unknown> {
    if (isHeld !== undefined && !(await isHeld.catch(() => true))) return this.#lost();
    return isConnectionError(error) ? commitFailed(error) : error;
  }

  /** Finds out what became of a commit, with a new connection. Returns when it happened. */
  async #learn(fence: Fence, cause: unknown): Promise<void> {
    let tx: number | undefined;
    try {
      tx = await this.#lease.ask(await this.#connected(), fence);
    } catch (error) {
      this.#drop(error);
      this.#isUnknown = true;
      const unknown = new StoreWatchError(
        "DATABASE_UNREADABLE",
        `the connection to ${this.#where} broke during a commit (${messageOf(cause)}), and the server cannot be asked ` +
          `whether it happened (${messageOf(error)}); open the stream again once it can be reached`,
        { cause: error, retryable: true },
      );
      this.#memory.invalidate(unknown);
      throw unknown;
    }
    if (tx === undefined) throw this.#lost();
    if (tx === fence.tx) throw commitFailed(cause);
    fence.tx = tx;
  }

  /** Takes over what the database says after a commit whose outcome was not known. */
  async #settle(client: PostgresClient, fence: Fence): Promise<void> {
    const tx = await this.#lease.ask(client, fence);
    if (tx === undefined) throw this.#lost();
    fence.tx = tx;
    this.#isUnknown = false;
    this.#isStale = true;
  }

  #holder(): Fence {
    if (this.#fence === undefined) throw this.#lost();
    return this.#fence;
  }

  #led(): StoreWatchError {
    return new StoreWatchError(
      "DATABASE_LOCKED",
      `${this.#where} is written by whoever writes the history that leads it, which is another process now`,
      { retryable: true },
    );
  }

  #lost(): StoreWatchError {
    this.#fence = undefined;
    const error = new StoreWatchError(
      "DATABASE_LOCKED",
      `another process has taken over the writing of ${this.#where}, because this one was not heard of for ` +
        `${this.#lease.ttlMs} ms; nothing more is written here until the stream is opened again and the lease is free`,
      { retryable: true },
    );
    this.#memory.invalidate(error);
    return error;
  }

  async #connected(): Promise<PostgresClient> {
    if (this.#client !== undefined) return this.#client;
    const client = await this.#pool.connect();
    // The query that is under way rejects as well, or the next one does.
    client.on("error", () => undefined);
    try {
      await client.query(writerSettings(this.#lease.ttlMs));
      if (this.#isDurable) await client.query(durableSettings);
    } catch (error) {
      // The pool counts it until it is given back, and its end waits for that.
      client.release(true);
      throw error;
    }
    this.#client = client;
    return client;
  }

  async #rollBack(error: unknown): Promise<void> {
    if (this.#client === undefined) return;
    try {
      if (isConnectionError(error)) throw error;
      await this.#client.query("ROLLBACK");
    } catch (reason) {
      // With the connection, the transaction ends.
      this.#drop(reason);
    }
  }

  #drop(error: unknown): void {
    if (!isConnectionError(error) && StoreWatchError.is(error)) return;
    this.#client?.release(error instanceof Error ? error : true);
    this.#client = undefined;
  }

  #turn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(work);
    this.#queue = turn.catch(() => undefined);
    return turn;
  }
}

/**
 * Who stops within a transaction must not keep the lease's row. And the writer looks for rows by their keys and nothing
 * else: a plan that was made while the tables were small must not read all of them once they are large.
 */
function writerSettings(ttlMs: number): string {
  return `SET idle_in_transaction_session_timeout = ${ttlMs}; SET jit = off;
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off`;
}

/** Local, remote, and what else a server may ask for, is more than nothing: it stays. */
const durableSettings = `SELECT set_config('synchronous_commit', 'on', false)
  WHERE current_setting('synchronous_commit') = 'off'`;

function unreachable(where: string, error: unknown): StoreWatchError {
  return new StoreWatchError(
    "DATABASE_UNREADABLE",
    `${where} cannot be used (${messageOf(error)}); check the server, the user and its rights`,
    { cause: error, retryable: isConnectionError(error) },
  );
}
