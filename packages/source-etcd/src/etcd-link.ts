import type { MessageInitShape } from "@bufbuild/protobuf";
import { type CallOptions, type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { type Clock, deadline } from "@tidemark/clock";
import type { Endpoint, EtcdTls } from "./endpoint.ts";
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
import { Http2Session } from "./http2-session.ts";
import type { TokenSource } from "./token-source.ts";

export interface EtcdLinkOptions {
  readonly endpoint: Endpoint;
  readonly tls: EtcdTls | undefined;
  readonly tokens: TokenSource | undefined;
  readonly clock: Clock;
  readonly requestTimeoutMs: number;
  readonly maxMessageBytes: number;
  readonly windowBytes: number;
}

/** Everything that goes over one connection to one endpoint, and nothing else. Every error it throws is ours. */
export class EtcdLink implements Peer {
  readonly endpoint: Endpoint;
  readonly kv: Client<typeof KV>;
  readonly lease: Client<typeof Lease>;
  readonly auth: Client<typeof Auth>;
  readonly #watch: Client<typeof Watch>;
  readonly #maintenance: Client<typeof Maintenance>;
  readonly #session: Http2Session;
  readonly #options: EtcdLinkOptions;
  #hasAnswered = false;

  /** Does no I/O: the first call opens the connection. */
  constructor(options: EtcdLinkOptions) {
    this.endpoint = options.endpoint;
    this.#options = options;
    this.#session = new Http2Session(options.endpoint, options.tls, options.windowBytes);
    const transport = createGrpcTransport({
      baseUrl: options.endpoint.origin,
      sessionManager: this.#session,
      // By default etcd would compress every answer of a kibibyte or more, which costs more than it saves.
      acceptCompression: [],
      readMaxBytes: options.maxMessageBytes,
    });
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
    return this.#session.ping(signal);
  }

  /** Cuts the connection and every call on it. Idempotent. */
  close(reason: unknown): void {
    this.#session.destroy(reason);
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
        if (token === undefined || tokens === undefined || !isStaleToken(error)) throw error;
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

  async #token(signal: AbortSignal): Promise<string | undefined> {
    const { tokens } = this.#options;
    if (tokens === undefined) return undefined;
    const token = await tokens.token(({ user, password }) => this.#authenticate(user, password, signal));
    return token === "" ? undefined : token;
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
      inner = this.#watch.watch(throwable(requests), { signal, headers })[Symbol.asyncIterator]();
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

function isStaleToken(error: unknown): boolean {
  if (!(error instanceof ConnectError)) return false;
  return error.code === Code.Unauthenticated || error.rawMessage.includes("revision of auth store is old");
}

function tokenHeader(token: string | undefined): Record<string, string> {
  return token === undefined ? {} : { token };
}

/** connect requires an input that can be thrown into; ours ends by itself when the connection does. */
function throwable<T>(source: AsyncIterable<T>): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]() {
      const inner = source[Symbol.asyncIterator]();
      return {
        next: () => inner.next(),
        async return() {
          await inner.return?.();
          return { done: true, value: undefined };
        },
        async throw(error: unknown) {
          await inner.return?.();
          throw error;
        },
      };
    },
  };
}
