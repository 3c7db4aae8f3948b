import {
  create,
  type DescMessage,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import { deadline } from "@tidemark/clock";
import type { RetryClass } from "@tidemark/stream";
import { AuthService } from "../gen/ydb/auth_v1_pb.ts";
import { LoginResultSchema } from "../gen/ydb/auth_pb.ts";
import { ListEndpointsResultSchema } from "../gen/ydb/discovery_pb.ts";
import { DiscoveryService } from "../gen/ydb/discovery_v1_pb.ts";
import { TopicError } from "../topic-error.ts";
import { ChannelPool, type Lease, type Purpose } from "./channel-pool.ts";
import { ClientStream } from "./client-stream.ts";
import type { ResolvedClient } from "./client-options.ts";
import { type Address, authority } from "./connection-string.ts";
import { abortable, TokenSource } from "./credentials.ts";
import { type Endpoint, EndpointBook, type EndpointList } from "./endpoint-book.ts";
import { classifyError, isConnectionError, isUnauthenticated, transportError } from "./status.ts";
import { resultOf } from "./unary.ts";

const buildInfo = "tidemark-topic/0.0";

/** Finds endpoints and tokens, and makes single calls; nothing is tried again here. */
export class Gateway {
  readonly #options: ResolvedClient;
  readonly #address: Address;
  readonly #pool: ChannelPool;
  readonly #first: Endpoint;
  readonly #book: EndpointBook | undefined;
  readonly tokens: TokenSource;
  readonly #over = new AbortController();

  constructor(address: Address, options: ResolvedClient) {
    this.#options = options;
    this.#address = address;
    this.#pool = new ChannelPool(options, address.isSecure);
    this.#first = { host: address.host, port: address.port, nodeId: 0, location: "", tlsName: undefined };
    const { clock, rng, discovery } = options;
    this.#book = discovery && new EndpointBook(discovery, clock, rng, () => this.#listEndpoints());
    this.tokens = new TokenSource(options.credentials, clock, (user, password, signal) =>
      this.#login(user, password, signal),
    );
  }

  /** Aborts when it is destroyed. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** Where to go; counted as in use until it is released. */
  async lease(nodeId: number | undefined, signal: AbortSignal, purpose?: Purpose): Promise<Lease> {
    this.#over.signal.throwIfAborted();
    const endpoint = this.#book === undefined ? this.#first : await this.#book.pick(nodeId, signal);
    this.#over.signal.throwIfAborted();
    return this.#pool.lease(endpoint, purpose);
  }

  /** A call to any endpoint. */
  async unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    input: MessageInitShape<I>,
    signal: AbortSignal,
    timeoutMs: number,
  ): Promise<MessageShape<O>> {
    const lease = await this.lease(undefined, signal);
    try {
      return await this.unaryOn(lease, method, input, signal, timeoutMs);
    } finally {
      lease.release();
    }
  }

  async unaryOn<I extends DescMessage, O extends DescMessage>(
    lease: Lease,
    method: DescMethodUnary<I, O>,
    input: MessageInitShape<I>,
    signal: AbortSignal | undefined,
    timeoutMs: number,
    isAnonymous = false,
  ): Promise<MessageShape<O>> {
    const token = isAnonymous ? undefined : await this.tokens.get(signal);
    try {
      const { transport } = lease.channel;
      const message = create(method.input, input);
      const { message: answer } = await transport.unary(method, signal, timeoutMs, this.headers(token), message);
      this.tokens.accepted();
      return answer;
    } catch (error) {
      if (signal?.aborted !== true) this.failed(error, lease.endpoint, token);
      throw error;
    }
  }

  async *serverStreamOn<I extends DescMessage, O extends DescMessage>(
    lease: Lease,
    method: DescMethodServerStreaming<I, O>,
    input: MessageInitShape<I>,
    signal: AbortSignal,
  ): AsyncGenerator<MessageShape<O>> {
    const headers = this.headers(await this.tokens.get(signal));
    const once = (async function* () {
      yield create(method.input, input);
    })();
    const answer = await lease.channel.transport.stream(method, signal, undefined, headers, once);
    yield* answer.message;
  }

  stream(what: string, path: string, nodeId: number | undefined, purpose?: Purpose): ClientStream {
    let token: string | undefined;
    return new ClientStream({
      what,
      open: async (signal) => {
        const lease = await this.lease(nodeId, signal, purpose);
        try {
          token = await this.tokens.get(signal);
          return { lease, stream: lease.channel.stream(path, { headers: this.headers(token) }) };
        } catch (error) {
          lease.release();
          throw error;
        }
      },
      succeeded: () => this.tokens.accepted(),
      failed: (error, lease) => {
        if (lease !== undefined) this.failed(error, lease.endpoint, token);
      },
    });
  }

  /** How soon; a token that cannot be had better is the end. */
  classify(error: unknown): RetryClass {
    if (isUnauthenticated(error) && this.tokens.isHopeless) return "fatal";
    return classifyError(error);
  }

  failed(error: unknown, endpoint: Endpoint, token: string | undefined): void {
    if (isUnauthenticated(error)) this.tokens.refused(token);
    else if (isConnectionError(error)) this.#book?.penalize(endpoint);
  }

  headers(token: string | undefined): Headers {
    const headers = new Headers({ "x-ydb-database": this.#address.database, "x-ydb-sdk-build-info": buildInfo });
    if (this.#options.applicationName !== "") headers.set("x-ydb-application-name", this.#options.applicationName);
    if (token !== undefined) headers.set("x-ydb-auth-ticket", token);
    return headers;
  }

  /** Idempotent. */
  async close(): Promise<void> {
    const { clock, closeTimeoutMs } = this.#options;
    // Channels keep to it; this is for the one that does not.
    using limit = deadline(clock, closeTimeoutMs + 500);
    await abortable(this.#pool.close(), limit.signal).catch(() => {});
    this.destroy(closedError());
  }

  destroy(reason: unknown): void {
    this.#over.abort(reason ?? closedError());
    this.#pool.destroy(this.#over.signal.reason);
  }

  async #listEndpoints(): Promise<EndpointList> {
    const tried = [this.#first, ...(this.#book?.endpoints ?? []).slice(0, 3)];
    let last: unknown;
    for (const endpoint of tried) {
      try {
        return await this.#listFrom(endpoint);
      } catch (error) {
        last = transportError(`ListEndpoints of ${authority(endpoint.host, endpoint.port)}`, error);
        if (!isConnectionError(error)) break;
      }
    }
    throw last;
  }

  async #listFrom(endpoint: Endpoint): Promise<EndpointList> {
    const lease = this.#pool.lease(endpoint);
    try {
      const { attemptTimeoutMs } = this.#options;
      const method = DiscoveryService.method.listEndpoints;
      const input = { database: this.#address.database };
      const answer = await this.unaryOn(lease, method, input, this.#over.signal, attemptTimeoutMs);
      const result = resultOf("ListEndpoints", answer.operation, ListEndpointsResultSchema);
      const endpoints = result.endpoints.map(
        (each): Endpoint => ({
          host: each.address,
          port: each.port,
          nodeId: each.nodeId,
          location: each.location,
          tlsName: each.sslTargetNameOverride === "" ? undefined : each.sslTargetNameOverride,
        }),
      );
      this.#pool.keep([this.#first, ...endpoints]);
      return { endpoints, selfLocation: result.selfLocation };
    } finally {
      lease.release();
    }
  }

  async #login(user: string, password: string, signal: AbortSignal): Promise<string> {
    const lease = this.#pool.lease(this.#first);
    try {
      const { attemptTimeoutMs } = this.#options;
      const call = this.unaryOn(lease, AuthService.method.login, { user, password }, signal, attemptTimeoutMs, true);
      const { operation } = await abortable(call, signal);
      return resultOf(`Login of ${user}`, operation, LoginResultSchema).token;
    } catch (error) {
      throw transportError(`Login of ${user}`, error);
    } finally {
      lease.release();
    }
  }
}

export const closedError = (): TopicError => new TopicError("CLOSED", "The client is closed");
