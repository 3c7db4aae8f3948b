import type { Compression, PartitionDescription } from "@tidemark/topic";
import { encodeTransaction, leaveSlabs, useSlabs, type WriteAcks } from "@tidemark/topic/internal";
import { type StreamConnection, type StreamDisconnect, StreamError, StreamReconnector } from "@tidemark/stream";
import type { EventHub } from "@tidemark/stream/internal";
import { AckGroup, AckPromise, type AckWaiter, AckWaiters, type WriteAck } from "./acks.ts";
import type { Budget } from "./budget.ts";
import { type ChosenCodec, chooseCodec } from "./codec.ts";
import { channels } from "./diagnostics.ts";
import { Framer } from "./framer.ts";
import {
  bodyLength,
  checkSeqNo,
  isList,
  type MessageBody,
  type MessageLimits,
  type PreparedMessage,
  prepareList,
  prepareMessage,
  tooLarge,
  type Writable,
} from "./message.ts";
import type { ResolvedWriterOptions } from "./options.ts";
import { type AckKind, type Frame, Outbox } from "./outbox.ts";
import type { SeqNo } from "./seq-no.ts";
import { KeepAlive } from "./keep-alive.ts";
import { Stage, type StagedBatch, type StagedMessage } from "./stage.ts";
import { unacknowledgedIn } from "./unacknowledged.ts";
import { ackKinds } from "./wire.ts";
import type { UnacknowledgedMessage, Writer, WriterCloseOptions, WriterEvent } from "./writer.ts";
import { closedError, endError, withUnacknowledged } from "./writer-end.ts";
import { type Unacknowledged, WriterError } from "./writer-error.ts";
import {
  initialWriterState,
  nextWriterState,
  type WriterEffect,
  type WriterEvent as StateEvent,
} from "./writer-state.ts";
import { createWriterProtocol, type WriterSession } from "./writer-transport.ts";

/** What a message costs beside its bytes, for the limits of the buffer. */
export const messageOverheadBytes = 32;

type Connection = StreamConnection<Uint8Array, Uint8Array, WriterSession>;

/** What a partition that was split leaves behind. */
export interface Leftovers {
  /** In order: encoded ones first. */
  readonly messages: readonly StagedMessage[];
  /** Those who wait for single messages; `index` is the place in `messages`. */
  readonly waiters: readonly AckWaiter[];
  /** Those who wait for all of them. */
  readonly flushes: readonly AckWaiter[];
  /** The partitions of the topic now. */
  readonly partitions: readonly PartitionDescription[];
}

export interface PartitionWriterSetup {
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

/** Writes to one partition through one stream at a time. */
export class PartitionWriter implements Writer {
  readonly producerId: string;
  readonly #setup: PartitionWriterSetup;
  readonly #isManual: boolean;
  readonly #limits: MessageLimits;
  readonly #budget: Budget;
  readonly #framer: Framer;
  readonly #outbox: Outbox;
  readonly #stage: Stage;
  readonly #waiters = new AckWaiters();
  readonly #keepAlive: KeepAlive;
  readonly #reconnector: StreamReconnector<Uint8Array, Uint8Array, WriterSession>;
  #state = initialWriterState;
  #connection: Connection | undefined;
  #session: WriterSession | undefined;
  #codec: ChosenCodec | undefined;
  /** Messages go into frames at once: their numbers are known and they are not compressed. */
  #isFraming = false;
  /** The time that was read last is still that of this tick. */
  #isFresh = false;
  #isStageDue = false;
  #lastManual: SeqNo = 0;
  /** Messages that were taken. */
  #enqueued = 0;
  #closing: Promise<void> | undefined;
  /** Why nothing is taken any more. */
  #refusal: WriterError | undefined;
  #isOver = false;
  #leftover: readonly StagedMessage[] = [];

