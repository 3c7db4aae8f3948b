import { type Client, createClient, type Interceptor } from "@connectrpc/connect";
import { type ChannelTls, FrameChannel } from "@tidemark/connect-transport";
import type { StreamTransport } from "@tidemark/stream";
import {
  type StatusResponse,
  type WatchRequest,
  type WatchResponse,
  WatchService,
} from "./gen/tidemark/watch/v1/watch_pb.ts";

/** How much of a watch may be on its way to us unread. */
const streamWindowBytes = 8 * 1024 * 1024;
/** A watch that is held back leaves room for `status`. */
const connectionWindowBytes = 2 * streamWindowBytes;

/** One watch over one connection of its own. The request is the first outgoing message; there is no second. */
export class WatchLink implements StreamTransport<WatchRequest, WatchResponse> {
  readonly #channel: FrameChannel;
  readonly #client: Client<typeof WatchService>;
  readonly #ended = new AbortController();

  /** Does no I/O. */
  constructor(origin: string, { token, tls }: { readonly token?: string; readonly tls?: ChannelTls } = {}) {
    this.#channel = new FrameChannel({
      baseUrl: origin,
      // What is said on it is said to one run of one store.
      reopens: false,
      streamWindowBytes,
      connectionWindowBytes,
      ...(tls !== undefined && { tls }),
      ...(token !== undefined && { interceptors: [bearer(token)] }),
    });
    this.#client = createClient(WatchService, this.#channel.transport);
  }

  async *start(outgoing: AsyncIterable<WatchRequest>): AsyncGenerator<WatchResponse, void> {
    const { signal } = this.#ended;
    for await (const request of outgoing) {
      signal.throwIfAborted();
      yield* this.#client.watch(request, { signal });
      return;
    }
  }

  /** Over the same connection, so it is the same run of the same server that answers. */
  status(signal: AbortSignal): Promise<StatusResponse> {
    return this.#client.status({}, { signal });
  }

  ping(signal: AbortSignal): Promise<void> {
    return this.#channel.ping(signal);
  }

  cancel(reason: unknown): void {
    this.#ended.abort(reason);
    this.#channel.destroy(reason);
  }
}

const bearer =
  (token: string): Interceptor =>
  (next) =>
  (request) => {
    request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
