import type { StreamTransport } from "@tidemark/stream";
import type { EtcdLink } from "./etcd-link.ts";
import type { WatchRequest, WatchResponse } from "./gen/etcd/etcdserverpb/rpc_pb.ts";

/** The Watch call of one link. It owns the link: when the stream is over, so is its connection. */
export class WatchTransport implements StreamTransport<WatchRequest, WatchResponse> {
  readonly #link: EtcdLink;
  readonly #cut = new AbortController();

  constructor(link: EtcdLink) {
    this.#link = link;
  }

  start(outgoing: AsyncIterable<WatchRequest>): AsyncIterable<WatchResponse> {
    return this.#link.watch(outgoing, this.#cut.signal);
  }

  cancel(reason: unknown): void {
    this.#cut.abort(reason);
    this.#link.close(reason);
  }

  ping(signal: AbortSignal): Promise<void> {
    return this.#link.ping(signal);
  }
}
