import type { DescMessage, DescMethodStreaming, MessageInitShape } from "@bufbuild/protobuf";
import { createContextValues, type StreamRequest, type StreamResponse, type Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import type { ResolvedTransport } from "./channel-options.ts";
import type { ClientCallOptions } from "./client-call.ts";
import type { ClientSession } from "./client-session.ts";
import { StreamCall } from "./stream-call.ts";

interface ChannelSide {
  readonly baseUrl: string;
  readonly authority: string;
  call(path: string): Omit<ClientCallOptions, "headers" | "timeoutMs" | "readMaxBytes">;
  connect(): Promise<ClientSession>;
}

/** Unary calls are connect's own; streams are ours, with the same interceptors, headers, deadlines and errors. */
export function createTransport(options: ResolvedTransport, channel: ChannelSide): Transport {
  const unary = createGrpcTransport({
    baseUrl: channel.baseUrl,
    sessionManager: {
      authority: channel.authority,
      async request(method, path, headers) {
        const session = await channel.connect();
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
    unary: (method, signal, timeoutMs, ...rest) =>
      unary.unary(method, signal, timeoutMs === undefined ? undefined : clampTimeout(timeoutMs), ...rest),

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
      const call = new StreamCall(method, options, { ...channel.call(path), timeoutMs: limitMs, readMaxBytes });
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
