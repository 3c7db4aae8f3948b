import { createHash } from "node:crypto";
import { type Clock, type Rng, systemClock, systemRng } from "@tidemark/clock";
import type { ChannelTls } from "@tidemark/connect-transport";
import type { BackoffOptions, ReconnectLimiter } from "@tidemark/stream";
import { SourceWatchError } from "./source-watch-error.ts";

export interface WatchSourceOptions extends BackoffOptions {
  /** Where the store's WatchService listens: `http://127.0.0.1:7400`, or `https:` for TLS. */
  readonly address: string;
  /** Sent as a bearer token with every call; without TLS everybody on the way can read it. @default none */
  readonly token?: string;
  /** Only with `https:`. `cert` and `key` make it mutual. @default what Node trusts */
  readonly tls?: ChannelTls;
  /** Only keys that begin with it. Text stands for its UTF-8 bytes. Not together with `start` or `end`. @default every key */
  readonly prefix?: Uint8Array | string;
  /** First key. */
  readonly start?: Uint8Array | string;
  /** First key that is not watched any more. @default no end */
  readonly end?: Uint8Array | string;
  /** How often the store says where it is while nothing happens, in milliseconds, at least 100. @default 5000 */
  readonly progressIntervalMs?: number;
  /**
   * After how long without a word from the store the connection counts as broken, in milliseconds, above
   * `progressIntervalMs`.
   * @default three times `progressIntervalMs`
   */
  readonly silenceTimeoutMs?: number;
  /** @default the system's */
  readonly clock?: Clock;
  /** @default the system's */
  readonly rng?: Rng;
  /** Gates every attempt to connect. @default one for the whole process */
  readonly limiter?: ReconnectLimiter;
}

export const watchSourceDefaults = { progressIntervalMs: 5000 } as const satisfies Partial<WatchSourceOptions>;

export interface ResolvedWatchSource extends BackoffOptions {
  readonly origin: string;
  readonly token?: string;
  readonly tls?: ChannelTls;
  readonly range: { readonly start: Uint8Array; readonly end: Uint8Array; readonly prefix: Uint8Array };
  readonly description: string;
  readonly scope: string;
  readonly progressIntervalMs: number;
  readonly silenceTimeoutMs: number;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly limiter?: ReconnectLimiter;
}

/** @throws SourceWatchError `OPTIONS_INVALID` */
export function resolveWatchSource(options: WatchSourceOptions): ResolvedWatchSource {
  const { address, prefix, start, end, progressIntervalMs, silenceTimeoutMs, clock, rng, ...rest } = options;
  const origin = toOrigin(address);
  const range = { start: toBytes(start), end: toBytes(end), prefix: toBytes(prefix) };
  if (range.prefix.length > 0 && range.start.length + range.end.length > 0) {
    throw invalid("give either prefix or start and end, got both");
  }
  const intervalMs = progressIntervalMs ?? watchSourceDefaults.progressIntervalMs;
  if (!Number.isInteger(intervalMs) || intervalMs < 100 || intervalMs > 2 ** 32 - 1) {
    throw invalid(`progressIntervalMs must be a whole number in [100, 2^32), got ${intervalMs}`);
  }
  const silenceMs = silenceTimeoutMs ?? 3 * intervalMs;
  if (!(silenceMs > intervalMs)) {
    throw invalid(`silenceTimeoutMs must be above progressIntervalMs (${intervalMs}), got ${silenceMs}`);
  }
  return {
    ...rest,
    origin,
    range,
    description: `${origin} ${describeRange(range)}`,
    scope: scopeOf(range),
    progressIntervalMs: intervalMs,
    silenceTimeoutMs: silenceMs,
    clock: clock ?? systemClock,
    rng: rng ?? systemRng,
  };
}

function toOrigin(address: string): string {
  const url = URL.parse(address);
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw invalid(`address must look like http://127.0.0.1:7400, got ${JSON.stringify(address)}`);
  }
  // Without user and password, so that no message can carry them.
  return url.origin;
}

/** A copy (which `slice` of a Buffer is not): the caller keeps its bytes. */
function toBytes(bytes: Uint8Array | string = ""): Uint8Array {
  return typeof bytes === "string" ? new TextEncoder().encode(bytes) : new Uint8Array(bytes);
}

function scopeOf(range: ResolvedWatchSource["range"]): string {
  const digest = createHash("sha256");
  for (const part of [range.prefix, range.start, range.end]) digest.update(`${part.length}:`).update(part);
  return digest.digest("hex").slice(0, 32);
}

function describeRange({ prefix, start, end }: ResolvedWatchSource["range"]): string {
  if (prefix.length > 0) return show(prefix);
  if (start.length + end.length === 0) return "(every key)";
  return `[${show(start)}, ${end.length === 0 ? "end" : show(end)})`;
}

/** As text where it is text (control characters escaped), else in hex. */
function show(key: Uint8Array): string {
  try {
    return JSON.stringify(new TextDecoder("utf-8", { fatal: true }).decode(key)).slice(1, -1);
  } catch {
    return `0x${Buffer.from(key).toString("hex")}`;
  }
}

function invalid(message: string): SourceWatchError {
  return new SourceWatchError("OPTIONS_INVALID", message);
}
