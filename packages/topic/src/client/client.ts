import { deadline } from "@tidemark/clock";
import { backoffDefaults, backoffDelayMs, type RetryClass, type StreamTransport } from "@tidemark/stream";
import { Compression } from "../compression/compression.ts";
import { WhoAmIResultSchema } from "../gen/ydb/discovery_pb.ts";
import { DiscoveryService } from "../gen/ydb/discovery_v1_pb.ts";
import { QueryService } from "../gen/ydb/query_v1_pb.ts";
import { StatusIds_StatusCode as Status } from "../gen/ydb/status_pb.ts";
import { DescribeConsumerResultSchema, DescribeTopicResultSchema } from "../gen/ydb/topic_admin_pb.ts";
import { TopicService } from "../gen/ydb/topic_v1_pb.ts";
import { TopicError } from "../topic-error.ts";
import { above, type ResolvedClient, resolveClient, type TopicClientOptions } from "./client-options.ts";
import { type Address, authority, parseConnectionString } from "./connection-string.ts";
import type {
  CallOptions,
  CommitOffsetOptions,
  ConsumerReport,
  DescribeOptions,
  TopicChanges,
  TopicDescription,
  TopicSettings,
} from "./control-types.ts";
import { abortable } from "./credentials.ts";
import { closedError, Gateway } from "./gateway.ts";
import { statusError, transportError } from "./status.ts";
import type { TopicClient, TopicStreamOptions } from "./topic-client.ts";
import { alterRequest, consumerReport, createRequest, topicDescription } from "./topics.ts";
import { type Node, OpenTransaction, QuerySession } from "./transaction.ts";
import type { TopicTransaction, TransactionOptions } from "./transaction-types.ts";
import { checkOperation, linked, resultOf, UnaryCaller, type UnaryOptions } from "./unary.ts";

const transactionDefaults = { timeoutMs: 60_000, maxAttempts: 5 } as const;
const paths = { read: "/Ydb.Topic.V1.TopicService/StreamRead", write: "/Ydb.Topic.V1.TopicService/StreamWrite" };

/**
 * A client of the database that `connectionString` names, `grpc(s)://host:port/database`. Does no I/O.
 *
 * @throws {TopicError} `OPTIONS_INVALID`
 */
export function createTopicClient(connectionString: string, options: TopicClientOptions = {}): TopicClient {
  const address = parseConnectionString(connectionString);
  if (options.tls !== undefined && !address.isSecure) {
    throw new TopicError("OPTIONS_INVALID", "tls needs a connection string with grpcs://, got grpc://");
  }
  return new Client(address, resolveClient(options));
}

class Client implements TopicClient {
  readonly database: string;
  readonly connectionString: string;
  readonly compression: Compression;
  readonly #options: ResolvedClient;
  readonly #gateway: Gateway;
  readonly #caller: UnaryCaller;
  readonly #closing = new AbortController();
  /** Calls under way. */
  readonly #calls = new Set<Promise<unknown>>();
  #isClosed = false;
  #closed: Promise<void> | undefined;

  constructor(address: Address, options: ResolvedClient) {
    const { isSecure, host, port, database } = address;
    this.database = database;
    this.connectionString = `${isSecure ? "grpcs" : "grpc"}://${authority(host, port)}${database}`;
    this.#options = options;
    this.compression = new Compression(options.compression);
    this.#gateway = new Gateway(address, options);
    this.#caller = new UnaryCaller(options, this.#closing.signal, (error) => this.classify(error));
  }

  stream(kind: "read" | "write", options: TopicStreamOptions = {}): StreamTransport<Uint8Array, Uint8Array> {
    if (kind === "read") return this.#gateway.stream("StreamRead", paths.read, options.nodeId);
    return this.#gateway.stream("StreamWrite", paths.write, options.nodeId, "write");
  }

  token(signal?: AbortSignal): Promise<string | undefined> {
    return this.#gateway.tokens.get(signal);
  }

  classify(error: unknown): RetryClass {
    return this.#gateway.classify(error);
  }

