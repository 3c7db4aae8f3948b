import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";

/** Keys are spread over so many sums; a key that differs shows in exactly one of them. */
const buckets = 65_536;
const wordsPerBucket = 4;

/** What of an entry has to be equal on both sides. */
export interface AuditEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** Undefined: the source has none. */
  readonly version: string | undefined;
  readonly attributes: string | undefined;
}

/**
 * Checksums over a set of entries in whatever order they come: 1 MiB, however many there are. Two sets are equal when all
 * sums are, but for a chance of 2^-128 per sum.
 */
export class AuditSums {
  readonly #words = new Uint32Array(buckets * wordsPerBucket);
  entries = 0;

  clear(): void {
    this.#words.fill(0);
    this.entries = 0;
  }

  add(entry: AuditEntry): void {
    const digest = digestOf(entry);
    const from = bucketOf(entry.key) * wordsPerBucket;
    for (let word = 0; word < wordsPerBucket; word++) {
      this.#words[from + word] = (this.#words[from + word] as number) + digest.readUInt32LE(word * 4);
    }
    this.entries++;
  }

  /** The buckets in which the two sets differ. */
  differing(other: AuditSums): number[] {
    const found: number[] = [];
    for (let bucket = 0; bucket < buckets; bucket++) {
      const from = bucket * wordsPerBucket;
      for (let word = from; word < from + wordsPerBucket; word++) {
        if (this.#words[word] === other.#words[word]) continue;
        found.push(bucket);
        break;
      }
    }
    return found;
  }

  /** One checksum over everything: equal for equal sets, on every machine. */
  checksum(): string {
    const bytes = Buffer.alloc(this.#words.byteLength);
    for (const [at, word] of this.#words.entries()) bytes.writeUInt32LE(word, at * 4);
    return createHash("sha256").update(bytes).digest("hex").slice(0, 32);
  }
}

export const bucketOf = (key: Uint8Array): number => crc32(key) >>> 16;

/** Of everything that has to be equal, so that no two different entries have the same bytes. */
export function digestOf({ key, value, version, attributes }: AuditEntry): Buffer {
  const text = JSON.stringify([key.length, version ?? null, attributes ?? null]);
  return createHash("sha256").update(`${text}\n`).update(key).update(value).digest();
}
