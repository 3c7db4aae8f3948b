import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { Clock } from "@tidemark/clock";
import { deadline } from "@tidemark/clock";
import type { IssueMessage } from "../gen/ydb/issue_pb.ts";
import { QueryService } from "../gen/ydb/query_v1_pb.ts";
import { StatusIds_StatusCode as Status } from "../gen/ydb/status_pb.ts";
import { TopicService } from "../gen/ydb/topic_v1_pb.ts";
import { TopicError } from "../topic-error.ts";
import { abortable } from "./credentials.ts";
import { statusError, transportError } from "./status.ts";
import type { TopicTransaction, TransactionOffsets, TransactionOutcome } from "./transaction-types.ts";
import { checkOperation } from "./unary.ts";

/** One node, for everything that has to happen there. */
export interface Node {
  readonly nodeId: number;
  unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    input: MessageInitShape<I>,
    signal: AbortSignal | undefined,
  ): Promise<MessageShape<O>>;
  /** The session's states, for as long as it lives. */
  attach(session: string, signal: AbortSignal): AsyncIterable<StatusLike>;
  release(): void;
}

export interface StatusLike {
  readonly status: Status;
  readonly issues: readonly IssueMessage[];
}

/** For what is tidied up when nobody waits for it. */
const farewellTimeoutMs = 5_000;

function check(what: string, { status, issues }: StatusLike): void {
  if (status !== Status.SUCCESS) throw statusError(what, status, issues);
}

/** A session of the query service, on its node, and attached to. */
export class QuerySession {
  readonly id: string;
  readonly node: Node;
  readonly #clock: Clock;
  readonly #over = new AbortController();

  constructor(id: string, node: Node, clock: Clock) {
    this.id = id;
    this.node = node;
    this.#clock = clock;
  }

  /** Aborts when the session is lost or closed. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** Resolves when the server confirmed. */
  async attach(signal: AbortSignal): Promise<void> {
    const states = this.node.attach(this.id, this.#over.signal)[Symbol.asyncIterator]();
    const first = await abortable(states.next(), signal);
    if (first.done === true) throw lost("its stream ended at once");
    check("AttachSession", first.value);
    void this.#watch(states);
  }

  async close(): Promise<void> {
    using limit = deadline(this.#clock, farewellTimeoutMs);
    const isLost = this.#over.signal.aborted;
    try {
      if (!isLost) await this.node.unary(QueryService.method.deleteSession, { sessionId: this.id }, limit.signal);
    } catch {
      // The server forgets sessions that nobody is attached to.
    } finally {
      this.#over.abort(new TopicError("CLOSED", "The session was closed"));
      this.node.release();
    }
  }

  async #watch(states: AsyncIterator<StatusLike>): Promise<void> {
    try {
      for (;;) {
        const next = await states.next();
        if (next.done === true) break;
        check("AttachSession", next.value);
      }
      this.#over.abort(lost("the server ended it"));
    } catch (cause) {
      this.#over.abort(lost(cause instanceof Error ? cause.message : String(cause), cause));
    }
  }
}

const lost = (why: string, cause?: unknown) =>
  new TopicError("TRANSACTION_FAILED", `The session of the transaction is lost: ${why}`, { cause, retryClass: "fast" });

export class OpenTransaction implements TopicTransaction {
  readonly id: string;
  readonly #session: QuerySession;
  readonly #over = new AbortController();
  readonly #before: ((signal: AbortSignal) => Promise<void> | void)[] = [];
  readonly #after: ((outcome: TransactionOutcome) => void)[] = [];
  #outcome: TransactionOutcome | undefined;

  constructor(id: string, session: QuerySession) {
    this.id = id;
    this.#session = session;
  }

  get session(): string {
    return this.#session.id;
  }

  get nodeId(): number {
    return this.#session.node.nodeId;
  }

  get signal(): AbortSignal {
    return this.#over.signal;
  }

  onBeforeCommit(hook: (signal: AbortSignal) => Promise<void> | void): void {
    this.#throwIfOver();
    this.#before.push(hook);
  }

  onEnd(hook: (outcome: TransactionOutcome) => void): void {
    if (this.#outcome === undefined) this.#after.push(hook);
    else hook(this.#outcome);
  }

  async updateOffsets(consumer: string, offsets: readonly TransactionOffsets[], signal?: AbortSignal): Promise<void> {
    this.#throwIfOver();
    const what = `UpdateOffsetsInTransaction of consumer ${consumer}`;
    const input = {
      tx: { id: this.id, session: this.session },
      consumer,
      topics: offsets.map(({ topic, partitionId, ranges }) => ({
        path: topic,
        partitions: [
          {
            partitionId: BigInt(partitionId),
            partitionOffsets: ranges.map(({ start, end }) => ({ start: BigInt(start), end: BigInt(end) })),
          },
        ],
      })),
    };
    try {
      const { operation } = await this.#session.node.unary(
        TopicService.method.updateOffsetsInTransaction,
        input,
        signal,
      );
      checkOperation(what, operation);
    } catch (error) {
      throw transportError(what, error);
    }
  }

  /** @throws whatever a hook or the server says; the outcome is then known, or `unknown`. */
  async commit(signal: AbortSignal): Promise<void> {
    // A hook may bring more hooks.
    for (let done = 0; done < this.#before.length; ) {
      const hooks = this.#before.slice(done);
      done = this.#before.length;
      await abortable(Promise.all(hooks.map(async (hook) => hook(signal))), signal);
    }
    this.#session.signal.throwIfAborted();
    try {
      const input = { sessionId: this.session, txId: this.id };
      const answer = await this.#session.node.unary(QueryService.method.commitTransaction, input, signal);
      check("CommitTransaction", answer);
    } catch (error) {
      if (isDefinite(error)) throw error;
      this.end("unknown");
      const why = error instanceof Error ? error.message : String(error);
      throw new TopicError("TRANSACTION_FAILED", `It is not known whether the transaction was committed: ${why}`, {
        cause: error,
      });
    }
    this.end("committed");
  }

  /** Never rejects. */
  async rollback(clock: Clock): Promise<void> {
    if (this.#outcome !== undefined) return;
    this.end("rolled-back");
    if (this.#session.signal.aborted) return;
    using limit = deadline(clock, farewellTimeoutMs);
    const input = { sessionId: this.session, txId: this.id };
    await this.#session.node.unary(QueryService.method.rollbackTransaction, input, limit.signal).catch(() => {});
  }

  end(outcome: TransactionOutcome): void {
    if (this.#outcome !== undefined) return;
    this.#outcome = outcome;
    this.#over.abort(new TopicError("TRANSACTION_FAILED", `The transaction is over: ${outcome}`));
    for (const hook of this.#after) {
      try {
        hook(outcome);
      } catch {
        // As documented.
      }
    }
  }

  #throwIfOver(): void {
    if (this.#outcome === undefined) return;
    throw new TopicError("TRANSACTION_FAILED", `The transaction is over: ${this.#outcome}`);
  }
}

/** Whether a commit that failed like this certainly did not happen. */
function isDefinite(error: unknown): boolean {
  if (!TopicError.is(error) || error.code !== "STATUS") return false;
  return error.status !== "TIMEOUT" && error.status !== "UNDETERMINED" && error.status !== "CANCELLED";
}
