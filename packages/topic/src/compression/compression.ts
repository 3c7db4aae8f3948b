import { TopicError } from "../topic-error.ts";
import { type BuiltinSettings, type Direction, isBuiltin, runInPool, runSync } from "./builtin.ts";
import { type CodecName, codecName, codecNumber } from "./codec-name.ts";
import { CodecThread } from "./codec-thread.ts";

/** A codec of one's own. What takes long belongs off the event loop, which is up to it. */
export interface CustomCodec {
  /** In [10_000, 19_999], and the same for writers and readers. */
  readonly codec: number;
  compress(data: Uint8Array): Uint8Array | Promise<Uint8Array>;
  /** Should throw rather than make more than `maxOutputBytes`. */
  decompress(data: Uint8Array, maxOutputBytes: number): Uint8Array | Promise<Uint8Array>;
}

export interface CompressionOptions {
  /** @default none */
  readonly codecs?: readonly CustomCodec[];
  /** 1 is the fastest, 9 the smallest. @default 6 */
  readonly gzipLevel?: number;
  /** 1 is the fastest, 19 the smallest. @default 3 */
  readonly zstdLevel?: number;
  /** Largest payload that may come out of a compressed one, in bytes, in [1, 2^31). @default 64_000_000 */
  readonly maxOutputBytes?: number;
}

export const compressionDefaults = {
  codecs: [],
  gzipLevel: 6,
  zstdLevel: 3,
  maxOutputBytes: 64_000_000,
} as const satisfies Required<CompressionOptions>;

/** So much is done at once, on the event loop: 0.3 ms of gzip at most. */
const inlineBytes = 8 * 1024;
/** Payloads from this size on go to libuv's pool one by one: handing them over costs less than copying them. */
const poolBytes = 32 * 1024;
// topic.proto, Codec.
const rawCodec = 1;
/** In this order by preference, where the topic leaves the choice to us. */
const preferred = [4, 2, 1];

/** Compresses and decompresses payloads of messages: small batches at once, everything else off the event loop. */
export class Compression implements AsyncDisposable {
  readonly #settings: BuiltinSettings;
  readonly #custom: ReadonlyMap<number, CustomCodec>;
  readonly #thread: CodecThread;

