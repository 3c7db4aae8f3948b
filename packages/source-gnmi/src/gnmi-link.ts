import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { type CallOptions, type Client, createClient } from "@connectrpc/connect";
import { type ChannelTls, FrameChannel } from "@tidemark/connect-transport";
import { type Clock, deadline } from "@tidemark/clock";
import { BatchInbox, type FrameBatch } from "./batch-inbox.ts";
import type { Endpoint, GnmiTls } from "./endpoint.ts";
import { toGnmiError } from "./failure.ts";
import {
  gNMI,
  type SubscribeRequest,
  SubscribeRequestSchema,
  SubscribeResponseSchema,
  type SubscribeResponse,
} from "./gen/gnmi/gnmi_pb.ts";
import { GnmiError } from "./gnmi-error.ts";

/** What goes with every call; asked for again for each, because tokens expire. */
export type Metadata = () => HeadersInit | Promise<HeadersInit>;

export interface GnmiLinkOptions {
  readonly endpoint: Endpoint;
  readonly tls: GnmiTls | undefined;
  readonly metadata: Metadata;
  readonly clock: Clock;
  readonly connectTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly maxMessageBytes: number;
  readonly windowBytes: number;
}

/** A Subscribe call under way. */
export interface SubscribeCall {
  /** Encoded responses that came together, in order. Reads no further than the window while nobody takes it. */
  readonly responses: AsyncIterableIterator<FrameBatch>;
  send(request: SubscribeRequest): void;
  /** Says that no more requests come. */
  end(): void;
  cancel(reason: unknown): void;
}

/** One connection to a device, as a run needs it. */
export type DeviceLink = Pick<GnmiLink, "endpoint" | "call" | "subscribe" | "destroy">;

/** Everything that goes over one connection to a device. Every error it throws is ours. */
export class GnmiLink {
  readonly endpoint: Endpoint;
  readonly #options: GnmiLinkOptions;
  readonly #channel: FrameChannel;
  readonly #client: Client<typeof gNMI>;
  /** What went with calls and must be in no error, also where the device repeats it. */
  #secrets: readonly string[] = [];

  /** Does no I/O. `reopens`: the connection is opened again by the next call after it broke. */
  constructor(options: GnmiLinkOptions, reopens: boolean) {
    this.endpoint = options.endpoint;
    this.#options = options;
    this.#channel = new FrameChannel({
      baseUrl: options.endpoint.origin,
      ...(options.tls !== undefined && { tls: channelTls(options.tls) }),
      clock: options.clock,
      reopens,
      connectTimeoutMs: Math.min(Math.ceil(options.connectTimeoutMs), Number.MAX_SAFE_INTEGER),
      readMaxBytes: Math.floor(options.maxMessageBytes),
      streamWindowBytes: Math.floor(options.windowBytes),
      connectionWindowBytes: Math.min(2 * Math.floor(options.windowBytes), 2 ** 31 - 1),
    });
    this.#client = createClient(gNMI, this.#channel.transport);
  }

  /**
   * One unary call with a deadline.
   *
   * @throws {GnmiError}
   * @throws `signal.reason`
   */
  async call<T>(
    send: (client: Client<typeof gNMI>, options: CallOptions) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T> {
    const { clock, requestTimeoutMs, endpoint } = this.#options;
    using limit = deadline(clock, requestTimeoutMs, signal);
    let headers: Headers | undefined;
    try {
      headers = await unlessAborted(this.#metadata(), limit.signal);
      return await send(this.#client, { signal: limit.signal, headers });
    } catch (error) {
      signal?.throwIfAborted();
      if (limit.signal.aborted) {
        const seconds = requestTimeoutMs / 1000;
        const what =
          headers === undefined
            ? `the token for ${endpoint.name} did not come within ${seconds} s: does what makes it answer?`
            : `${endpoint.name} did not answer within ${seconds} s: is the device overloaded?`;
        throw new GnmiError("SILENT", what, { cause: error });
      }
      throw toGnmiError(error, endpoint, this.#secrets);
    }
  }

  /** Starts a Subscribe call with its first message. */
  subscribe(first: SubscribeRequest): SubscribeCall {
    const { endpoint } = this.#options;
    const stream = this.#channel.stream("/gnmi.gNMI/Subscribe", { headers: () => this.#metadata() });
    const responses = new BatchInbox(
      (error) => toGnmiError(error, endpoint, this.#secrets),
      (error) => stream.cancel(error),
    );
    const sender = stream.open(responses);
    sender.send(toBinary(SubscribeRequestSchema, first));
    return {
      responses,
      send: (request) => void sender.send(toBinary(SubscribeRequestSchema, request)),
      end: () => sender.end(),
      cancel: (reason) => stream.cancel(reason),
    };
  }

  async #metadata(): Promise<Headers> {
    const headers = new Headers(await this.#options.metadata());
    const token = headers.get("authorization")?.replace(/^Bearer /, "");
    this.#secrets = [headers.get("password") ?? "", token ?? ""].filter((each) => each !== "");
    return headers;
  }

  /** Lets calls under way finish. */
  close(): Promise<void> {
    return this.#channel.close();
  }

  /** Cuts the connection and every call on it. Idempotent. */
  destroy(reason: unknown): void {
    this.#channel.destroy(reason);
  }
}

/** @throws {GnmiError} `PROTOCOL`. */
export function decodeResponse(frame: Uint8Array, name: string): SubscribeResponse {
  try {
    return fromBinary(SubscribeResponseSchema, frame);
  } catch (error) {
    throw new GnmiError("PROTOCOL", `${name} sent ${frame.length} bytes that are no message of gNMI`, { cause: error });
  }
}

/** What a caller's function promises may never come. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

function channelTls(tls: GnmiTls): ChannelTls {
  const pem = (value: string | Uint8Array) => (typeof value === "string" ? value : Buffer.from(value));
  return {
    ...(tls.ca !== undefined && { ca: pem(tls.ca) }),
    ...(tls.cert !== undefined && { cert: pem(tls.cert) }),
    ...(tls.key !== undefined && { key: pem(tls.key) }),
    ...(tls.passphrase !== undefined && { passphrase: tls.passphrase }),
    ...(tls.serverName !== undefined && { servername: tls.serverName }),
  };
}
