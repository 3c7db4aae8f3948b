import type { ReadColumns } from "@tidemark/topic/internal";
import type { Compressed } from "./decode-pump.ts";
import { ReaderError } from "./reader-error.ts";
import type { MessageMetadata } from "./reader-types.ts";

const raw = 1;

/** What decompresses, off the event loop: the payloads of one codec in order, an error in the place of a corrupt one. */
export interface Decompressor {
  decompress(
    codec: number,
    payloads: readonly Uint8Array[],
    signal?: AbortSignal,
  ): Promise<readonly (Uint8Array | Error)[]>;
}

/** The messages of one partition in one response, and what became of those that were compressed. */
export class ReaderColumns implements Compressed {
  readonly #wire: ReadColumns;
  readonly #decompressor: Decompressor;
  readonly length: number;
  /** Whether nothing has to be decompressed. */
  readonly isRaw: boolean;
  #decoded: (Uint8Array | Error | undefined)[] | undefined;

  constructor(wire: ReadColumns, decompressor: Decompressor) {
    this.#wire = wire;
    this.#decompressor = decompressor;
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

  metadata(index: number): readonly MessageMetadata[] {
    return this.#wire.metadata(index);
  }

  writeSessionMeta(index: number): Readonly<Record<string, string>> {
    return this.#wire.writeSessionMeta(index);
  }

  /** Never rejects: a message that cannot be decompressed says so when its data is asked for (X21). */
  async decode(signal: AbortSignal, topic: string, partitionId: number): Promise<void> {
    const decoded: (Uint8Array | Error | undefined)[] = Array.from({ length: this.length });
    const byCodec = new Map<number, number[]>();
    for (let index = 0; index < this.length; index++) {
      const codec = this.codec(index);
      if (codec === raw) continue;
      const indexes = byCodec.get(codec);
      if (indexes === undefined) byCodec.set(codec, [index]);
      else indexes.push(index);
    }
    const fail = (index: number, codec: number, cause: unknown) => {
      const what = `offset ${this.offset(index)} of partition ${partitionId} of ${topic}`;
      const why = cause instanceof Error ? cause.message : String(cause);
      return new ReaderError("DECODE_FAILED", `${what} cannot be decompressed by codec ${codec}: ${why}`, { cause });
    };
    const one = async (codec: number, indexes: readonly number[]) => {
      try {
        const payloads = indexes.map((index) => this.#wire.data(index));
        const results = await this.#decompressor.decompress(codec, payloads, signal);
        for (const [place, index] of indexes.entries()) {
          const result = results[place];
          decoded[index] = result instanceof Uint8Array ? result : fail(index, codec, result);
        }
      } catch (error) {
        for (const index of indexes) decoded[index] = fail(index, codec, error);
      }
    };
    await Promise.all([...byCodec].map(([codec, indexes]) => one(codec, indexes)));
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