  async createTopic(path: string, settings: TopicSettings = {}, options: CallOptions = {}): Promise<void> {
    const what = `CreateTopic of ${path}`;
    const input = createRequest(path, settings);
    return this.#call({ ...options, what, isIdempotent: false }, async (signal, timeoutMs) => {
      const { operation } = await this.#gateway.unary(TopicService.method.createTopic, input, signal, timeoutMs);
      checkOperation(what, operation);
    });
  }

  describeTopic(path: string, options: DescribeOptions = {}): Promise<TopicDescription> {
    const what = `DescribeTopic of ${path}`;
    const input = { path, includeStats: options.stats ?? false, includeLocation: options.location ?? false };
    return this.#call({ ...options, what, isIdempotent: true }, async (signal, timeoutMs) => {
      const { operation } = await this.#gateway.unary(TopicService.method.describeTopic, input, signal, timeoutMs);
      return topicDescription(resultOf(what, operation, DescribeTopicResultSchema));
    });
  }

  async alterTopic(path: string, changes: TopicChanges, options: CallOptions = {}): Promise<void> {
    const what = `AlterTopic of ${path}`;
    const input = alterRequest(path, changes);
    return this.#call({ ...options, what, isIdempotent: false }, async (signal, timeoutMs) => {
      const { operation } = await this.#gateway.unary(TopicService.method.alterTopic, input, signal, timeoutMs);
      checkOperation(what, operation);
    });
  }

  dropTopic(path: string, options: CallOptions = {}): Promise<void> {
    const what = `DropTopic of ${path}`;
    return this.#call({ ...options, what, isIdempotent: false }, async (signal, timeoutMs) => {
      const { operation } = await this.#gateway.unary(TopicService.method.dropTopic, { path }, signal, timeoutMs);
      checkOperation(what, operation);
    });
  }

  describeConsumer(path: string, consumer: string, options: DescribeOptions = {}): Promise<ConsumerReport> {
    const what = `DescribeConsumer of ${consumer} of ${path}`;
    const input = { path, consumer, includeStats: options.stats ?? false, includeLocation: options.location ?? false };
    return this.#call({ ...options, what, isIdempotent: true }, async (signal, timeoutMs) => {
      const { operation } = await this.#gateway.unary(TopicService.method.describeConsumer, input, signal, timeoutMs);
      return consumerReport(what, resultOf(what, operation, DescribeConsumerResultSchema));
    });
  }

  async commitOffset(
    path: string,
    partitionId: number | bigint,
    consumer: string,
    offset: number | bigint,
    options: CommitOffsetOptions = {},
  ): Promise<void> {
    const what = `CommitOffset of ${consumer} of ${path}`;
    const input = {
      path,
      partitionId: BigInt(partitionId),
      consumer,
      offset: BigInt(offset),
      readSessionId: options.readSessionId ?? "",
    };
    // The session that the caller names does not read the partition: asking again does not give it back.
    const isFinal = (error: unknown) =>
      options.readSessionId !== undefined && TopicError.is(error) && error.status === "SESSION_EXPIRED";
    return this.#call({ ...options, what, isIdempotent: true, isFinal }, async (signal, timeoutMs) => {
      const { operation } = await this.#gateway.unary(TopicService.method.commitOffset, input, signal, timeoutMs);
      checkOperation(what, operation);
    });
  }

  whoAmI(options: CallOptions = {}): Promise<{ readonly user: string; readonly groups: readonly string[] }> {
    const input = { includeGroups: true };
    return this.#call({ ...options, what: "WhoAmI", isIdempotent: true }, async (signal, timeoutMs) => {
      const { operation } = await this.#gateway.unary(DiscoveryService.method.whoAmI, input, signal, timeoutMs);
      const { user, groups } = resultOf("WhoAmI", operation, WhoAmIResultSchema);
      return { user, groups };
    });
  }

  transaction<T>(work: (tx: TopicTransaction) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    if (this.#isClosed) return Promise.reject(closedError());
    return this.#track(this.#transact(work, options));
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  destroy(reason?: unknown): void {
    this.#isClosed = true;
    const why = reason ?? closedError();
    this.#closing.abort(why);
    this.#gateway.destroy(why);
    void this.compression.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#isClosed = true;
    const { clock, closeTimeoutMs } = this.#options;
    using limit = deadline(clock, closeTimeoutMs);
    await abortable(Promise.allSettled(this.#calls), limit.signal).catch(() => {});
    this.#closing.abort(closedError());
    await this.#gateway.close();
    await this.compression.close();
  }

  #call<T>(options: UnaryOptions, attempt: (signal: AbortSignal, timeoutMs: number) => Promise<T>): Promise<T> {
    if (this.#isClosed) return Promise.reject(closedError());
    return this.#track(this.#caller.call(options, attempt));
  }

  #track<T>(work: Promise<T>): Promise<T> {
    const settled = work.then(
      () => {},
      () => {},
    );
    this.#calls.add(settled);
    void settled.then(() => this.#calls.delete(settled));
    return work;
  }

  async #transact<T>(work: (tx: TopicTransaction) => Promise<T>, options: TransactionOptions): Promise<T> {
    const { clock, rng } = this.#options;
    const timeoutMs = above("timeoutMs", options.timeoutMs ?? transactionDefaults.timeoutMs, 0);
    const maxAttempts = above("maxAttempts", options.maxAttempts ?? transactionDefaults.maxAttempts, 0);
    options.signal?.throwIfAborted();
    using ends = linked(options.signal, this.#closing.signal);
    using limit = deadline(clock, timeoutMs, ends.signal);
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#transactOnce(work, limit.signal);
      } catch (error) {
        options.signal?.throwIfAborted();
        if (limit.signal.aborted && !ends.signal.aborted) throw this.#late(timeoutMs, error);
        const retryClass = TopicError.is(error) ? this.classify(error) : "fatal";
        if (retryClass === "fatal" || attempt >= maxAttempts || limit.signal.aborted) throw error;
        const delayMs = backoffDelayMs(backoffDefaults, retryClass, attempt, rng);
        await clock.sleep(delayMs, { signal: limit.signal }).catch(() => {});
        if (limit.signal.aborted) throw error;
      }
    }
  }

  #late(timeoutMs: number, cause: unknown): TopicError {
    // Whether it was committed is what matters most.
    if (TopicError.is(cause) && cause.code === "TRANSACTION_FAILED" && !cause.retryable) return cause;
    return new TopicError("DEADLINE_EXCEEDED", `The transaction was not done within ${timeoutMs} ms`, { cause });
  }

  async #transactOnce<T>(work: (tx: TopicTransaction) => Promise<T>, signal: AbortSignal): Promise<T> {
    const session = await this.#openSession(signal);
    try {
      using both = linked(session.signal, signal);
      const tx = await this.#begin(session, both.signal);
      try {
        const result = await abortable(work(tx), both.signal);
        await tx.commit(both.signal);
        return result;
      } catch (error) {
        await tx.rollback(this.#options.clock);
        throw error;
      }
    } finally {
      await session.close();
    }
  }

  async #begin(session: QuerySession, signal: AbortSignal): Promise<OpenTransaction> {
    const what = "BeginTransaction";
    try {
      const txSettings = { txMode: { case: "serializableReadWrite", value: {} } } as const;
      const input = { sessionId: session.id, txSettings };
      const answer = await session.node.unary(QueryService.method.beginTransaction, input, signal);
      if (answer.status !== Status.SUCCESS) throw statusError(what, answer.status, answer.issues);
      return new OpenTransaction(answer.txMeta?.id ?? "", session);
    } catch (error) {
      throw transportError(what, error);
    }
  }

  async #openSession(signal: AbortSignal): Promise<QuerySession> {
    const what = "CreateSession";
    let session: QuerySession | undefined;
    try {
      const { attemptTimeoutMs, clock } = this.#options;
      const created = await this.#gateway.unary(QueryService.method.createSession, {}, signal, attemptTimeoutMs);
      if (created.status !== Status.SUCCESS) throw statusError(what, created.status, created.issues);
      const nodeId = Number(created.nodeId);
      session = new QuerySession(created.sessionId, await this.#node(nodeId, signal), clock);
      await session.attach(signal);
      return session;
    } catch (error) {
      await session?.close();
      throw transportError(what, error);
    }
  }

  async #node(nodeId: number, signal: AbortSignal): Promise<Node> {
    // 0: the server has but one.
    const lease = await this.#gateway.lease(nodeId === 0 ? undefined : nodeId, signal);
    const { attemptTimeoutMs } = this.#options;
    return {
      nodeId,
      unary: (method, input, callSignal) => this.#gateway.unaryOn(lease, method, input, callSignal, attemptTimeoutMs),
      attach: (sessionId, sessionSignal) =>
        this.#gateway.serverStreamOn(lease, QueryService.method.attachSession, { sessionId }, sessionSignal),
      release: () => lease.release(),
    };
  }
}
