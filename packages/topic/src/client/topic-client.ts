import type { RetryClass, StreamTransport } from "@tidemark/stream";
import type { Compression } from "../compression/compression.ts";
import type { CallOptions, ControlPlane } from "./control-types.ts";
import type { TopicTransaction, TransactionOptions } from "./transaction-types.ts";

export interface TopicStreamOptions {
  /** Goes to this node, as a transaction or the partition's place demands. @default any */
  readonly nodeId?: number;
}

/**
 * A database's topics. Does no I/O before it is used; connections are opened when they are needed and shared.
 *
 * Calls that can be repeated without harm are tried again, until `timeoutMs`.
 */
export interface TopicClient extends ControlPlane, AsyncDisposable {
  /** The path of the database, such as `/local`. */
  readonly database: string;
  /** `grpc://host:port/database`, without secrets. */
  readonly connectionString: string;
  /** Compresses and decompresses for the writers and readers of this client. */
  readonly compression: Compression;
  /**
   * One `StreamWrite` or `StreamRead` of encoded messages. Synchronous, does no I/O: endpoint and token are found when it
   * is started. For the protocols of `@tidemark/stream`; most programs want a writer or a reader.
   */
  stream(kind: "read" | "write", options?: TopicStreamOptions): StreamTransport<Uint8Array, Uint8Array>;
  /** The current token, for `UpdateTokenRequest`. Undefined: there is none. */
  token(signal?: AbortSignal): Promise<string | undefined>;
  /**
   * How soon what failed can be tried again. Told of an `UNAUTHENTICATED`, it also sees to it that the next try has a new
   * token (X17); told of a lost connection, that the next try prefers another node.
   */
  classify(error: unknown): RetryClass;
  /**
   * Runs `work` in a transaction: writers and readers that are given `tx` join it, and it commits when `work` is done. When
   * `work` throws it is rolled back, and the error is thrown on. `work` runs again when the transaction was aborted by the
   * server, so it should have no effects besides those in the transaction.
   *
   * @throws {TopicError} `TRANSACTION_FAILED`, `STATUS`, `TRANSPORT`, `DEADLINE_EXCEEDED`, `CLOSED`
   */
  transaction<T>(work: (tx: TopicTransaction) => Promise<T>, options?: TransactionOptions): Promise<T>;
  /** Whom the server takes us for. */
  whoAmI(options?: CallOptions): Promise<{ readonly user: string; readonly groups: readonly string[] }>;
  /** Lets calls under way finish for up to `closeTimeoutMs`, then cuts them. Idempotent. */
  close(): Promise<void>;
  /** Cuts everything now. Idempotent. */
  destroy(reason?: unknown): void;
}
