import type { CommitWaiter } from "./commit-ledger.ts";
import { CreditLedger } from "./credit-ledger.ts";
import { Lineage } from "./lineage.ts";
import { type Chunk, type Columns, Partition, PartitionSession, type Receipt, type SessionStart } from "./partition.ts";
import type { ReaderEffect, SessionCommit } from "./reader-effect.ts";
import type { PartitionEnd, UncommittedRange } from "./reader-types.ts";
import { TurnQueue } from "./turn-queue.ts";

/** What the state has to know about its reader. */
export interface ReaderStateOptions {
  readonly maxBufferBytes: number;
  /** Whether the server keeps positions for it. Without, the reader remembers its own. */
  readonly hasConsumer: boolean;
  /** Without a consumer: where a partition starts when it was not read before. */
  readonly initialOffset?: (topic: string, partitionId: number) => number | undefined;
}

/** Messages that were delivered together: `from` up to `to` of a chunk. */
export interface Taken<C extends Columns = Columns> {
  readonly chunk: Chunk<C>;
  readonly from: number;
  readonly to: number;
  /** Where its commit begins. */
  readonly anchor: number;
}

/** One object for all: it is an effect of nearly every response. */
const wake = { type: "wake" } as const;

/** Paths have no NUL. */
const partitionKey = (topic: string, partitionId: number): string => `${partitionId}\0${topic}`;

/**
 * What a reader knows, and nothing that it does: events come in as calls, what is to be done about them goes out as
 * `effects`. No clock, no I/O, no randomness.
 *
 * Sessions are keyed by the id that the server gave them and die with their stream; partitions are keyed by topic and
 * partition id (X4) and keep their commits over any number of streams.
 */
export class ReaderState<C extends Columns = Columns> {
  /** To be taken and done by whoever called, in order. */
  effects: ReaderEffect<C>[] = [];
  readonly #options: ReaderStateOptions;
  readonly #partitions = new Map<string, Partition<C>>();
  readonly #sessions = new Map<number, PartitionSession<C>>();
  readonly #lineage = new Lineage<C>();
  #credit: CreditLedger;
  #isConnected = false;
  #isClosing = false;
  /** A listener works on partitions, one batch at a time each. */
  #isListening = false;
  readonly #ready = new TurnQueue<C>();
  #isFlushDue = false;

  constructor(options: ReaderStateOptions) {
    this.#options = options;
    this.#credit = new CreditLedger(options.maxBufferBytes);
  }

  /** Of the stream that is live, or was last. */
  get credit(): CreditLedger {
    return this.#credit;
  }

  get isClosing(): boolean {
    return this.#isClosing;
  }

  get sessions(): Iterable<PartitionSession<C>> {
    return this.#sessions.values();
  }

  get partitions(): Iterable<Partition<C>> {
    return this.#partitions.values();
  }

