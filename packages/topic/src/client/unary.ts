import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { deadline } from "@tidemark/clock";
import { backoffDefaults, backoffDelayMs, type RetryClass } from "@tidemark/stream";
import type { Operation } from "../gen/ydb/operation_pb.ts";
import { StatusIds_StatusCode as Status } from "../gen/ydb/status_pb.ts";
import { TopicError } from "../topic-error.ts";
import { above, type ResolvedClient } from "./client-options.ts";
import type { CallOptions } from "./control-types.ts";
import { classifyOnce, transportError } from "./status.ts";
import { statusError } from "./status.ts";

export interface UnaryOptions extends CallOptions {
  /** For errors: `CreateTopic of orders`. */
  readonly what: string;
  /** Whether it does no harm twice. */
  readonly isIdempotent: boolean;
  /** Whether an error that passes elsewhere stays with this call. @default never */
  readonly isFinal?: (error: unknown) => boolean;
}

/** Tries a call until it succeeds, fails for good, or its time is up. Closing the client ends it. */
export class UnaryCaller {
  readonly #options: ResolvedClient;
  readonly #closing: AbortSignal;
  readonly #classify: (error: unknown) => RetryClass;

  constructor(options: ResolvedClient, closing: AbortSignal, classify: (error: unknown) => RetryClass) {
    this.#options = options;
    this.#closing = closing;
    this.#classify = classify;
  }

  /**
   * @throws {TopicError} what the last try threw, or `DEADLINE_EXCEEDED` with that as its cause, or `CLOSED`
   * @throws `options.signal.reason`
   */
  async call<T>(options: UnaryOptions, attempt: (signal: AbortSignal, timeoutMs: number) => Promise<T>): Promise<T> {
    const { clock, rng, attemptTimeoutMs } = this.#options;
    const timeoutMs = above("timeoutMs", options.timeoutMs ?? this.#options.callTimeoutMs, 0);
    options.signal?.throwIfAborted();
    this.#closing.throwIfAborted();
    using closing = linked(options.signal, this.#closing);
    using limit = deadline(clock, timeoutMs, closing.signal);
    const end = clock.monotonic() + timeoutMs;
    let last: unknown;
    for (let tries = 1; ; tries++) {
      const left = Math.max(1, Math.ceil(end - clock.monotonic()));
      try {
        return await attempt(limit.signal, Math.min(left, attemptTimeoutMs));
      } catch (error) {
        last = limit.signal.aborted ? (last ?? error) : transportError(options.what, error);
      }
      this.#throwEnd(options, limit.signal, timeoutMs, last);
      const retryClass = options.isIdempotent ? this.#classify(last) : this.#classifyOnce(last);
      if (retryClass === "fatal" || options.isFinal?.(last) === true) throw last;
      const delayMs = backoffDelayMs(backoffDefaults, retryClass, tries, rng);
      if (clock.monotonic() + delayMs >= end) throw exceeded(options.what, timeoutMs, last);
      await clock.sleep(delayMs, { signal: limit.signal }).catch(() => {});
      this.#throwEnd(options, limit.signal, timeoutMs, last);
    }
  }

  #classifyOnce(error: unknown): RetryClass {
    return this.#classify(error) === "fatal" ? "fatal" : classifyOnce(error);
  }

  #throwEnd({ signal, what }: UnaryOptions, limit: AbortSignal, timeoutMs: number, last: unknown): void {
    if (!limit.aborted) return;
    signal?.throwIfAborted();
    this.#closing.throwIfAborted();
    throw exceeded(what, timeoutMs, last);
  }
}

function exceeded(what: string, timeoutMs: number, cause: unknown): TopicError {
  const why = cause instanceof Error ? `: ${cause.message}` : "";
  return new TopicError("DEADLINE_EXCEEDED", `${what} was not done within ${timeoutMs} ms${why}`, {
    cause,
    retryClass: "fast",
  });
}

/** The signal of a caller and that of the client, without leaving a listener on either. */
export function linked(first: AbortSignal | undefined, second: AbortSignal): { signal: AbortSignal } & Disposable {
  if (first === undefined) return { signal: second, [Symbol.dispose]() {} };
  const controller = new AbortController();
  const abort = () => controller.abort(first.aborted ? first.reason : second.reason);
  first.addEventListener("abort", abort, { once: true });
  second.addEventListener("abort", abort, { once: true });
  if (first.aborted || second.aborted) abort();
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      first.removeEventListener("abort", abort);
      second.removeEventListener("abort", abort);
    },
  };
}

/** @throws {TopicError} `STATUS` */
export function checkOperation(what: string, operation: Operation | undefined): void {
  if (operation === undefined) throw new TopicError("FRAME_INVALID", `${what}: the answer has no operation`);
  if (operation.status !== Status.SUCCESS) throw statusError(what, operation.status, operation.issues);
  if (!operation.ready)
    throw new TopicError("FRAME_INVALID", `${what}: the operation is not ready, although it is synchronous`);
}

/** @throws {TopicError} `STATUS`, `FRAME_INVALID` */
export function resultOf<O extends DescMessage>(
  what: string,
  operation: Operation | undefined,
  schema: O,
): MessageShape<O> {
  checkOperation(what, operation);
  const packed = operation?.result;
  const result = packed === undefined ? undefined : unpack(packed, schema);
  if (result !== undefined) return result;
  const got = packed === undefined ? "none" : packed.typeUrl;
  throw new TopicError("FRAME_INVALID", `${what}: expected a result of type ${schema.typeName}, got ${got}`);
}

function unpack<O extends DescMessage>(
  packed: Parameters<typeof anyUnpack>[0],
  schema: O,
): MessageShape<O> | undefined {
  try {
    return anyUnpack(packed, schema);
  } catch (cause) {
    throw new TopicError("FRAME_INVALID", `A ${schema.typeName} could not be read`, { cause });
  }
}
