import { StreamError } from "@tidemark/stream";
import { AckGroup, AckPromise, type AckWaiter, type WriteAck } from "./acks.ts";
import type { Budget } from "./budget.ts";
import type { Intake } from "./intake.ts";
import type { KeepAlive } from "./keep-alive.ts";
import {
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
import type { SeqNo } from "./seq-no.ts";
import type { StagedMessage } from "./stage.ts";
import { unacknowledgedIn } from "./unacknowledged.ts";
import type { UnacknowledgedMessage, Writer, WriterCloseOptions, WriterEvent } from "./writer.ts";
import { WriterDriver, type WriterDriverSetup } from "./writer-driver.ts";
import { closedError, endError } from "./writer-end.ts";
import type { WriterError } from "./writer-error.ts";

/** What a message costs beside its bytes, for the limits of the buffer. */
export const messageOverheadBytes = 32;

/** Writes to one partition through one stream at a time. */
export class PartitionWriter implements Writer {
  readonly producerId: string;
  readonly #setup: WriterDriverSetup;
  readonly #driver: WriterDriver;
  readonly #intake: Intake;
  readonly #keepAlive: KeepAlive;
  readonly #limits: MessageLimits;
  readonly #budget: Budget;
  #lastManual: SeqNo = 0;
  #closing: Promise<void> | undefined;

  constructor(setup: WriterDriverSetup) {
    this.#setup = setup;
    this.producerId = setup.producerId;
    this.#driver = new WriterDriver(setup);
    this.#intake = this.#driver.intake;
    this.#keepAlive = this.#driver.keepAlive;
    this.#budget = setup.budget;
    this.#limits = { isManual: this.#driver.isManual, maxMessageBytes: setup.options.maxMessageBytes };
  }

  /** Begins to connect (P25). */
  start(): void {
    this.#driver.start();
  }

  get partitionId(): bigint | undefined {
    return this.#driver.partitionId;
  }

  get bufferedBytes(): number {
    return this.#budget.bytes;
  }

  get bufferedMessages(): number {
    return this.#budget.messages;
  }

  write(messages: Writable | readonly Writable[]): boolean {
    if (this.#driver.refusal !== undefined) throw this.#driver.refusal;
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
    const first = this.#driver.enqueued;
    try {
      this.write(messages);
    } catch (error) {
      return Promise.reject(error as Error);
    }
    if (!isList(messages)) {
      const waiter = new AckPromise<WriteAck>(first);
      this.#driver.waiters.add(waiter);
      return waiter.promise;
    }
    const group = new AckGroup(messages.length);
    for (let n = 0; n < messages.length; n++) this.#driver.waiters.add(group.member(n, first + n));
    return group.promise;
  }

  ready(signal?: AbortSignal): Promise<void> {
    return this.#driver.refusal === undefined ? this.#budget.ready(signal) : Promise.reject(this.#driver.refusal);
  }

  flush(signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    // X7: what is written from now on is none of its business.
    if (this.#driver.outbox.settled === this.#driver.enqueued) return Promise.resolve();
    if (this.#driver.isOver) return Promise.reject(this.#driver.refusal as WriterError);
    const waiter = new AckPromise<undefined>(this.#driver.enqueued - 1);
    this.#driver.waiters.addFlush(waiter);
    if (signal === undefined) return waiter.promise;
    const onAbort = () => waiter.reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    return waiter.promise.finally(() => signal.removeEventListener("abort", onAbort));
  }

  async connected(signal?: AbortSignal): Promise<void> {
    try {
      await this.#driver.reconnector.connected(signal === undefined ? {} : { signal });
    } catch (error) {
      throw StreamError.is(error) ? endError(this.#driver.name, error, this.#driver.refusal) : error;
    }
  }

  close(options: WriterCloseOptions = {}): Promise<void> {
    if (this.#closing !== undefined) return this.#closing;
    const refusal = this.#driver.refusal;
    if (this.#driver.isOver) {
      const isLost = refusal?.code !== "CLOSED" || this.#driver.outbox.settled < this.#driver.enqueued;
      return isLost && refusal !== undefined ? Promise.reject(refusal) : Promise.resolve();
    }
    this.#driver.refusal = closedError(this.#driver.name);
    this.#driver.isClosing = true;
    this.#closing = this.#close(options);
    // Whoever closes twice need not handle it twice.
    this.#closing.catch(() => {});
    return this.#closing;
  }

  destroy(reason?: unknown): void {
    this.#driver.end(closedError(this.#driver.name, reason));
    this.#driver.reconnector.destroy(reason);
  }

  unacknowledged(): IterableIterator<UnacknowledgedMessage> {
    return unacknowledgedIn(this.#driver.outbox, this.#driver.leftover, this.#driver.isCompressed);
  }

  events(): AsyncIterable<WriterEvent> {
    return this.#setup.hub.subscribe();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Ends now, with the error that everybody who waits gets. */
  end(error: WriterError): void {
    this.#driver.fail(error);
  }

  /** Takes what a partition that was split leaves to this one. It counts in the buffer already. */
  adopt(messages: readonly StagedMessage[], waiters: readonly (AckWaiter | undefined)[]): void {
    for (const [place, message] of messages.entries()) {
      const waiter = waiters[place];
      if (waiter !== undefined) this.#wait(waiter);
      this.#driver.enqueued++;
      if (this.#limits.isManual) this.#lastManual = message.seqNo;
      this.#intake.adopt(message);
    }
    this.#keepAlive.wake();
  }

  #writeBody(data: MessageBody): boolean {
    const bytes = typeof data === "string" ? Buffer.byteLength(data) : data.length;
    if (bytes > this.#limits.maxMessageBytes) throw tooLarge(bytes, this.#limits);
    if (this.#limits.isManual) checkSeqNo(undefined, true, this.#lastManual);
    this.#driver.enqueued++;
    const size = bytes + messageOverheadBytes;
    this.#intake.add(0, undefined, data, bytes, undefined, size);
    if (this.#keepAlive.isIdle) this.#keepAlive.wake();
    return this.#budget.take(size);
  }

  /** Takes a message that was checked, and somebody who waits for it. */
  take({ data, bytes, seqNo, createdAtMs, metadata }: PreparedMessage, waiter?: AckWaiter): boolean {
    if (waiter !== undefined) this.#wait(waiter);
    this.#driver.enqueued++;
    if (this.#limits.isManual) this.#lastManual = seqNo;
    const size = bytes + (metadata?.length ?? 0) + messageOverheadBytes;
    this.#intake.add(seqNo, createdAtMs, data, bytes, metadata, size);
    if (this.#keepAlive.isIdle) this.#keepAlive.wake();
    return this.#budget.take(size);
  }

  /** For the next message. */
  #wait(waiter: AckWaiter): void {
    waiter.index = this.#driver.enqueued;
    this.#driver.waiters.add(waiter);
  }

  async #close({ closeTimeoutMs }: WriterCloseOptions): Promise<void> {
    try {
      await this.#driver.reconnector.close({
        flush: () => this.flush(),
        ...(closeTimeoutMs !== undefined && { closeTimeoutMs }),
      });
    } catch (error) {
      this.#driver.end(endError(this.#driver.name, error, this.#driver.refusal));
      if (this.#driver.refusal?.code !== "CLOSED" || this.#driver.outbox.settled < this.#driver.enqueued)
        throw this.#driver.refusal;
    }
    this.#driver.end(undefined);
  }
}