  connected(): void {
    this.#isConnected = true;
    this.#credit = new CreditLedger(this.#options.maxBufferBytes);
    // A reader that is closing comes back only for its commits.
    if (!this.#isClosing) this.effects.push({ type: "request", bytes: this.#credit.open() });
  }

  /** Sessions and what was read ahead die with the stream; commits do not (P16). */
  disconnected(): void {
    this.#isConnected = false;
    for (const session of this.#sessions.values()) this.#end(session, "disconnected");
    this.#sessions.clear();
    this.#lineage.clear();
    this.#ready.clear();
  }

  startRequested(topic: string, partitionId: number, start: SessionStart): void {
    const key = partitionKey(topic, partitionId);
    for (const old of [this.#partitions.get(key)?.session, this.#sessions.get(start.id)]) {
      if (old !== undefined) this.#end(old, "lost");
    }
    const partition = this.#partitions.get(key) ?? new Partition(topic, partitionId);
    this.#partitions.set(key, partition);
    const session = new PartitionSession(partition, start);
    this.#sessions.set(start.id, session);
    partition.session = session;
    this.effects.push({ type: "disarm-loss", partition });
    if (this.#options.hasConsumer) this.#settle(partition.commits.open(start.committed, start.firstOffset));
    // Who is closing wants nothing but to commit.
    if (this.#isClosing && !partition.commits.isPending) return;
    this.#askStart(session);
  }

  /** The hook, if there is one, has decided. An answer for a session of the past changes nothing (X16). */
  answerStart(session: PartitionSession<C>, readOffset?: number, commitOffset?: number): void {
    if (session.status !== "starting") return;
    const { partition, start } = session;
    const { topic, partitionId } = partition;
    let from = readOffset;
    if (!this.#options.hasConsumer) {
      from ??= partition.nextOffset ?? this.#options.initialOffset?.(topic, partitionId);
      partition.nextOffset = from;
    }
    session.status = "active";
    if (commitOffset !== undefined) {
      // As a commit like any other: YDB never says that one in the answer is done (`TEvCommitDone` in read_session_actor),
      // and takes none there without the read offset (`InitStartReading` in partition_actor).
      from = Math.max(from ?? 0, commitOffset);
      session.anchor = Math.max(session.anchor, commitOffset);
      partition.commits.request(start.committed, commitOffset);
    }
    this.effects.push({ type: "answer-start", sessionId: start.id, readOffset: from });
    if (partition.commits.hasUnsent) this.#flushSoon();
    this.effects.push({
      type: "tell",
      event: {
        type: "partition-started",
        topic,
        partitionId,
        committedOffset: BigInt(start.committed),
        firstOffset: BigInt(start.firstOffset),
        endOffset: BigInt(start.endOffset),
      },
    });
  }

  /** One response. Its bytes come back exactly once, whatever becomes of its messages (X13). */
  received(bytes: number, partitions: readonly C[]): void {
    this.#credit.receive(bytes);
    const receipt: Receipt = { bytes, left: partitions.length };
    if (partitions.length === 0) this.#release(bytes);
    for (const columns of partitions) {
      const session = this.#sessions.get(columns.sessionId);
      if (session?.status !== "active" || this.#isClosing || columns.length === 0) {
        this.#letGo(receipt);
        continue;
      }
      const chunk: Chunk<C> = { columns, receipt, session, taken: 0, isReady: columns.isRaw };
      session.push(chunk);
      if (!chunk.isReady) this.effects.push({ type: "decode", chunk });
      else if (!session.isQueued) this.#enqueue(session);
    }
  }

  /** The messages are decompressed, or what cannot be is marked. */
  decoded(chunk: Chunk<C>): void {
    chunk.isReady = true;
    this.#enqueue(chunk.session);
  }

  /** Whether `take` would find something. */
  get hasReady(): boolean {
    for (let session = this.#ready.first; session !== undefined; session = this.#ready.first) {
      if (this.#isDeliverable(session)) return true;
      this.#ready.shift();
    }
    return false;
  }

  /** The next messages, of one partition; partitions take turns. They are in somebody's hands until `handled`. */
  take(maxMessages: number): Taken<C> | undefined {
    if (!this.hasReady) return undefined;
    const session = this.#ready.shift() as PartitionSession<C>;
    const chunk = session.head as Chunk<C>;
    const { columns } = chunk;
    const from = chunk.taken;
    const to = Math.min(columns.length, from + maxMessages);
    const { anchor } = session;
    const end = columns.offset(to - 1) + 1;
    session.anchor = Math.max(anchor, end);
    session.partition.nextOffset = session.anchor;
    session.inHand++;
    chunk.taken = to;
    if (this.#isListening) session.partition.isBusy = true;
    if (to === columns.length) {
      session.shift();
      this.#letGo(chunk.receipt);
    }
    if (session.isEmpty) this.#afterDelivery(session);
    else this.#enqueue(session);
    return { chunk, from, to, anchor };
  }

  /** Whoever had a batch of the session has finished with it. */
  handled(session: PartitionSession<C>): void {
    const { partition } = session;
    session.inHand--;
    partition.isBusy = false;
    partition.looksBusy = 0;
    this.#checkStopped(session);
    // Not always the same: a listener may have been at work since an earlier stream.
    const current = partition.session;
    if (current === undefined) this.#forget(partition);
    else if (current.status === "starting") this.#askStart(current);
    else if (current.isEmpty) this.#afterDelivery(current);
    else this.#enqueue(current);
  }

  listen(): void {
    this.#isListening = true;
  }

  /**
   * Called at intervals while a listener works. A listener that does not come back must not stop other partitions (X12),
   * but what the server sent for its partition is held and uses up the credit. So the stream is made anew: the partition
   * then starts, and gets its share of the credit, only when its listener is done.
   */
  checkStalled(): void {
    let stalled: Partition<C> | undefined;
    let isAnyoneStarving = false;
    for (const session of this.#sessions.values()) {
      const { partition } = session;
      if (partition.isBusy && session.inHand > 0) {
        if (++partition.looksBusy >= 2 && !session.isEmpty) stalled = partition;
      } else if (session.status === "active" && session.isEmpty) isAnyoneStarving = true;
    }
    if (stalled === undefined || !isAnyoneStarving || this.#credit.available > 0) return;
    const why = `the listener of partition ${stalled.partitionId} of ${stalled.topic} holds up all others`;
    this.effects.push({ type: "reconnect", why });
  }

  stopRequested(sessionId: number, isGraceful: boolean, committed: number): void {
    const session = this.#sessions.get(sessionId);
    if (session === undefined) return;
    const { partition } = session;
    if (this.#options.hasConsumer) this.#settle(partition.commits.acknowledge(committed));
    if (!isGraceful) this.#end(session, "lost");
    else if (session.status === "starting") this.#giveBack(session, "released");
    else if (session.status === "active") {
      session.status = "stopping";
      this.#discard(session);
      this.#free(session);
      this.effects.push({ type: "arm-stop", session });
      const { topic, partitionId } = partition;
      this.effects.push({ type: "tell", event: { type: "partition-stopping", topic, partitionId } });
      this.#checkStopped(session);
    } else this.#checkStopped(session);
  }

  /** The server gets its partition back although something is pending (X15). */
  stopOverdue(session: PartitionSession<C>): void {
    if (session.status === "stopping") this.#giveBack(session, "abandoned");
  }

  endReached(sessionId: number, childPartitionIds: readonly number[]): void {
    const session = this.#sessions.get(sessionId);
    if (session === undefined || session.isFullyRead) return;
    const { topic } = session.partition;
    session.isFullyRead = true;
    session.childPartitionIds = childPartitionIds;
    this.#lineage.add(
      session,
      childPartitionIds.map((id) => partitionKey(topic, id)),
    );
    if (session.isEmpty) this.#afterDelivery(session);
  }

  /**
   * Asks for a range to be committed. Returns `done` when it is, `pending` when it will be told to a waiter, `lost` when
   * the partition is somebody else's.
   */
  commit(partition: Partition<C>, start: number, end: number, waiter?: CommitWaiter): "done" | "pending" | "lost" {
    const { commits, session } = partition;
    if (session === undefined && partition.lastEnd !== "disconnected") {
      return end <= commits.committed ? "done" : "lost";
    }
    if (!commits.request(start, end)) return "done";
    if (waiter !== undefined) commits.wait(waiter);
    if (session === undefined) this.effects.push({ type: "arm-loss", partition });
    else if (session.status === "starting") this.#askStart(session);
    else this.#flushSoon();
    return "pending";
  }

  /** Sends what was asked for since the last time, in one request. */
  flushCommits(): void {
    this.#isFlushDue = false;
    if (!this.#isConnected) return;
    const commits: SessionCommit[] = [];
    for (const [sessionId, session] of this.#sessions) {
      if (session.status === "starting" || !session.partition.commits.hasUnsent) continue;
      commits.push({ sessionId, ranges: session.partition.commits.takeUnsent() });
    }
    if (commits.length > 0) this.effects.push({ type: "commit", commits });
  }

  /** An acknowledgement for a session that is not known is none of ours. */
  commitAcknowledged(sessionId: number, committed: number): void {
    const session = this.#sessions.get(sessionId);
    if (session !== undefined) this.#acknowledge(session.partition, committed);
  }

  /** A transaction has committed up to here. */
  transactionCommitted(partition: Partition<C>, committed: number): void {
    this.#acknowledge(partition, committed);
  }

  /** Waits no longer for a partition that went away with a stream. */
  lossOverdue(partition: Partition<C>): void {
    if (partition.session !== undefined) return;
    partition.lastEnd = "lost";
    this.#abandon(partition);
    this.#forget(partition);
    this.#checkFlushed();
  }

  /** Delivers nothing more, and finishes what was asked to be committed. */
  close(): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    for (const session of this.#sessions.values()) this.#discard(session);
    this.#checkFlushed();
  }

  /** Whether the stream was told to commit something and has not answered. */
  get isCommitting(): boolean {
    for (const { partition } of this.#sessions.values()) if (partition.commits.isSent) return true;
    return false;
  }

  /** Whether nothing is pending that the server could commit. What has a hole before it never will be. */
  get isFlushed(): boolean {
    for (const { commits } of this.#partitions.values()) if (commits.isReachable) return false;
    return true;
  }

  uncommitted(): UncommittedRange[] {
    return [...this.#partitions.values()].flatMap(({ topic, partitionId, commits }) =>
      commits.pending().map(({ start, end }) => ({ topic, partitionId, start: BigInt(start), end: BigInt(end) })),
    );
  }

  /** Nothing will be committed any more. Returns everybody who waits for that. */
  abandonAll(): CommitWaiter[] {
    return [...this.#partitions.values()].flatMap(({ commits }) => commits.abandon());
  }

  /**
   * A listener that is still at work on the partition should be done before it starts: the later it starts, the less is
   * read twice, and one that hangs keeps nothing from the others. Unless it waits for a commit, which needs the start.
   */
  #askStart(session: PartitionSession<C>): void {
    const { partition } = session;
    if (session.isAsked || (partition.isBusy && !partition.commits.isReachable)) return;
    session.isAsked = true;
    this.effects.push({ type: "ask-start", session });
  }

  #acknowledge(partition: Partition<C>, committed: number): void {
    if (committed <= partition.commits.committed) return;
    this.#settle(partition.commits.acknowledge(committed));
    this.effects.push({ type: "committed", partition, committed });
    if (partition.session !== undefined) this.#checkStopped(partition.session);
    this.#checkFlushed();
  }

  #isDeliverable(session: PartitionSession<C>): boolean {
    if (session.status !== "active" || this.#isClosing) return false;
    const { partition, head } = session;
    if (head === undefined || !head.isReady || partition.isBusy) return false;
    return !this.#lineage.isBlocked(partitionKey(partition.topic, partition.partitionId));
  }

  #enqueue(session: PartitionSession<C>): void {
    if (session.isQueued || !this.#isDeliverable(session)) return;
    this.#ready.push(session);
    this.effects.push(wake);
  }

  /** The last of what there was is delivered, and where a listener is at work also handled. */
  #afterDelivery(session: PartitionSession<C>): void {
    if (!session.isFullyRead || session.isEndTold || session.partition.isBusy) return;
    session.isEndTold = true;
    const { topic, partitionId } = session.partition;
    const { childPartitionIds } = session;
    this.effects.push({ type: "tell", event: { type: "partition-ended", topic, partitionId, childPartitionIds } });
    this.#free(session);
  }

  /** Its children need not wait for it. */
  #free(session: PartitionSession<C>): void {
    if (!session.isFullyRead) return;
    for (const key of this.#lineage.remove(session)) {
      const child = this.#partitions.get(key)?.session;
      if (child !== undefined) this.#enqueue(child);
    }
  }

  #checkStopped(session: PartitionSession<C>): void {
    if (session.status !== "stopping" || session.inHand > 0 || session.partition.commits.isPending) return;
    this.#giveBack(session, "released");
  }

  /** Gives a partition back that was asked for. */
  #giveBack(session: PartitionSession<C>, reason: PartitionEnd): void {
    this.effects.push({ type: "answer-stop", sessionId: session.start.id });
    this.#end(session, reason);
  }

  #end(session: PartitionSession<C>, reason: PartitionEnd): void {
    if (session.status === "over") return;
    const { partition } = session;
    const isAlive = reason !== "disconnected";
    session.status = "over";
    // The credit of a stream that is gone is void.
    if (isAlive) this.#discard(session);
    else session.clear();
    partition.session = undefined;
    partition.lastEnd = reason;
    if (isAlive) {
      this.#sessions.delete(session.start.id);
      this.#free(session);
    }
    partition.commits.close();
    if (reason === "lost" || reason === "abandoned") this.#abandon(partition);
    else if (partition.commits.isPending) this.effects.push({ type: "arm-loss", partition });
    this.effects.push({ type: "ended", session, reason });
    const { topic, partitionId } = partition;
    this.effects.push({ type: "tell", event: { type: "partition-stopped", topic, partitionId, reason } });
    if (isAlive) {
      this.#forget(partition);
      this.#checkFlushed();
    }
  }

  /** Its messages belong to somebody else now. */
  #abandon(partition: Partition<C>): void {
    const { topic, partitionId, commits } = partition;
    for (const { start, end } of commits.pending()) {
      const event = { type: "commit-lost", topic, partitionId, start: BigInt(start), end: BigInt(end) } as const;
      this.effects.push({ type: "tell", event });
    }
    const waiters = commits.abandon();
    if (waiters.length > 0) this.effects.push({ type: "settle", waiters, lost: partition });
  }

  /** Forgets a partition about which there is nothing to remember. */
  #forget(partition: Partition<C>): void {
    const isKept =
      partition.session !== undefined ||
      partition.isBusy ||
      partition.lastEnd === "disconnected" ||
      partition.commits.isPending ||
      !this.#options.hasConsumer;
    if (isKept) return;
    const key = partitionKey(partition.topic, partition.partitionId);
    // It may have been forgotten before, and come back as another object.
    if (this.#partitions.get(key) === partition) this.#partitions.delete(key);
  }

  #discard(session: PartitionSession<C>): void {
    for (const chunk of session.clear()) this.#letGo(chunk.receipt);
  }

  #letGo(receipt: Receipt): void {
    if (--receipt.left === 0) this.#release(receipt.bytes);
  }

  #release(bytes: number): void {
    const request = this.#credit.release(bytes);
    if (request > 0 && this.#isConnected && !this.#isClosing) this.effects.push({ type: "request", bytes: request });
  }

  #settle(waiters: readonly CommitWaiter[]): void {
    if (waiters.length > 0) this.effects.push({ type: "settle", waiters });
  }

  #flushSoon(): void {
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    this.effects.push({ type: "flush-soon" });
  }

  #checkFlushed(): void {
    if (this.#isClosing && this.isFlushed) this.effects.push({ type: "flushed" });
  }
}
