import type { MessageInitShape } from "@bufbuild/protobuf";
import { type CallOptions, type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { type Clock, deadline } from "@tidemark/clock";
import { FrameChannel } from "@tidemark/connect-transport";
import { type Endpoint, type EtcdTls, channelTls } from "./endpoint.ts";
import { EtcdError } from "./etcd-error.ts";
import { type Peer, toEtcdError } from "./failure.ts";
import {
  Auth,
  KV,
  Lease,
  Maintenance,
  type RangeRequestSchema,
  type RangeResponse,
  type ResponseHeader,
  type StatusResponse,
  Watch,
  type WatchRequest,
  type WatchResponse,
} from "./gen/etcd/etcdserverpb/rpc_pb.ts";
import { ResponseSplitter } from "./response-splitter.ts";
import type { TokenSource } from "./token-source.ts";

export interface EtcdLinkOptions {
  readonly endpoint: Endpoint;
  readonly tls: EtcdTls | undefined;
  readonly tokens: TokenSource | undefined;
  readonly clock: Clock;
  readonly requestTimeoutMs: number;
  readonly maxMessageBytes: number;
  /** What may be on its way to us on one stream; twice as much on all of them together. */
  readonly windowBytes: number;
}

/** Large enough that what a message costs does not count, small enough that nobody waits for one. */
const pieceBytes = 128 << 10;

/** In MiB, for the windows and what waits to be read. */
const maxSessionMemory = 256;

/**
 * Everything that goes over one connection to one endpoint, and nothing else: it is never opened again, so that everything
 * said on it was said to the same member. Every error it throws is ours.
 */
export class EtcdLink implements Peer {
  readonly endpoint: Endpoint;
  readonly kv: Client<typeof KV>;
  readonly lease: Client<typeof Lease>;
  readonly auth: Client<typeof Auth>;
  readonly #watch: Client<typeof Watch>;
  readonly #maintenance: Client<typeof Maintenance>;
  readonly #channel: FrameChannel;
  readonly #options: EtcdLinkOptions;
  #hasAnswered = false;

  /** Does no I/O: the first call opens the connection. */
  constructor(options: EtcdLinkOptions) {
    this.endpoint = options.endpoint;
    this.#options = options;
    const { endpoint, tls, clock, requestTimeoutMs, maxMessageBytes, windowBytes } = options;
    this.#channel = new FrameChannel({
      baseUrl: endpoint.origin,
      ...(endpoint.isTls && tls !== undefined && { tls: channelTls(tls) }),
      reopens: false,
      streamWindowBytes: Math.floor(windowBytes),
      connectionWindowBytes: Math.min(Math.floor(windowBytes) * 2, 2 ** 31 - 1),
      maxSessionMemory,
      // What a message of gRPC may say of its length.
      readMaxBytes: Math.min(Math.floor(maxMessageBytes), 2 ** 32 - 1),
      // Whoever calls has a deadline of its own, and says more.
      connectTimeoutMs: Math.min(Math.ceil(requestTimeoutMs) + 1, Number.MAX_SAFE_INTEGER),
      splitterOf: (method) =>
        method === Watch.method.watch ? new ResponseSplitter(pieceBytes, maxMessageBytes) : undefined,
      clock,
    });
    const { transport } = this.#channel;
    this.kv = createClient(KV, transport);
    this.lease = createClient(Lease, transport);
    this.auth = createClient(Auth, transport);
    this.#watch = createClient(Watch, transport);
    this.#maintenance = createClient(Maintenance, transport);
  }

  /** Whether anything came back ever. */
  get hasAnswered(): boolean {
    return this.#hasAnswered;
  }

  range(request: MessageInitShape<typeof RangeRequestSchema>, signal?: AbortSignal): Promise<RangeResponse> {
    return this.call((options) => this.kv.range(request, options), signal);
  }

  status(signal?: AbortSignal): Promise<StatusResponse> {
    return this.call((options) => this.#maintenance.status({}, options), signal);
  }

  /**
   * Messages out, messages in; large ones come as several fragments. `signal` cuts it. The first message comes after the
   * token, if one is needed.
   */
  watch(requests: AsyncIterable<WatchRequest>, signal: AbortSignal): AsyncIterable<WatchResponse> {
    return { [Symbol.asyncIterator]: () => this.#watchIterator(requests, signal) };
  }

  /** Resolves when the peer's HTTP/2 layer answered. */
  ping(signal: AbortSignal): Promise<void> {
    return this.#channel.ping(signal);
  }

  /** Cuts the connection and every call on it. Idempotent. */
  close(reason: unknown): void {
    this.#channel.destroy(reason);
  }

  /**
   * One call with a deadline and the token. A token that etcd calls invalid is replaced once: it expires, and a member
   * forgets all of them when it restarts.
   *
   * @throws {EtcdError}
   * @throws `signal.reason`
   */
  async call<T extends { readonly header?: ResponseHeader | undefined }>(
    send: (options: CallOptions) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T> {
    const { clock, requestTimeoutMs, tokens, endpoint } = this.#options;
    using limit = deadline(clock, requestTimeoutMs, signal);
    try {
      const token = await this.#token(limit.signal);
      try {
        const answer = await send({ signal: limit.signal, headers: tokenHeader(token) });
        this.#hasAnswered = true;
        return answer;
      } catch (error) {
        if (token === undefined || tokens === undefined || !isStaleToken(error, token)) throw error;
        tokens.invalidate(token);
        const fresh = await this.#token(limit.signal);
        return await send({ signal: limit.signal, headers: tokenHeader(fresh) });
      }
    } catch (error) {
      signal?.throwIfAborted();
      if (limit.signal.aborted) {
        const detail = `${endpoint.name} did not answer within ${requestTimeoutMs / 1000} s: is etcd frozen or overloaded?`;
        throw new EtcdError("SILENT", detail, { cause: error });
      }
      throw toEtcdError(error, this);
    }
  }

  /** Undefined without credentials, empty where etcd asked for none. */
  async #token(signal: AbortSignal): Promise<string | undefined> {
    return this.#options.tokens?.token(({ user, password }) => this.#authenticate(user, password, signal));
  }

  async #authenticate(name: string, password: string, signal: AbortSignal): Promise<string> {
    try {
      return (await this.auth.authenticate({ name, password }, { signal })).token;
    } catch (error) {
      // Credentials do no harm where nobody asks for them.
      const isOff = error instanceof ConnectError && error.rawMessage.includes("authentication is not enabled");
      if (isOff) return "";
      throw error;
    }
  }

  #watchIterator(requests: AsyncIterable<WatchRequest>, signal: AbortSignal): AsyncIterator<WatchResponse> {
    let inner: AsyncIterator<WatchResponse> | undefined;
    const wrap = (error: unknown): never => {
      signal.throwIfAborted();
      throw toEtcdError(error, this);
    };
    const open = async () => {
      const token = await this.#token(signal);
      // A member that lost its leader then ends the stream; otherwise it would look alive and never tell anything new.
      const headers = { hasleader: "true", ...tokenHeader(token) };
      inner = this.#watch.watch(requests, { signal, headers })[Symbol.asyncIterator]();
      return inner.next();
    };
    return {
      next: () => (inner === undefined ? open() : inner.next()).catch(wrap),
      return: async () => {
        await inner?.return?.();
        return { done: true, value: undefined };
      },
    };
  }
}

function isStaleToken(error: unknown, token: string): boolean {
  if (!(error instanceof ConnectError)) return false;
  // Authentication was switched on since.
  if (token === "" && error.rawMessage.includes("user name is empty")) return true;
  return error.code === Code.Unauthenticated || error.rawMessage.includes("revision of auth store is old");
}

function tokenHeader(token: string | undefined): Record<string, string> {
  return token === undefined || token === "" ? {} : { token };
}
