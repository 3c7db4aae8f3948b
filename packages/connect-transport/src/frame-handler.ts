import { createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { ConnectRouter } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { type Clock, systemClock } from "@tidemark/clock";
import { checkWhole } from "./channel-options.ts";
import { isGrpcProto } from "./grpc-status.ts";
import { dropAbsurdTimeouts, repairAuthority } from "./request-repairs.ts";
import { acceptedEncodings, type FrameHandler, pathOf, ServerCall } from "./server-call.ts";

export interface FrameHandlerOptions {
  /** Hot paths, `/package.Service/Method`, and who serves their gRPC calls. */
  readonly frames?: Readonly<Record<string, FrameHandler>>;
  /** Everything else, served by connect: its routes in all its protocols. */
  readonly routes?: (router: ConnectRouter) => void;
  /** Largest message that is taken, in bytes, in [1, 2^32). A larger one ends its call. @default 64_000_000 */
  readonly readMaxBytes?: number;
  /** What waits to be sent on one stream before `send` returns false, in bytes, above 0. @default 1_048_576 */
  readonly sendBufferBytes?: number;
  /** How long a client may take to fetch the end of an answer, in milliseconds. @default 30_000 */
  readonly lingerTimeoutMs?: number;
  /**
   * Whether pages in a browser may call the routes. They send `Origin` or `Sec-Fetch-Site`, programs do not; without this
   * any page could talk to a server on the loopback address of whoever visits it.
   * @default false
   */
  readonly allowBrowsers?: boolean;
  /** @default the system's */
  readonly clock?: Clock;
}

export const frameHandlerDefaults = {
  readMaxBytes: 64_000_000,
  sendBufferBytes: 1024 * 1024,
  lingerTimeoutMs: 30_000,
  allowBrowsers: false,
} as const satisfies Partial<FrameHandlerOptions>;

type NodeHandler = ReturnType<typeof connectNodeAdapter>;
type Request = Parameters<NodeHandler>[0];
type Answer = Parameters<NodeHandler>[1];

/** Serves frames and routes on any server of `node:http2` (and the routes on one of `node:http`). */
export interface FrameRequestHandler {
  /** A listener for the `stream` event of an HTTP/2 server. Do not give that server a `request` listener. */
  readonly onStream: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number, raw: string[]) => void;
  /** A listener for the `request` event of an HTTP/1.1 server: routes only. */
  readonly onRequest: (request: IncomingMessage, response: ServerResponse) => void;
  /** Calls under way on hot paths. */
  readonly openCalls: number;
  /** Ends all of these with `Unavailable`. */
  endCalls(): void;
}

/** What the server of this package asks besides. */
export interface ServingHandler extends FrameRequestHandler {
  /** Whether it is a call of a hot path that ended with an error. */
  isFailed(stream: ServerHttp2Stream): boolean;
}

/** @throws {ConnectError} `InvalidArgument` for an option out of its bounds. */
export function createFrameHandler(options: FrameHandlerOptions): FrameRequestHandler {
  return createServingHandler(options);
}

/** @throws {ConnectError} `InvalidArgument` */
export function createServingHandler(options: FrameHandlerOptions): ServingHandler {
  const { frames = {}, routes = () => {}, clock = systemClock } = options;
  const readMaxBytes = options.readMaxBytes ?? frameHandlerDefaults.readMaxBytes;
  const sendBufferBytes = options.sendBufferBytes ?? frameHandlerDefaults.sendBufferBytes;
  const lingerTimeoutMs = options.lingerTimeoutMs ?? frameHandlerDefaults.lingerTimeoutMs;
  const allowBrowsers = options.allowBrowsers ?? frameHandlerDefaults.allowBrowsers;
  checkWhole("readMaxBytes", readMaxBytes, 1, 2 ** 32 - 1);
  checkWhole("sendBufferBytes", sendBufferBytes, 1, Number.MAX_SAFE_INTEGER);
  checkWhole("lingerTimeoutMs", lingerTimeoutMs, 1, Number.MAX_SAFE_INTEGER);

  const handlers = new Map(Object.entries(frames));
  const calls = new Set<ServerCall>();
  const failed = new WeakSet<ServerHttp2Stream>();
  const callOptions = {
    clock,
    readMaxBytes,
    sendBufferBytes,
    lingerTimeoutMs,
    onEnd(call: ServerCall, stream: ServerHttp2Stream, error: unknown) {
      calls.delete(call);
      if (error !== undefined) failed.add(stream);
    },
  };
  // Its default compresses every answer of a kibibyte and more, which costs streams most of their speed.
  const adapter = connectNodeAdapter({ routes, readMaxBytes, acceptCompression: [], fallback: unimplemented });
  const serveRoutes: NodeHandler = (request, response) => {
    try {
      if (!allowBrowsers && isBrowser(request.headers)) {
        refuse(response, 403, "This port serves programs, not pages in a browser.");
        return;
      }
      repairAuthority(request.headers);
      dropAbsurdTimeouts(request.headers);
      // The adapter tells only of what it can decompress, which is nothing.
      if (isGrpc(request)) response.setHeader("grpc-accept-encoding", acceptedEncodings["grpc-accept-encoding"]);
      adapter(request, response);
    } catch {
      // The adapter throws at what it can make no URL of.
      refuse(response, 400, "The request has no usable host or path.");
    }
  };
  // Never listens: it turns streams into requests and answers, as connect wants them.
  const compat = createServer(serveRoutes);

  return {
    onStream(stream, headers, flags, raw) {
      const handler = handlers.get(pathOf(headers));
      const isHot = handler !== undefined && headers[":method"] === "POST" && isGrpcProto(headers["content-type"]);
      if (!isHot) {
        compat.emit("stream", stream, headers, flags, raw);
        return;
      }
      const call = new ServerCall(stream, headers, callOptions);
      calls.add(call);
      call.serve(handler);
    },
    onRequest: serveRoutes,
    get openCalls() {
      return calls.size;
    },
    endCalls() {
      for (const call of calls) call.shutDown();
    },
    isFailed: (stream) => failed.has(stream),
  };
}

function isBrowser(headers: IncomingHttpHeaders): boolean {
  return headers.origin !== undefined || headers["sec-fetch-site"] !== undefined;
}

/** Also gRPC-Web. */
function isGrpc({ headers }: Request): boolean {
  return String(headers["content-type"] ?? "").startsWith("application/grpc");
}

/** What nobody serves. gRPC clients read the status, others the HTTP status. */
function unimplemented(request: Request, response: Answer): void {
  if (isGrpc(request)) {
    const path = String(request.url ?? "").split("?")[0];
    response.setHeader("content-type", "application/grpc+proto");
    response.setHeader("grpc-status", "12");
    response.setHeader("grpc-message", encodeURIComponent(`${path} is not served here`.toWellFormed()));
    response.end();
    return;
  }
  refuse(response, 404, "There is nothing here.");
}

function refuse(response: Answer, status: number, message: string): void {
  if (response.headersSent) return;
  response.statusCode = status;
  response.setHeader("content-type", "text/plain; charset=utf-8");
  response.end(`${message}\n`);
}
