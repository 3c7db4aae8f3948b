import type { MetadataItem, ReadColumns } from "@tidemark/topic/internal";
import type { Compressed } from "./decode-pump.ts";
import { ReaderError } from "./reader-error.ts";

const raw = 1;

/** Decompresses the payloads of one codec, in order, off the event loop. Rejects when any of them is corrupt. */
export type Decompress = (codec: number, payload: Uint8Array, signal: AbortSignal) => Promise<Uint8Array>;

/** The messages of one partition in one response, and what became of those that were compressed. */
export class ReaderColumns implements Compressed {
  readonly #wire: ReadColumns;
  readonly #decompress: Decompress;
  readonly length: number;
  /** Whether nothing has to be decompressed. */
  readonly isRaw: boolean;
  #decoded: (Uint8Array | Error | undefined)[] | undefined;

  constructor(wire: ReadColumns, decompress: Decompress) {
    this.#wire = wire;
    this.#decompress = decompress;
    this.length = wire.length;
    this.isRaw = isRaw(wire);
  }

  get sessionId(): number {
    return this.#wire.partitionSessionId;
  }

  /** What the writers claim, or what is there: whichever is more. */
  get expandedBytes(): number {
    const wire = this.#wire;
    let bytes = 0;
    for (let index = 0; index < this.length; index++) {
      bytes += Math.max(wire.uncompressedBytes(index), wire.dataEnd(index) - wire.dataStart(index));
    }
    return bytes;
  }

  offset(index: number): number {
    return this.#wire.offset(index);
  }

  seqNo(index: number): bigint {
    return BigInt(this.#wire.seqNo(index));
  }

  data(index: number): Uint8Array {
    const decoded = this.#decoded?.[index];
    if (decoded === undefined) return this.#wire.data(index);
    if (decoded instanceof Uint8Array) return decoded;
    throw decoded;
  }

  rawData(index: number): Uint8Array {
    return this.#wire.data(index);
  }

  codec(index: number): number {
    return this.#wire.codec(index) || raw;
  }

  createdAtMs(index: number): number {
    return this.#wire.createdAtMs(index);
  }

  writtenAtMs(index: number): number {
    return this.#wire.writtenAtMs(index);
  }

  producerId(index: number): string {
    return this.#wire.producerId(index);
  }

  messageGroupId(index: number): string {
    return this.#wire.messageGroupId(index);
  }

  metadata(index: number): readonly MetadataItem[] {
    return this.#wire.metadata(index);
  }

  writeSessionMeta(index: number): Readonly<Record<string, string>> {
    return this.#wire.writeSessionMeta(index);
  }

  /** Never rejects: a message that cannot be decompressed says so when its data is asked for (X21). */
  async decode(signal: AbortSignal, topic: string, partitionId: number): Promise<void> {
    const decoded: (Uint8Array | Error | undefined)[] = Array.from({ length: this.length });
    await Promise.all(
      decoded.map(async (_, index) => {
        const codec = this.codec(index);
        if (codec === raw) return;
        try {
          decoded[index] = await this.#decompress(codec, this.#wire.data(index), signal);
        } catch (cause) {
          const what = `offset ${this.offset(index)} of partition ${partitionId} of ${topic}`;
          const why = cause instanceof Error ? cause.message : String(cause);
          decoded[index] = new ReaderError("DECODE_FAILED", `${what} cannot be decompressed by codec ${codec}: ${why}`, {
            cause,
          });
        }
      }),
    );
    this.#decoded = decoded;
  }
}

function isRaw(wire: ReadColumns): boolean {
  for (let batch = 0; batch < wire.batchCount; batch++) {
    const first = wire.batchStart(batch);
    if (first < wire.length && first < wire.batchStart(batch + 1) && wire.codec(first) > raw) return false;
  }
  return true;
}
