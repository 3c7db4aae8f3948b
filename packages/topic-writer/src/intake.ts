import type { Clock } from "@tidemark/clock";
import type { ChosenCodec } from "./codec.ts";
import { Framer } from "./framer.ts";
import { bodyLength, type MessageBody } from "./message.ts";
import type { Frame } from "./outbox.ts";
import type { SeqNo } from "./seq-no.ts";
import { type CompressBatch, Stage, type StagedBatch, type StagedMessage } from "./stage.ts";

export interface IntakeSetup {
  readonly clock: Clock;
  readonly maxFrameBytes: number;
  readonly isManual: boolean;
  readonly compress: CompressBatch;
  /** The open frame got its first message. */
  readonly onOpened: () => void;
  /** A frame is full. */
  readonly onFull: (frame: Frame) => void;
  readonly onCompressFailed: (error: unknown) => void;
}

/** What messages go through from `write` to their frames: at once where numbers and codec are known and it is raw. */
export class Intake {
  readonly #clock: Clock;
  readonly #framer: Framer;
  readonly #stage: Stage;
  readonly #onOpened: () => void;
  /** Messages go into frames at once: their numbers are known and they are not compressed. */
  #isFraming = false;
  #isOpen = false;
  #isOver = false;
  /** The time that was read last is still that of this tick. */
  #isFresh = false;
  #isStageDue = false;

  constructor({ clock, maxFrameBytes, isManual, compress, onOpened, onFull, onCompressFailed }: IntakeSetup) {
    this.#clock = clock;
    this.#onOpened = onOpened;
    this.#framer = new Framer(clock, maxFrameBytes, isManual, onFull);
    this.#stage = new Stage(compress, maxFrameBytes, (batch) => this.#onCompressed(batch), onCompressFailed);
  }

  /** Messages in the open frame. */
  get count(): number {
    return this.#framer.count;
  }

  /** The first stream is there: what was taken before gets its numbers from here on. */
  open(lastSeqNo: SeqNo, codec: ChosenCodec, transaction: Uint8Array | undefined): void {
    this.#framer.open(lastSeqNo, codec.id, transaction);
    this.#isOpen = true;
    this.#isFraming = codec.isRaw;
    if (codec.isRaw) for (const message of this.#stage.drain()) this.#frame(message);
    else this.#stage.pump();
  }

  /** `createdAtMs`: undefined: now. `size` is what it counts against the limits of the buffer. */
  add(
    seqNo: SeqNo,
    createdAtMs: number | undefined,
    data: MessageBody,
    bytes: number,
    metadata: Uint8Array | undefined,
    size: number,
  ): void {
    if (!this.#isFraming) {
      this.#addToStage({
        data: typeof data === "string" ? data : new Uint8Array(data),
        isEncoded: false,
        createdAtMs: createdAtMs ?? this.#clock.now(),
        metadata,
        seqNo,
        size,
      });
      return;
    }
    const nowMs = createdAtMs ?? (this.#isFresh ? this.#framer.nowMs : this.#stamp());
    this.#framer.add(seqNo, nowMs, data, bytes, bytes, metadata, size);
    if (this.#framer.count === 1) this.#onOpened();
  }

  /** What another writer had taken already. */
  adopt(message: StagedMessage): void {
    if (this.#isFraming) this.#frame(message);
    else this.#addToStage(message);
  }

  /** Closes the open frame, if there is one. */
  cut(): Frame | undefined {
    return this.#framer.cut();
  }

  /** What is in no frame, in order. Nothing of it comes any more. */
  takeStaged(): readonly StagedMessage[] {
    this.#isOver = true;
    return this.#stage.takeAll();
  }

  #addToStage(message: StagedMessage): void {
    this.#stage.push(message);
    if (!this.#isOpen || this.#isStageDue) return;
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
    if (this.#framer.count === 1) this.#onOpened();
  }

  #onCompressed({ messages, bodies }: StagedBatch): void {
    if (this.#isOver) return;
    for (const [place, message] of messages.entries()) {
      const body = bodies[place];
      if (body === undefined) {
        this.#frame(message);
        continue;
      }
      const { seqNo, createdAtMs, data, metadata, size } = message;
      this.#framer.add(seqNo, createdAtMs, body, body.length, bodyLength(data), metadata, size);
      if (this.#framer.count === 1) this.#onOpened();
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
}
