import { type Clock, type Rng, systemClock, systemRng } from "@tidemark/clock";
import type { BackoffOptions, ReconnectLimiter } from "@tidemark/stream";
import { type Endpoint, type EtcdTls, parseEndpoint } from "./endpoint.ts";
import { EtcdError } from "./etcd-error.ts";
import { type KeyRange, keyBytes, keyRange, keyText, prefixRange } from "./key-range.ts";
import { type EtcdCredentials, TokenSource } from "./token-source.ts";

export interface EtcdSourceOptions {
  /**
   * Addresses of one cluster: `http://host:2379`, `https://host:2379` or `host:2379`. The first is used until it fails;
   * every further attempt takes the next.
   */
  readonly endpoints: readonly string[];
  /** Follow the keys that begin with this; an empty one follows every key. Give either this or `range`. */
  readonly prefix?: string | Uint8Array;
  /** Follow the keys from `start` on and before `end`; without an `end`, to the last key there is. */
  readonly range?: { readonly start: string | Uint8Array; readonly end?: string | Uint8Array };
  /** Where etcd has authentication switched on. Does no harm where it has not. */
  readonly credentials?: EtcdCredentials;
  /** Needed for `https://` endpoints whose certificate no public authority signed, or that ask for ours. */
  readonly tls?: EtcdTls;
  /**
   * After how long without a message etcd is asked for a sign of life, in milliseconds, above 0.
   * @default 5_000
   */
  readonly heartbeatIntervalMs?: number;
  /**
   * After how long without a message the connection is given up for dead, in milliseconds, above `heartbeatIntervalMs`.
   * Time in which the sink holds us back does not count.
   * @default 15_000
   */
  readonly silenceTimeoutMs?: number;
  /**
   * Time for connecting and for the questions that come first, in milliseconds, above 0.
   * @default 10_000
   */
  readonly connectTimeoutMs?: number;
  /**
   * Time for one page of a snapshot, in milliseconds, above 0.
   * @default 30_000
   */
  readonly requestTimeoutMs?: number;
  /**
   * The largest message that is taken from etcd, in bytes, at least 4 MiB. A page of a snapshot that would be larger is
   * asked for again in smaller pieces; raise it where etcd runs with a large `--max-request-bytes`.
   * @default 67_108_864, which is 64 MiB
   */
  readonly maxMessageBytes?: number;
  /**
   * How much may be on its way from etcd to us, in bytes, from 65_535 to 1 GiB. More is faster where the round trip is
   * long; it is also what may wait in memory while the sink holds us back.
   * @default 4_194_304, which is 4 MiB
   */
  readonly windowBytes?: number;
  /** How long to wait before connecting again; see `BackoffOptions` of `@tidemark/stream`. */
  readonly backoff?: BackoffOptions;
  /** Gates connecting again. @default one for all streams of the process */
  readonly limiter?: ReconnectLimiter;
  /** @default the machine's clock */
  readonly clock?: Clock;
  /** @default the machine's randomness */
  readonly rng?: Rng;
}

export const etcdSourceDefaults = {
  heartbeatIntervalMs: 5_000,
  silenceTimeoutMs: 15_000,
  connectTimeoutMs: 10_000,
  requestTimeoutMs: 30_000,
  maxMessageBytes: 64 << 20,
  windowBytes: 4 << 20,
} as const;

export interface ResolvedOptions extends Required<Pick<EtcdSourceOptions, keyof typeof etcdSourceDefaults>> {
  readonly endpoints: readonly [Endpoint, ...Endpoint[]];
  readonly range: KeyRange;
  readonly tls: EtcdTls | undefined;
  readonly tokens: TokenSource | undefined;
  readonly backoff: BackoffOptions;
  readonly limiter: ReconnectLimiter | undefined;
  readonly clock: Clock;
  readonly rng: Rng;
  /** For people: `http://127.0.0.1:2379 /config/`. */
  readonly description: string;
}

/** @throws {EtcdError} `OPTIONS_INVALID`. */
export function resolveOptions(options: EtcdSourceOptions): ResolvedOptions {
  const { tls, credentials } = options;
  const [first, ...others] = options.endpoints.map((text) => parseEndpoint(text, tls !== undefined));
  if (first === undefined) throw invalid("endpoints must name at least one address, such as http://127.0.0.1:2379");
  if (tls !== undefined && (tls.cert === undefined) !== (tls.key === undefined)) {
    throw invalid("tls.cert and tls.key belong together: give both or neither");
  }
  if (credentials !== undefined && credentials.user === "") throw invalid("credentials.user must not be empty");
  const numbers = {
    heartbeatIntervalMs: options.heartbeatIntervalMs ?? etcdSourceDefaults.heartbeatIntervalMs,
    silenceTimeoutMs: options.silenceTimeoutMs ?? etcdSourceDefaults.silenceTimeoutMs,
    connectTimeoutMs: options.connectTimeoutMs ?? etcdSourceDefaults.connectTimeoutMs,
    requestTimeoutMs: options.requestTimeoutMs ?? etcdSourceDefaults.requestTimeoutMs,
    maxMessageBytes: options.maxMessageBytes ?? etcdSourceDefaults.maxMessageBytes,
    windowBytes: options.windowBytes ?? etcdSourceDefaults.windowBytes,
  };
  for (const name of ["heartbeatIntervalMs", "connectTimeoutMs", "requestTimeoutMs"] as const) {
    if (!(numbers[name] > 0)) throw invalid(`${name} must be above 0, got ${numbers[name]}`);
  }
  if (!(numbers.silenceTimeoutMs > numbers.heartbeatIntervalMs)) {
    throw invalid(
      `silenceTimeoutMs must be above heartbeatIntervalMs (${numbers.heartbeatIntervalMs}), got ${numbers.silenceTimeoutMs}`,
    );
  }
  if (!(numbers.maxMessageBytes >= 4 << 20)) {
    throw invalid(`maxMessageBytes must be at least ${4 << 20}, got ${numbers.maxMessageBytes}`);
  }
  if (!(numbers.windowBytes >= 65_535 && numbers.windowBytes <= 1 << 30)) {
    throw invalid(`windowBytes must be in [65535, ${1 << 30}], got ${numbers.windowBytes}`);
  }
  const { range, text } = resolveRange(options);
  return {
    ...numbers,
    endpoints: [first, ...others],
    range,
    tls,
    tokens: credentials === undefined ? undefined : new TokenSource(credentials),
    backoff: options.backoff ?? {},
    limiter: options.limiter,
    clock: options.clock ?? systemClock,
    rng: options.rng ?? systemRng,
    description: `${[first, ...others].map(({ origin }) => origin).join(",")} ${text}`,
  };
}

function resolveRange({ prefix, range }: EtcdSourceOptions): { readonly range: KeyRange; readonly text: string } {
  if ((prefix === undefined) === (range === undefined)) {
    throw invalid('either prefix or range must be given; prefix: "" follows every key');
  }
  if (range !== undefined) {
    const start = keyBytes(range.start);
    const end = range.end === undefined ? undefined : keyBytes(range.end);
    const text = `[${keyText(start)}, ${end === undefined ? "end" : keyText(end)})`;
    return { range: keyRange(start, end), text };
  }
  const bytes = keyBytes(prefix ?? "");
  return { range: prefixRange(bytes), text: bytes.length === 0 ? "(all keys)" : keyText(bytes) };
}

function invalid(detail: string): EtcdError {
  return new EtcdError("OPTIONS_INVALID", detail);
}
