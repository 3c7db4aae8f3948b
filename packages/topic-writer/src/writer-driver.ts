import type { Compression, PartitionDescription } from "@tidemark/topic";
import { encodeTransaction, leaveSlabs, useSlabs, type WriteAcks } from "@tidemark/topic/internal";
import { type StreamConnection, type StreamDisconnect, StreamReconnector } from "@tidemark/stream";
import type { EventHub } from "@tidemark/stream/internal";
import { type AckWaiter, AckWaiters } from "./acks.ts";
import type { Budget } from "./budget.ts";
import { type ChosenCodec, chooseCodec } from "./codec.ts";
import { channels } from "./diagnostics.ts";
import { Intake } from "./intake.ts";
import { KeepAlive } from "./keep-alive.ts";
import type { ResolvedWriterOptions } from "./options.ts";
import { type AckKind, type Frame, Outbox } from "./outbox.ts";
import type { SeqNo } from "./seq-no.ts";
import type { StagedMessage } from "./stage.ts";
import { ackKinds } from "./wire.ts";
import type { WriterEvent } from "./writer.ts";
import { closedError, endError, withUnacknowledged } from "./writer-end.ts";
import { type Unacknowledged, WriterError } from "./writer-error.ts";
import {
  initialWriterState,
  nextWriterState,
  type WriterEffect,
  type WriterEvent as StateEvent,
} from "./writer-state.ts";
import { createWriterProtocol, type WriterSession } from "./writer-transport.ts";

type Connection = StreamConnection<Uint8Array, Uint8Array, WriterSession>;

/** What a partition that was split leaves behind. */
export interface Leftovers {
  /** In order: encoded ones first. */
  readonly messages: readonly StagedMessage[];
  /** Whether those that are encoded are compressed. */
  readonly isCompressed: boolean;
  /** Those who wait for single messages; `index` is the place in `messages`. */
  readonly waiters: readonly AckWaiter[];
  /** Those who wait for all of them. */
  readonly flushes: readonly AckWaiter[];
  /** The partitions of the topic now. */
  readonly partitions: readonly PartitionDescription[];
}

export interface WriterDriverSetup {
  readonly options: ResolvedWriterOptions;
  readonly producerId: string;
  readonly partitionId: bigint | undefined;
  readonly budget: Budget;
  readonly compression: Compression;
  readonly hub: EventHub<Exclude<WriterEvent, { type: "skipped" }>>;
  /** Takes over what is left; without it the end of the partition is the end of the writer. */
  readonly onRetired?: (leftovers: Leftovers) => void;
  /** It is over; undefined: as somebody wanted. */
  readonly onEnd: (error: WriterError | undefined) => void;
  /** Told of each stretch of messages that is settled. */
  readonly onSettled?: (count: number) => void;
}

/** Does what the state wants done: owns the stream, the frames, and everybody who waits. */
export class WriterDriver {
  readonly outbox: Outbox;
  readonly intake: Intake;
  readonly waiters = new AckWaiters();
  readonly keepAlive: KeepAlive;
  readonly reconnector: StreamReconnector<Uint8Array, Uint8Array, WriterSession>;
  readonly isManual: boolean;
  /** Messages that were taken. */
  enqueued = 0;
  /** Why nothing is taken any more. */
  refusal: WriterError | undefined;
  /** Somebody closes it, and sees to its end. */
  isClosing = false;
  isOver = false;
  /** What was in no frame at the end. */
  leftover: readonly StagedMessage[] = [];
  readonly #setup: WriterDriverSetup;
  readonly #budget: Budget;
  #state = initialWriterState;
  #connection: Connection | undefined;
  #session: WriterSession | undefined;
  #codec: ChosenCodec | undefined;

