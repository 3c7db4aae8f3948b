import { type Client, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import type { StreamTransport } from "@tidemark/stream";
import {
  type StatusResponse,
  type WatchRequest,
  type WatchResponse,
  WatchService,
} from "./gen/tidemark/watch/v1/watch_pb.ts";
import { Http2Link } from "./http2-link.ts";

/** One watch over one connection of its own. The request is the first outgoing message; there is no second. */
export class WatchLink implements StreamTransport<WatchRequest, WatchResponse> {
  readonly #link: Http2Link;
  readonly #client: Client<typeof WatchService>;
  readonly #ended = new AbortController();

  /** Does no I/O. */
  constructor(origin: string) {
    this.#link = new Http2Link(origin);
    this.#client = createClient(
      WatchService,
      createGrpcTransport({
        baseUrl: origin,
        sessionManager: this.#link,
        // The default asks the store to compress everything above a kibibyte, which costs more than it saves.
        acceptCompression: [],
      }),
    );
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
    return this.#link.ping(signal);
  }

  cancel(reason: unknown): void {
    this.#ended.abort(reason);
    this.#link.cut(reason);
  }
}
