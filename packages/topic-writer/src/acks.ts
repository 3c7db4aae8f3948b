import { Fifo } from "./fifo.ts";
import type { AckKind } from "./outbox.ts";
import { type SeqNo, seqNoAfter } from "./seq-no.ts";

/** What became of a message. */
export class WriteAck {
  readonly #seqNo: SeqNo;
  readonly #offset: SeqNo | undefined;
  /**
   * `written`: it is in the topic at `offset`. `skipped`: the topic had it already. `written-in-tx`: it will be there
   * when the transaction commits.
   */
  readonly status: AckKind;
  /** The partition that has it. */
  readonly partitionId: bigint;

  constructor(status: AckKind, partitionId: bigint, seqNo: number | bigint, offset: number | bigint | undefined) {
    this.status = status;
    this.partitionId = partitionId;
    this.#seqNo = seqNo;
    this.#offset = offset;
  }

  /** The sequence number under which it was sent. */
  get seqNo(): bigint {
    return BigInt(this.#seqNo);
  }

  /** Its offset within the partition, where the server told it: not for skipped messages nor in a transaction. */
  get offset(): bigint | undefined {
    return this.#offset === undefined ? undefined : BigInt(this.#offset);
  }

  /** For logs. */
  toJSON(): { status: AckKind; partitionId: string; seqNo: string; offset: string | undefined } {
    return {
      status: this.status,
      partitionId: String(this.partitionId),
      seqNo: String(this.#seqNo),
      offset: this.#offset === undefined ? undefined : String(this.#offset),
    };
  }
}

/** Somebody who waits for message `index`. */
export interface AckWaiter {
  /** Changes with the owner of the message. */
  index: number;
  resolve(ack: WriteAck | undefined): void;
  reject(error: unknown): void;
}

const ignore = () => {};

/** A promise that does not count as unhandled when it is rejected and nobody asks (P19). */
export class AckPromise<T extends WriteAck | undefined> implements AckWaiter {
  readonly promise: Promise<T>;
  index: number;
  resolve!: (ack: WriteAck | undefined) => void;
  #reject!: (error: unknown) => void;

  constructor(index: number) {
    this.index = index;
    this.promise = new Promise<T>((resolve, reject) => {
      this.resolve = resolve as (ack: WriteAck | undefined) => void;
      this.#reject = reject;
    });
  }

  reject(error: unknown): void {
    this.promise.catch(ignore);
    this.#reject(error);
  }
}

/** One promise for the acknowledgements of a list. */
export class AckGroup {
  readonly promise: Promise<readonly WriteAck[]>;
  readonly #acks: WriteAck[] = [];
  readonly #count: number;
  #settled = 0;
  #resolve!: (acks: readonly WriteAck[]) => void;
  #reject!: (error: unknown) => void;

  constructor(count: number) {
    this.#count = count;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    if (count === 0) this.#resolve(this.#acks);
  }

  /** The waiter for number `place` of the list. */
  member(place: number, index: number): AckWaiter {
    return {
      index,
      resolve: (ack) => {
        this.#acks[place] = ack as WriteAck;
        if (++this.#settled === this.#count) this.#resolve(this.#acks);
      },
      reject: (error) => {
        this.promise.catch(ignore);
        this.#reject(error);
      },
    };
  }
}

/**
 * Those who wait for messages, in the order of the messages: acknowledgements come in order, so the head of one queue is
 * all that has to be looked at. Without waiters an acknowledgement costs nothing here.
 */
export class AckWaiters {
  readonly #single = new Fifo<AckWaiter>();
  readonly #flushes = new Fifo<AckWaiter>();

  get size(): number {
    return this.#single.length + this.#flushes.length;
  }

  /** Waits for one message. */
  add(waiter: AckWaiter): void {
    this.#single.push(waiter);
  }

  /** Resolves when message `index` and all before it are settled. */
  addFlush(waiter: AckWaiter): void {
    this.#flushes.push(waiter);
  }

  /** Settles messages [first, first + count). */
  settle(
    first: number,
    count: number,
    seqNo: SeqNo,
    kind: AckKind,
    offset: SeqNo | undefined,
    partition: bigint,
  ): void {
    const end = first + count;
    for (let waiter = this.#single.at(0); waiter !== undefined && waiter.index < end; waiter = this.#single.at(0)) {
      this.#single.shift();
      const place = waiter.index - first;
      const at = offset === undefined ? undefined : seqNoAfter(offset, place);
      waiter.resolve(new WriteAck(kind, partition, seqNoAfter(seqNo, place), at));
    }
    for (let flush = this.#flushes.at(0); flush !== undefined && flush.index < end; flush = this.#flushes.at(0)) {
      this.#flushes.shift();
      flush.resolve(undefined);
    }
  }

  /** Those who wait for single messages, for their new owner. */
  takeSingle(): AckWaiter[] {
    return this.#single.takeAll();
  }

  takeFlushes(): AckWaiter[] {
    return this.#flushes.takeAll();
  }

  reject(error: unknown): void {
    for (const waiter of [...this.#single.takeAll(), ...this.#flushes.takeAll()]) waiter.reject(error);
  }
}
