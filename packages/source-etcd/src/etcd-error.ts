import type { RetryClass } from "@tidemark/stream";

export type EtcdErrorCode =
  /** An option is outside its bounds, or two contradict each other. */
  | "OPTIONS_INVALID"
  /** Nothing answers there, or the connection broke. */
  | "UNREACHABLE"
  /** Somebody took the connection or the call and did not answer in time. */
  | "SILENT"
  /** Somebody answers who does not speak etcd's v3 API. */
  | "NOT_ETCD"
  /** The TLS handshake failed, or one side wants TLS and the other does not. */
  | "TLS_FAILED"
  /** User, password or certificate are wrong or missing. */
  | "UNAUTHENTICATED"
  /** The user may not read these keys. */
  | "PERMISSION_DENIED"
  /** etcd answers that it cannot serve now: no leader, overloaded, shutting down. */
  | "UNAVAILABLE"
  /** The revision is no longer there. */
  | "COMPACTED"
  /** A message is larger than `maxMessageBytes`, or etcd refused its size. */
  | "TOO_LARGE"
  /** etcd refused the request for another reason. */
  | "REFUSED"
  /** etcd broke its own protocol. The stream is cut and resumed from the last complete revision. */
  | "PROTOCOL"
  /** The endpoint leads to another cluster than the connection began with. */
  | "CLUSTER_CHANGED"
  /** The sink threw. */
  | "SINK_FAILED";

/** Trying again soon cannot help against these: somebody has to change something first. */
const slow: ReadonlySet<EtcdErrorCode> = new Set([
  "NOT_ETCD",
  "TLS_FAILED",
  "UNAUTHENTICATED",
  "PERMISSION_DENIED",
  "REFUSED",
  "TOO_LARGE",
]);

const brand = Symbol.for("@tidemark/source-etcd/EtcdError");

/** The only error this package throws, besides the `reason` of a caller's signal. Its message never holds a secret. */
export class EtcdError extends Error {
  override readonly name = "EtcdError";
  readonly code: EtcdErrorCode;
  /** Whether the same call can succeed later without a change by the caller. */
  readonly retryable: boolean;
  /** The message without its code: a sentence for a person, with what to do. */
  readonly detail: string;
  readonly [brand] = true;

  constructor(code: EtcdErrorCode, detail: string, options?: ErrorOptions) {
    super(`[${code}] ${detail}`, options);
    this.code = code;
    this.detail = detail;
    this.retryable = code !== "OPTIONS_INVALID" && code !== "SINK_FAILED" && !slow.has(code);
  }

  /** Like `instanceof`, but also true for another installed copy of this package. */
  static is(value: unknown): value is EtcdError {
    return value instanceof Error && brand in value;
  }
}

/** How the source retries after an error. A source never gives up on a peer; only its own sink can end it. */
export function retryClassOf(error: EtcdError): RetryClass {
  if (error.code === "OPTIONS_INVALID" || error.code === "SINK_FAILED") return "fatal";
  return slow.has(error.code) ? "slow" : "fast";
}
