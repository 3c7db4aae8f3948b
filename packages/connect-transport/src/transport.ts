import { AsyncLocalStorage } from "node:async_hooks";
import type { DescMessage, DescMethodStreaming, MessageInitShape } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  createContextValues,
  type StreamRequest,
  type StreamResponse,
  type Transport,
} from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import type { ResolvedTransport } from "./channel-options.ts";
import type { ClientCallOptions } from "./client-call.ts";
import type { ClientSession } from "./client-session.ts";
import { connectionError, isConnectionError } from "./failure.ts";
import { StreamCall } from "./stream-call.ts";

interface ChannelSide {
  readonly baseUrl: string;
  readonly authority: string;
  call(path: string): Omit<ClientCallOptions, "headers" | "timeoutMs" | "readMaxBytes">;
  connect(): Promise<ClientSession>;
}

/** Unary calls are connect's own; streams are ours, with the same interceptors, headers, deadlines and errors. */
export function createTransport(options: ResolvedTransport, channel: ChannelSide): Transport {
  // Connect's session manager is not told which call it is that asks.
  const calls = new AsyncLocalStorage<{ session: ClientSession | undefined }>();
  const unary = createGrpcTransport({
    baseUrl: channel.baseUrl,
    sessionManager: {
      authority: channel.authority,
      async request(method, path, headers) {
        const session = await channel.connect();
        const call = calls.getStore();
        if (call !== undefined) call.session = session;
        return session.request({ ...headers, ":method": method, ":path": path });
      },
      notifyResponseByteRead() {},
    },
    // By default the peer would be asked to compress every answer of a kibibyte or more.
    acceptCompression: [],
    interceptors: [...options.interceptors],
    readMaxBytes: options.readMaxBytes,
    writeMaxBytes: options.writeMaxBytes,
    ...(options.defaultTimeoutMs === undefined ? {} : { defaultTimeoutMs: clampTimeout(options.defaultTimeoutMs) }),
  });
  return {
    async unary(method, signal, timeoutMs, ...rest) {
      const call: { session: ClientSession | undefined } = { session: undefined };
      const limitMs = timeoutMs === undefined ? undefined : clampTimeout(timeoutMs);
      try {
        return await calls.run(call, () => unary.unary(method, signal, limitMs, ...rest));
      } catch (error) {
        if (signal?.aborted !== true && isCut(error, call.session)) throw lost(call.session, channel.authority, error);
        throw error;
      }
    },

    async stream<I extends DescMessage, O extends DescMessage>(
      method: DescMethodStreaming<I, O>,
      signal: AbortSignal | undefined,
      timeoutMs: number | undefined,
      header: HeadersInit | undefined,
      input: AsyncIterable<MessageInitShape<I>>,
      contextValues = createContextValues(),
    ): Promise<StreamResponse<I, O>> {
      const path = `/${method.parent.typeName}/${method.name}`;
      const limitMs = timeoutMs === undefined ? options.defaultTimeoutMs : timeoutMs > 0 ? timeoutMs : undefined;
      const { readMaxBytes } = options;
      const splitter = options.splitterOf?.(method);
      const call = new StreamCall(method, options, {
        ...channel.call(path),
        timeoutMs: limitMs,
        readMaxBytes,
        splitter,
      });
      const request = {
        stream: true as const,
        service: method.parent,
        method,
        requestMethod: "POST",
        url: channel.baseUrl + path,
        header: new Headers(header),
        contextValues,
        message: input as StreamRequest["message"],
      };
      return (await call.run(request, signal)) as StreamResponse<I, O>;
    },
  };
}

/** Connect sends milliseconds, and gRPC allows eight digits: 27 hours, which no unary call should take. */
const clampTimeout = (timeoutMs: number) => Math.min(timeoutMs, 99_999_999);

/**
 * Node resets the calls of a connection that it loses with CANCEL, and connect takes it for the peer's word. An error of
 * Node's, such as a late alert of TLS, is the cause of connect's; what the peer says has no cause.
 */
function isCut(error: unknown, session: ClientSession | undefined): boolean {
  if (!(error instanceof ConnectError) || isConnectionError(error) || session?.isGone !== true) return false;
  return error.code === Code.Canceled || (error.cause instanceof Error && "code" in error.cause);
}

const lost = (session: ClientSession | undefined, authority: string, error: unknown): ConnectError =>
  ConnectError.from(session?.reason ?? connectionError(`the connection to ${authority} was lost`, error));
