import type { RetryClass } from "@tidemark/stream";

export type GnmiErrorCode =
  /** An option is outside its bounds, or two contradict each other. */
  | "OPTIONS_INVALID"
  /** A text is not a path, or a path cannot be used there. */
  | "PATH_INVALID"
  /** A value cannot be read or cannot be sent in that encoding. */
  | "VALUE_INVALID"
  /** Nothing answers there, or the connection broke. */
  | "UNREACHABLE"
  /** Somebody took the connection or the call and did not answer in time. */
  | "SILENT"
  /** Somebody answers who does not speak gNMI. */
  | "NOT_GNMI"
  /** The TLS handshake failed, or one side wants TLS and the other does not. */
  | "TLS_FAILED"
  /** User, password, token or certificate are wrong or missing. */
  | "UNAUTHENTICATED"
  /** The user may not do that. */
  | "PERMISSION_DENIED"
  /** The device cannot serve now. */
  | "UNAVAILABLE"
  /** A message is larger than `maxMessageBytes`. */
  | "TOO_LARGE"
  /** The device refused the request: a path, a mode or an encoding that it does not support. */
  | "REFUSED"
  /** The device broke the protocol. */
  | "PROTOCOL"
  /** The sink threw. */
  | "SINK_FAILED";

/** Trying again soon cannot help against these: somebody has to change something first. */
const slow: ReadonlySet<GnmiErrorCode> = new Set([
  "NOT_GNMI",
  "TLS_FAILED",
  "UNAUTHENTICATED",
  "PERMISSION_DENIED",
  "REFUSED",
  "TOO_LARGE",
  "PROTOCOL",
]);

const ours: ReadonlySet<GnmiErrorCode> = new Set(["OPTIONS_INVALID", "PATH_INVALID", "VALUE_INVALID", "SINK_FAILED"]);

const brand = Symbol.for("@tidemark/source-gnmi/GnmiError");

/** The only error this package throws, besides the `reason` of a caller's signal. Its message never holds a secret. */
export class GnmiError extends Error {
  override readonly name = "GnmiError";
  readonly code: GnmiErrorCode;
  /** Whether the same call can succeed later without a change by the caller. */
  readonly retryable: boolean;
  /** The message without its code: a sentence for a person, with what to do. */
  readonly detail: string;
  readonly [brand] = true;

  constructor(code: GnmiErrorCode, detail: string, options?: ErrorOptions) {
    super(`[${code}] ${detail}`, options);
    this.code = code;
    this.detail = detail;
    this.retryable = !ours.has(code) && !slow.has(code);
  }

  /** Like `instanceof`, but also true for another installed copy of this package. */
  static is(value: unknown): value is GnmiError {
    return value instanceof Error && brand in value;
  }
}

/** How the source retries after an error. It never gives up on a device; only its own sink can end it. */
export function retryClassOf(error: GnmiError): RetryClass {
  if (error.code === "SINK_FAILED" || error.code === "OPTIONS_INVALID") return "fatal";
  return slow.has(error.code) ? "slow" : "fast";
}