  constructor(setup: WriterDriverSetup) {
    const { options } = setup;
    this.#setup = setup;
    useSlabs();
    this.#budget = setup.budget;
    this.isManual = options.seqNo === "manual";
    this.keepAlive = new KeepAlive(options.clock);
    this.outbox = new Outbox((...settled) => this.#onSettled(...settled));
    this.intake = new Intake({
      clock: options.clock,
      maxFrameBytes: options.maxFrameBytes,
      isManual: this.isManual,
      compress: (bodies) => setup.compression.compress((this.#codec as ChosenCodec).id, bodies),
      onOpened: () => this.#dispatch({ type: "opened", inFlight: this.outbox.inFlight }),
      onFull: (frame) => this.#send(frame),
      onCompressFailed: (error) =>
        this.fail(new WriterError("FAILED", "the codec failed to compress", { cause: error })),
    });
    const protocol = createWriterProtocol({
      client: options.client,
      topic: options.topic,
      producerId: setup.producerId,
      partitionId: setup.partitionId,
      sessionMeta: options.sessionMeta,
      nodeId: options.transaction?.nodeId,
      isDirect: options.isDirect,
      isOnce: options.transaction !== undefined,
      tokenRefreshIntervalMs: options.tokenRefreshIntervalMs,
      onSession: (session) => {
        this.#codec ??= chooseCodec(setup.compression, options.codec, session.codecs);
      },
      onAcks: (runs) => this.#onAcks(runs),
      expected: () => this.outbox.expected,
    });
    this.reconnector = new StreamReconnector(protocol, {
      ...options.reconnect,
      ...(options.transaction && { maxAttempts: 1 }),
      closeTimeoutMs: options.closeTimeoutMs,
      clock: options.clock,
      rng: options.rng,
      onConnected: (connection) => this.#onConnected(connection),
      onDisconnected: (disconnect) => this.#onDisconnected(disconnect),
    });
  }

  /** Begins to connect (P25). */
  start(): void {
    this.keepAlive.rest();
    this.reconnector.start();
    void this.reconnector.done.then(({ error }) => {
      if (!this.isClosing) this.end(endError(this.name, error, this.refusal));
    });
  }

  get partitionId(): bigint | undefined {
    return this.#session?.partitionId ?? this.#setup.partitionId;
  }

  get isCompressed(): boolean {
    return this.#codec?.isRaw === false;
  }

  get name(): string {
    return `the writer to ${this.#setup.options.topic}`;
  }

  /** Ends the stream, and with it the writer, for a reason of our own. */
  fail(error: WriterError): void {
    this.end(error);
    this.reconnector.destroy(error);
  }

  end(error: WriterError | undefined): void {
    if (this.isOver) return;
    this.isOver = true;
    this.keepAlive.end();
    this.#dispatch({ type: "end" });
    this.#collect();
    const refusal = error === undefined ? closedError(this.name) : withUnacknowledged(error, this.#unacknowledged());
    this.refusal = refusal;
    this.waiters.reject(refusal);
    leaveSlabs();
    this.#setup.onEnd(error === undefined ? undefined : refusal);
  }

  readonly #due = (): void => {
    this.#dispatch({ type: "due", isEmpty: this.intake.count === 0, inFlight: this.outbox.inFlight });
  };

  #dispatch(event: StateEvent): void {
    const [state, ...effects] = nextWriterState(this.#state, event);
    this.#state = state;
    for (const effect of effects) this.#run(effect);
  }

  #run(effect: WriterEffect): void {
    switch (effect) {
      case "number":
        return this.#number();
      case "confirm":
        return this.#settling(() => this.outbox.confirm((this.#session as WriterSession).lastSeqNo));
      case "replay":
        return this.#replay();
      case "cut":
        return this.#cut();
      case "await-tick":
        return queueMicrotask(this.#due);
      case "await-turn":
        this.#setup.options.clock.setImmediate(this.#due);
        return;
      case "rewind":
        return this.outbox.rewind();
      case "fail-conflict":
        return this.fail(
          new WriterError(
            "PRODUCER_CONFLICT",
            `the topic has number ${this.#session?.lastSeqNo} of producer ${this.#setup.producerId}, but this writer sent no ` +
              `more than ${this.outbox.highestSent}: somebody else writes under the same producerId`,
          ),
        );
      case "hand-over":
        return this.#handOver();
    }
  }

  /** The first stream is there: what was written before gets its numbers. */
  #number(): void {
    const { transaction } = this.#setup.options;
    const codec = this.#codec as ChosenCodec;
    const session = this.#session as WriterSession;
    this.intake.open(
      session.lastSeqNo,
      codec,
      transaction && encodeTransaction({ id: transaction.id, session: transaction.session }),
    );
  }

  #cut(): void {
    const frame = this.intake.cut();
    if (frame !== undefined) this.#send(frame);
  }

  #send(frame: Frame): void {
    this.outbox.push(frame);
    if (this.#state.type === "live") this.#pump();
  }

  #replay(): void {
    if (this.outbox.length > 0 && channels.framesReplayed.hasSubscribers) {
      channels.framesReplayed.publish({ ...this.#labels(), frames: this.outbox.length });
    }
    this.#pump();
  }

  /** Gives the stream what it does not have yet. */
  #pump(): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    for (let frame = this.outbox.next(); frame !== undefined; frame = this.outbox.next()) {
      connection.send(frame.bytes);
      if (channels.messagesAcknowledged.hasSubscribers) frame.sentMs = this.#setup.options.clock.monotonic();
      if (channels.frameSent.hasSubscribers) {
        channels.frameSent.publish({ ...this.#labels(), messages: frame.count, bytes: frame.bytes.length });
      }
    }
  }

  #onConnected(connection: Connection): void {
    this.#connection = connection;
    const { session } = connection;
    this.#session = session;
    const { partitionId, sessionId, lastSeqNo } = session;
    this.#setup.hub.emit({ type: "connected", partitionId, sessionId, lastSeqNo: BigInt(lastSeqNo) });
    this.#dispatch({
      type: "handshaken",
      lastSeqNo,
      highestSent: this.outbox.highestSent,
      isExclusive: !this.isManual && this.#setup.producerId !== "",
      isInactive: session.successors !== undefined,
    });
  }

  #onDisconnected({ error, delayMs }: StreamDisconnect): void {
    this.#connection = undefined;
    this.#setup.hub.emit({ type: "disconnected", partitionId: this.partitionId, error, delayMs });
    this.#dispatch({ type: "lost" });
  }

  #onAcks(acks: WriteAcks): string | undefined {
    let wrong: string | undefined;
    this.#settling(() => {
      for (let n = 0; n < acks.length && wrong === undefined; n++) {
        const kind = ackKinds[acks.kind(n)];
        const seqNo = acks.firstSeqNo(n);
        if (kind === undefined) {
          wrong = `an acknowledgement that says what became of number ${seqNo}`;
          return;
        }
        const offset = kind === "written" ? acks.firstOffset(n) : undefined;
        const mismatch = this.outbox.acknowledge(kind, seqNo, acks.count(n), offset);
        if (mismatch === undefined) continue;
        const { expected, got } = mismatch;
        wrong = expected === undefined ? `no acknowledgement, got number ${got}` : `number ${expected}, got ${got}`;
      }
    });
    if (wrong === undefined) this.#dispatch({ type: "acknowledged", inFlight: this.outbox.inFlight });
    return wrong;
  }

  /** Gives back to the buffer what is settled meanwhile. */
  #settling(settle: () => void): void {
    const { size, settled } = this.outbox;
    const oldest = this.outbox.oldestSentMs;
    settle();
    const messages = this.outbox.settled - settled;
    if (messages === 0) return;
    if (channels.messagesAcknowledged.hasSubscribers) {
      // A new stream's handshake confirms what the old one had sent, and nobody knows for how long that was so.
      const durationMs = oldest === undefined ? undefined : this.#setup.options.clock.monotonic() - oldest;
      channels.messagesAcknowledged.publish({ ...this.#labels(), messages, durationMs });
    }
    this.#budget.give(size - this.outbox.size, messages);
    this.#setup.onSettled?.(messages);
    if (this.outbox.settled === this.enqueued) this.keepAlive.rest();
  }

  #onSettled(first: number, count: number, seqNo: SeqNo, kind: AckKind, offset: SeqNo | undefined): void {
    if (this.waiters.size > 0) this.waiters.settle(first, count, seqNo, kind, offset, this.partitionId ?? 0n);
  }

  /** The partition takes nothing any more, and the server has told what it had. */
  #handOver(): void {
    const { onRetired } = this.#setup;
    if (onRetired === undefined) {
      const message = `partition ${this.partitionId} was split or merged: write without partitionId, or by key`;
      this.fail(new WriterError("PARTITION_INACTIVE", message));
      return;
    }
    const first = this.outbox.settled;
    this.#collect();
    const messages: StagedMessage[] = [];
    for (const { size, message } of this.outbox.sized()) {
      const { seqNo, rest } = message;
      messages.push({ data: rest, isEncoded: true, createdAtMs: 0, metadata: undefined, seqNo, size });
    }
    messages.push(...this.leftover);
    const waiters = this.waiters.takeSingle();
    for (const waiter of waiters) waiter.index -= first;
    const flushes = this.waiters.takeFlushes();
    this.outbox.clear();
    this.leftover = [];
    this.enqueued = first;
    if (channels.partitionRetired.hasSubscribers) {
      channels.partitionRetired.publish({ ...this.#labels(), messages: messages.length });
    }
    this.#setup.hub.emit({ type: "retired", partitionId: this.partitionId ?? 0n, messages: messages.length });
    this.end(closedError(this.name));
    this.reconnector.destroy();
    onRetired({
      messages,
      isCompressed: this.isCompressed,
      waiters,
      flushes,
      partitions: this.#session?.successors ?? [],
    });
  }

  /** Everything that is not acknowledged is in the outbox or in `leftover` afterwards. */
  #collect(): void {
    const frame = this.intake.cut();
    if (frame !== undefined) this.outbox.push(frame);
    this.leftover = [...this.leftover, ...this.intake.takeStaged()];
  }

  #unacknowledged(): Unacknowledged {
    const { range, settled } = this.outbox;
    return {
      messages: this.enqueued - settled,
      firstSeqNo: range && BigInt(range[0]),
      lastSeqNo: range && this.leftover.length === 0 ? BigInt(range[1]) : undefined,
    };
  }

  #labels(): { readonly topic: string; readonly partitionId: bigint | undefined } {
    return { topic: this.#setup.options.topic, partitionId: this.partitionId };
  }
}