  /** @throws {TopicError} `OPTIONS_INVALID` */
  constructor(options: CompressionOptions = {}) {
    this.#settings = {
      gzipLevel: whole("gzipLevel", options.gzipLevel ?? compressionDefaults.gzipLevel, 1, 9),
      zstdLevel: whole("zstdLevel", options.zstdLevel ?? compressionDefaults.zstdLevel, 1, 19),
      maxOutputBytes: whole(
        "maxOutputBytes",
        options.maxOutputBytes ?? compressionDefaults.maxOutputBytes,
        1,
        2 ** 31 - 1,
      ),
    };
    this.#custom = new Map(
      (options.codecs ?? compressionDefaults.codecs).map((codec) => [codecNumber(codec.codec), codec]),
    );
    this.#thread = new CodecThread(this.#settings);
  }

  /** Whether payloads of this codec can be written and read. */
  has(codec: number): boolean {
    return codec === rawCodec || isBuiltin(codec) || this.#custom.has(codec);
  }

  /**
   * The codec to write with. `auto`: zstd, gzip or raw, the first that the topic takes. `supported`: the topic's, empty for
   * any.
   *
   * @throws {TopicError} `UNSUPPORTED_CODECS`, `CODEC_UNKNOWN`
   */
  choose(wanted: CodecName | "auto", supported: readonly number[]): number {
    const takes = (codec: number) => supported.length === 0 || supported.includes(codec);
    const listed = () => supported.map(codecName).join(", ");
    if (wanted === "auto") {
      // Unless it says so, nobody knows whether readers have more than raw.
      if (supported.length === 0) return rawCodec;
      const codec = preferred.find(takes) ?? supported.find((each) => this.#custom.has(each));
      if (codec !== undefined) return codec;
      throw new TopicError("UNSUPPORTED_CODECS", `The topic takes ${listed()}, of which this side has none`);
    }
    const codec = codecNumber(wanted);
    if (!this.has(codec)) throw unknownCodec(codec);
    if (takes(codec)) return codec;
    throw new TopicError(
      "UNSUPPORTED_CODECS",
      `The topic takes ${listed()}, not ${wanted}: choose one, or alter the topic`,
    );
  }

  /**
   * The payloads, compressed, in order.
   *
   * @throws {TopicError} `CODEC_UNKNOWN`, `CLOSED`, and what a custom codec throws as the `cause` of `DATA_CORRUPT`
   * @throws `signal.reason`
   */
  async compress(codec: number, payloads: readonly Uint8Array[], signal?: AbortSignal): Promise<Uint8Array[]> {
    const results = await this.#run("compress", codec, payloads, signal);
    return results.map((result) => {
      if (result instanceof Uint8Array) return result;
      throw result;
    });
  }

  /**
   * The payloads, decompressed, in order; an error in the place of one that is corrupt, too large, or of a codec that is
   * not known (X21).
   *
   * @throws {TopicError} `CLOSED` @throws `signal.reason`
   */
  async decompress(
    codec: number,
    payloads: readonly Uint8Array[],
    signal?: AbortSignal,
  ): Promise<(Uint8Array | TopicError)[]> {
    if (!this.has(codec)) return payloads.map(() => unknownCodec(codec));
    return this.#run("decompress", codec, payloads, signal);
  }

  /** Ends the thread, if one was needed. */
  close(): Promise<void> {
    return this.#thread.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #run(
    direction: Direction,
    codec: number,
    payloads: readonly Uint8Array[],
    signal: AbortSignal | undefined,
  ): Promise<(Uint8Array | TopicError)[]> {
    signal?.throwIfAborted();
    if (codec === rawCodec) return [...payloads];
    const custom = this.#custom.get(codec);
    if (custom !== undefined) return this.#runCustom(direction, custom, payloads, signal);
    if (!isBuiltin(codec)) throw unknownCodec(codec);
    return untilAborted(this.#runBuiltin(direction, codec, payloads), signal);
  }

  async #runBuiltin(
    direction: Direction,
    codec: number,
    payloads: readonly Uint8Array[],
  ): Promise<(Uint8Array | TopicError)[]> {
    let total = 0;
    for (const { length } of payloads) total += length;
    // A few bytes can become many.
    if (total <= inlineBytes && direction === "compress") {
      return payloads.map((payload) => runSync(direction, codec, payload, this.#settings));
    }
    const results: (Uint8Array | TopicError)[] = Array.from({ length: payloads.length });
    const small: number[] = [];
    const waits: Promise<void>[] = [];
    const inPool = async (index: number) => {
      results[index] = await runInPool(direction, codec, payloads[index] as Uint8Array, this.#settings).catch(asResult);
    };
    const single = payloads.length === 1;
    for (const [index, { length }] of payloads.entries()) {
      if (single || length >= poolBytes || !this.#thread.isUsable) waits.push(inPool(index));
      else small.push(index);
    }
    if (small.length > 0) waits.push(this.#runThread(direction, codec, payloads, small, results));
    await Promise.all(waits);
    return results;
  }

  async #runThread(
    direction: Direction,
    codec: number,
    payloads: readonly Uint8Array[],
    small: readonly number[],
    results: (Uint8Array | TopicError)[],
  ): Promise<void> {
    const batch = small.map((index) => payloads[index] as Uint8Array);
    const outputs = await this.#thread.run(direction, codec, batch);
    for (const [place, index] of small.entries()) results[index] = outputs[place] as Uint8Array | TopicError;
  }

  async #runCustom(
    direction: Direction,
    custom: CustomCodec,
    payloads: readonly Uint8Array[],
    signal: AbortSignal | undefined,
  ): Promise<(Uint8Array | TopicError)[]> {
    const limit = this.#settings.maxOutputBytes;
    const one = async (payload: Uint8Array) => {
      try {
        const output = await (direction === "compress" ? custom.compress(payload) : custom.decompress(payload, limit));
        if (direction === "compress" || output.length <= limit) return output;
        return new TopicError(
          "DATA_TOO_LARGE",
          `${output.length} bytes came out of codec ${custom.codec}, above ${limit}`,
        );
      } catch (cause) {
        const why = cause instanceof Error ? cause.message : String(cause);
        return new TopicError("DATA_CORRUPT", `Codec ${custom.codec} could not ${direction}: ${why}`, { cause });
      }
    };
    return untilAborted(Promise.all(payloads.map(one)), signal);
  }
}

function asResult(error: unknown): TopicError {
  if (TopicError.is(error)) return error;
  throw error;
}

function unknownCodec(codec: number): TopicError {
  const have = "raw, gzip, zstd and what is given in codecs";
  return new TopicError("CODEC_UNKNOWN", `Codec ${codecName(codec)} is not one of ${have}`);
}

function whole(name: string, value: number, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new TopicError("OPTIONS_INVALID", `${name} must be a whole number in [${min}, ${max}], got ${value}`);
}

/** Work that cannot be stopped is left to itself. */
function untilAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