  constructor(setup: PartitionWriterSetup) {
    const { options } = setup;
    this.#setup = setup;
    useSlabs();
    this.producerId = setup.producerId;
    this.#isManual = options.seqNo === "manual";
    this.#limits = { isManual: this.#isManual, maxMessageBytes: options.maxMessageBytes };
    this.#budget = setup.budget;
    this.#keepAlive = new KeepAlive(options.clock);
    this.#outbox = new Outbox((...settled) => this.#onSettled(...settled));
    this.#framer = new Framer(options.clock, options.maxFrameBytes, this.#isManual, (frame) => this.#send(frame));
    this.#stage = new Stage(
      (bodies) => setup.compression.compress((this.#codec as ChosenCodec).id, bodies),
      options.maxFrameBytes,
      (batch) => this.#onCompressed(batch),
      (error) => this.#fail(new WriterError("FAILED", "the codec failed to compress", { cause: error })),
    );
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
      expected: () => this.#outbox.expected,
    });
    this.#reconnector = new StreamReconnector(protocol, {
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
    this.#keepAlive.rest();
    this.#reconnector.start();
    void this.#reconnector.done.then(({ error }) => {
      if (this.#closing === undefined) this.#end(endError(this.#name, error, this.#refusal));
    });
  }

  get partitionId(): bigint | undefined {
    return this.#session?.partitionId ?? this.#setup.partitionId;
  }

  get bufferedBytes(): number {
    return this.#budget.bytes;
  }

  get bufferedMessages(): number {
    return this.#budget.messages;
  }

  write(messages: Writable | readonly Writable[]): boolean {
    if (this.#refusal !== undefined) throw this.#refusal;
    if (typeof messages === "string" || messages instanceof Uint8Array) return this.#writeBody(messages);
    if (!isList(messages)) return this.take(prepareMessage(messages, this.#limits, this.#lastManual));
    // All are checked before the first is taken.
    const prepared = messages.length > 0 ? prepareList(messages, this.#limits, this.#lastManual) : undefined;
    for (let n = 0; n < messages.length; n++) {
      const one = prepared?.[n];
      if (one === undefined) this.#writeBody(messages[n] as MessageBody);
      else this.take(one);
    }
    return this.#budget.hasRoom;
  }

  writeAcked(message: Writable): Promise<WriteAck>;
  writeAcked(messages: readonly Writable[]): Promise<readonly WriteAck[]>;
  writeAcked(messages: Writable | readonly Writable[]): Promise<WriteAck | readonly WriteAck[]> {
    const first = this.#enqueued;
    try {
      this.write(messages);
    } catch (error) {
      return Promise.reject(error as Error);
    }
    if (!isList(messages)) {
      const waiter = new AckPromise<WriteAck>(first);
      this.#waiters.add(waiter);
      return waiter.promise;
    }
    const group = new AckGroup(messages.length);
    for (let n = 0; n < messages.length; n++) this.#waiters.add(group.member(n, first + n));
    return group.promise;
  }

  ready(signal?: AbortSignal): Promise<void> {
    return this.#refusal === undefined ? this.#budget.ready(signal) : Promise.reject(this.#refusal);
  }

  flush(signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    // X7: what is written from now on is none of its business.
    if (this.#outbox.settled === this.#enqueued) return Promise.resolve();
    if (this.#isOver) return Promise.reject(this.#refusal as WriterError);
    const waiter = new AckPromise<undefined>(this.#enqueued - 1);
    this.#waiters.addFlush(waiter);
    if (signal === undefined) return waiter.promise;
    const onAbort = () => waiter.reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    return waiter.promise.finally(() => signal.removeEventListener("abort", onAbort));
  }

  async connected(signal?: AbortSignal): Promise<void> {
    try {
      await this.#reconnector.connected(signal === undefined ? {} : { signal });
    } catch (error) {
      throw StreamError.is(error) ? endError(this.#name, error, this.#refusal) : error;
    }
  }

  close(options: WriterCloseOptions = {}): Promise<void> {
    if (this.#closing !== undefined) return this.#closing;
    const refusal = this.#refusal;
    if (this.#isOver) {
      const isLost = refusal?.code !== "CLOSED" || this.#outbox.settled < this.#enqueued;
      return isLost && refusal !== undefined ? Promise.reject(refusal) : Promise.resolve();
    }
    this.#refusal = closedError(this.#name);
    this.#closing = this.#close(options);
    // Whoever closes twice need not handle it twice.
    this.#closing.catch(() => {});
    return this.#closing;
  }

  destroy(reason?: unknown): void {
    this.#end(closedError(this.#name, reason));
    this.#reconnector.destroy(reason);
  }

  unacknowledged(): IterableIterator<UnacknowledgedMessage> {
    return unacknowledgedIn(this.#outbox, this.#leftover, this.#codec?.isRaw === false);
  }

  events(): AsyncIterable<WriterEvent> {
    return this.#setup.hub.subscribe();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Ends now, with the error that everybody who waits gets. */
  end(error: WriterError): void {
    this.#fail(error);
  }

  /** Takes what a partition that was split leaves to this one. It counts in the buffer already. */
  adopt(messages: readonly StagedMessage[], waiters: readonly (AckWaiter | undefined)[]): void {
    for (const [place, message] of messages.entries()) {
      const waiter = waiters[place];
      if (waiter !== undefined) {
        waiter.index = this.#enqueued;
        this.#waiters.add(waiter);
      }
      this.#enqueued++;
      if (this.#isManual) this.#lastManual = message.seqNo;
      if (this.#isFraming) this.#frame(message);
      else this.#toStage(message);
    }
    this.#keepAlive.wake();
  }

  #writeBody(data: MessageBody): boolean {
    const bytes = typeof data === "string" ? Buffer.byteLength(data) : data.length;
    if (bytes > this.#limits.maxMessageBytes) throw tooLarge(bytes, this.#limits);
    if (this.#isManual) checkSeqNo(undefined, true, this.#lastManual);
    this.#enqueued++;
    const size = bytes + messageOverheadBytes;
    if (this.#isFraming) {
      const nowMs = this.#isFresh ? this.#framer.nowMs : this.#stamp();
      this.#framer.add(0, nowMs, data, bytes, bytes, undefined, size);
      if (this.#framer.count === 1) this.#opened();
    } else this.#stageBody(data, size);
    if (this.#keepAlive.isIdle) this.#keepAlive.wake();
    return this.#budget.take(size);
  }

  #stageBody(data: MessageBody, size: number): void {
    const body = typeof data === "string" ? data : new Uint8Array(data);
    const createdAtMs = this.#setup.options.clock.now();
    this.#toStage({ data: body, isEncoded: false, createdAtMs, metadata: undefined, seqNo: 0, size });
  }

  /** Takes a message that was checked, and somebody who waits for it. */
  take({ data, bytes, seqNo, createdAtMs, metadata }: PreparedMessage, waiter?: AckWaiter): boolean {
    if (waiter !== undefined) {
      waiter.index = this.#enqueued;
      this.#waiters.add(waiter);
    }
    this.#enqueued++;
    if (this.#isManual) this.#lastManual = seqNo;
    const size = bytes + (metadata?.length ?? 0) + messageOverheadBytes;
    if (this.#isFraming) {
      const nowMs = createdAtMs ?? (this.#isFresh ? this.#framer.nowMs : this.#stamp());
      this.#framer.add(seqNo, nowMs, data, bytes, bytes, metadata, size);
      if (this.#framer.count === 1) this.#opened();
    } else {
      this.#toStage({
        data: typeof data === "string" ? data : new Uint8Array(data),
        isEncoded: false,
        createdAtMs: createdAtMs ?? this.#setup.options.clock.now(),
        metadata,
        seqNo,
        size,
      });
    }
    if (this.#keepAlive.isIdle) this.#keepAlive.wake();
    return this.#budget.take(size);
  }

  #toStage(message: StagedMessage): void {
    this.#stage.push(message);
    if (this.#codec === undefined || this.#isStageDue) return;
    this.#isStageDue = true;
    queueMicrotask(() => {
      this.#isStageDue = false;
      this.#stage.pump();
    });
  }

  /** A message of the stage that is not to be compressed any more. */
  #frame(message: StagedMessage): void {
    if (message.isEncoded) this.#framer.addEncoded(message);
    else {
      const bytes = bodyLength(message.data);
      const { seqNo, createdAtMs, data, metadata, size } = message;
      this.#framer.add(seqNo, createdAtMs, data, bytes, bytes, metadata, size);
    }
    if (this.#framer.count === 1) this.#opened();
  }

  #onCompressed({ messages, bodies }: StagedBatch): void {
    if (this.#isOver) return;
    for (const [place, message] of messages.entries()) {
      const body = bodies[place];
      if (body === undefined) this.#frame(message);
      else {
        const { seqNo, createdAtMs, data, metadata, size } = message;
        this.#framer.add(seqNo, createdAtMs, body, body.length, bodyLength(data), metadata, size);
        if (this.#framer.count === 1) this.#opened();
      }
    }
  }

  /** The clock is read once a tick. */
  #stamp(): number {
    this.#isFresh = true;
    queueMicrotask(this.#stale);
    return this.#framer.stamp();
  }

  readonly #stale = (): void => {
    this.#isFresh = false;
  };

  #opened(): void {
    this.#dispatch({ type: "opened", inFlight: this.#outbox.inFlight });
  }

  readonly #due = (): void => {
    this.#dispatch({ type: "due", isEmpty: this.#framer.count === 0, inFlight: this.#outbox.inFlight });
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
        return this.#settling(() => this.#outbox.confirm((this.#session as WriterSession).lastSeqNo));
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
        return this.#outbox.rewind();
      case "fail-conflict":
        return this.#fail(
          new WriterError(
            "PRODUCER_CONFLICT",
            `the topic has number ${this.#session?.lastSeqNo} of producer ${this.producerId}, but this writer sent no ` +
              `more than ${this.#outbox.highestSent}: somebody else writes under the same producerId`,
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
    this.#framer.open(
      session.lastSeqNo,
      codec.id,
      transaction && encodeTransaction({ id: transaction.id, session: transaction.session }),
    );
    this.#isFraming = codec.isRaw;
    if (codec.isRaw) for (const message of this.#stage.drain()) this.#frame(message);
    else this.#stage.pump();
  }

  #cut(): void {
    const frame = this.#framer.cut();
    if (frame !== undefined) this.#send(frame);
  }

  #send(frame: Frame): void {
    this.#outbox.push(frame);
    if (this.#state.type === "live") this.#pump();
  }

  #replay(): void {
    if (this.#outbox.length > 0 && channels.framesReplayed.hasSubscribers) {
      channels.framesReplayed.publish({ ...this.#labels(), frames: this.#outbox.length });
    }
    this.#pump();
  }

  /** Gives the stream what it does not have yet. */
  #pump(): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    for (let frame = this.#outbox.next(); frame !== undefined; frame = this.#outbox.next()) {
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
      highestSent: this.#outbox.highestSent,
      isExclusive: !this.#isManual && this.producerId !== "",
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
        const mismatch = this.#outbox.acknowledge(kind, seqNo, acks.count(n), offset);
        if (mismatch === undefined) continue;
        const { expected, got } = mismatch;
        wrong = expected === undefined ? `no acknowledgement, got number ${got}` : `number ${expected}, got ${got}`;
      }
    });
    if (wrong === undefined) this.#dispatch({ type: "acknowledged", inFlight: this.#outbox.inFlight });
    return wrong;
  }

  /** Gives back to the buffer what is settled meanwhile. */
  #settling(settle: () => void): void {
    const { size, settled } = this.#outbox;
    const oldest = this.#outbox.oldestSentMs;
    settle();
    const messages = this.#outbox.settled - settled;
    if (messages === 0) return;
    if (channels.messagesAcknowledged.hasSubscribers && oldest !== undefined) {
      const durationMs = this.#setup.options.clock.monotonic() - oldest;
      channels.messagesAcknowledged.publish({ ...this.#labels(), messages, durationMs });
    }
    this.#budget.give(size - this.#outbox.size, messages);
    this.#setup.onSettled?.(messages);
    if (this.#outbox.settled === this.#enqueued) this.#keepAlive.rest();
  }

  #onSettled(first: number, count: number, seqNo: SeqNo, kind: AckKind, offset: SeqNo | undefined): void {
    if (this.#waiters.size > 0) this.#waiters.settle(first, count, seqNo, kind, offset, this.partitionId ?? 0n);
  }

  /** The partition takes nothing any more, and the server has told what it had. */
  #handOver(): void {
    const { onRetired } = this.#setup;
    if (onRetired === undefined) {
      const message = `partition ${this.partitionId} was split or merged: write without partitionId, or by key`;
      this.#fail(new WriterError("PARTITION_INACTIVE", message));
      return;
    }
    const first = this.#outbox.settled;
    this.#collect();
    const messages: StagedMessage[] = [];
    for (const { size, message } of this.#outbox.sized()) {
      const { seqNo, rest } = message;
      messages.push({ data: rest, isEncoded: true, createdAtMs: 0, metadata: undefined, seqNo, size });
    }
    messages.push(...this.#leftover);
    const waiters = this.#waiters.takeSingle();
    for (const waiter of waiters) waiter.index -= first;
    const flushes = this.#waiters.takeFlushes();
    this.#outbox.clear();
    this.#leftover = [];
    this.#enqueued = first;
    if (channels.partitionRetired.hasSubscribers) {
      channels.partitionRetired.publish({ ...this.#labels(), messages: messages.length });
    }
    this.#setup.hub.emit({ type: "retired", partitionId: this.partitionId ?? 0n, messages: messages.length });
    this.#end(closedError(this.#name));
    this.#reconnector.destroy();
    onRetired({ messages, waiters, flushes, partitions: this.#session?.successors ?? [] });
  }

  async #close({ closeTimeoutMs }: WriterCloseOptions): Promise<void> {
    try {
      await this.#reconnector.close({
        flush: () => this.flush(),
        ...(closeTimeoutMs !== undefined && { closeTimeoutMs }),
      });
    } catch (error) {
      this.#end(endError(this.#name, error, this.#refusal));
      if (this.#refusal?.code !== "CLOSED" || this.#outbox.settled < this.#enqueued) throw this.#refusal;
    }
    this.#end(undefined);
  }

  /** Ends the stream, and with it the writer, for a reason of our own. */
  #fail(error: WriterError): void {
    this.#end(error);
    this.#reconnector.destroy(error);
  }

  #end(error: WriterError | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#keepAlive.end();
    this.#dispatch({ type: "end" });
    this.#collect();
    const refusal = error === undefined ? closedError(this.#name) : withUnacknowledged(error, this.#unacknowledged());
    this.#refusal = refusal;
    this.#waiters.reject(refusal);
    leaveSlabs();
    this.#setup.onEnd(error === undefined ? undefined : refusal);
  }

  /** Everything that is not acknowledged is in the outbox or in `#leftover` afterwards. */
  #collect(): void {
    const frame = this.#framer.cut();
    if (frame !== undefined) this.#outbox.push(frame);
    this.#leftover = [...this.#leftover, ...this.#stage.takeAll()];
  }

  #unacknowledged(): Unacknowledged {
    const { range, settled } = this.#outbox;
    return {
      messages: this.#enqueued - settled,
      firstSeqNo: range && BigInt(range[0]),
      lastSeqNo: range && this.#leftover.length === 0 ? BigInt(range[1]) : undefined,
    };
  }

  get #name(): string {
    return `the writer to ${this.#setup.options.topic}`;
  }

  #labels(): { readonly topic: string; readonly partitionId: bigint | undefined } {
    return { topic: this.#setup.options.topic, partitionId: this.partitionId };
  }
}
