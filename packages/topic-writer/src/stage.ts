import { Fifo } from "./fifo.ts";
import type { MessageBody } from "./message.ts";
import type { SeqNo } from "./seq-no.ts";

/** A message that cannot be encoded yet: its number or the codec is not known, or it is to be compressed. */
export interface StagedMessage {
  /** The body, or what another writer encoded of it, without its sequence number. */
  readonly data: MessageBody;
  readonly isEncoded: boolean;
  readonly createdAtMs: number;
  readonly metadata: Uint8Array | undefined;
  /** 0: the writer gives it. */
  readonly seqNo: SeqNo;
  /** What it counts against the limits of the buffer. */
  readonly size: number;
}

/** Messages that are compressed together, and in the end framed together. */
export interface StagedBatch {
  readonly messages: readonly StagedMessage[];
  /** Their compressed bodies; `undefined` where a message is encoded already. */
  readonly bodies: readonly (Uint8Array | undefined)[];
}

/** Compresses the bodies of a batch, off the event loop where that pays. */
export type CompressBatch = (bodies: readonly Uint8Array[]) => Promise<readonly Uint8Array[]>;

/** So many batches are compressed at once; they are delivered in order all the same. */
const concurrency = 4;

/**
 * Between `write` and the frames of a writer that compresses. Batches grow while the compressors are busy, and come out
 * in the order in which they went in.
 */
export class Stage {
  readonly #compress: CompressBatch;
  readonly #deliver: (batch: StagedBatch) => void;
  readonly #fail: (error: unknown) => void;
  readonly #maxBatchBytes: number;
  readonly #waiting = new Fifo<StagedMessage>();
  #running = 0;
  /** Settles when the last batch that was begun is delivered. */
  #tail: Promise<void> = Promise.resolve();
  /** What was begun and not delivered, in order. */
  #begun: (readonly StagedMessage[])[] = [];
  #isOver = false;

  constructor(
    compress: CompressBatch,
    maxBatchBytes: number,
    deliver: (batch: StagedBatch) => void,
    fail: (error: unknown) => void,
  ) {
    this.#compress = compress;
    this.#maxBatchBytes = maxBatchBytes;
    this.#deliver = deliver;
    this.#fail = fail;
  }

  push(message: StagedMessage): void {
    this.#waiting.push(message);
  }

  /** Begins with what waits, if a compressor is free. */
  pump(): void {
    while (!this.#isOver && this.#running < concurrency && this.#waiting.length > 0) this.#begin(this.#next());
  }

  /** What waits, for somebody who does not compress after all. */
  drain(): readonly StagedMessage[] {
    return this.#waiting.takeAll();
  }

  /** Everything that was not delivered, in order. Nothing is delivered any more. */
  takeAll(): StagedMessage[] {
    this.#isOver = true;
    const all = [...this.#begun.flat(), ...this.#waiting.takeAll()];
    this.#begun = [];
    return all;
  }

  #next(): readonly StagedMessage[] {
    const batch: StagedMessage[] = [];
    let bytes = 0;
    while (bytes < this.#maxBatchBytes) {
      const message = this.#waiting.shift();
      if (message === undefined) break;
      batch.push(message);
      bytes += message.size;
    }
    return batch;
  }

  #begin(messages: readonly StagedMessage[]): void {
    this.#running++;
    this.#begun.push(messages);
    const compressing = this.#run(messages);
    // It is awaited in its turn below; until then a rejection is not unhandled.
    compressing.catch(() => {});
    this.#tail = this.#tail.then(async () => {
      try {
        const bodies = await compressing;
        this.#running--;
        if (this.#isOver) return;
        this.#begun.shift();
        this.#deliver({ messages, bodies });
        this.pump();
      } catch (error) {
        if (this.#isOver) return;
        this.#isOver = true;
        this.#fail(error);
      }
    });
  }

  async #run(messages: readonly StagedMessage[]): Promise<readonly (Uint8Array | undefined)[]> {
    const plain = messages.filter(({ isEncoded }) => !isEncoded).map(({ data }) => toBytes(data));
    const compressed = await this.#compress(plain);
    if (compressed.length !== plain.length) {
      throw new TypeError(`the codec was given ${plain.length} bodies and returned ${compressed.length}`);
    }
    let next = 0;
    return messages.map(({ isEncoded }) => (isEncoded ? undefined : compressed[next++]));
  }
}

function toBytes(data: MessageBody): Uint8Array {
  return typeof data === "string" ? Buffer.from(data) : data;
}
