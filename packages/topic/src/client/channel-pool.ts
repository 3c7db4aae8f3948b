import { FrameChannel } from "@tidemark/connect-transport";
import type { ResolvedClient } from "./client-options.ts";
import { authority } from "./connection-string.ts";
import { type Endpoint, endpointKey } from "./endpoint-book.ts";

/** A channel in use. */
export interface Lease {
  readonly channel: FrameChannel;
  readonly endpoint: Endpoint;
  /** Once. */
  release(): void;
}

/** What a connection is for: streams that write have their own. */
export type Purpose = "write" | "other";

/**
 * What may be on its way to a writer, in bytes: acknowledgements, a thousandth of what goes the other way. Node reads
 * nothing from a connection while a write to it waits. When both ends run on Node and wait with full buffers of the
 * system, neither reads again. So what a server sends to a writer has to fit into those buffers, whatever the writer does.
 */
const acknowledgementWindowBytes = 128 * 1024;

interface Entry {
  readonly endpoint: string;
  readonly channel: FrameChannel;
  users: number;
  isListed: boolean;
}

/**
 * One connection an endpoint and purpose, opened by its first call. One whose endpoint is no longer listed is closed when its last
 * stream is over: discovery never ends a stream.
 */
export class ChannelPool {
  readonly #options: ResolvedClient;
  readonly #isSecure: boolean;
  readonly #entries = new Map<string, Entry>();

  constructor(options: ResolvedClient, isSecure: boolean) {
    this.#options = options;
    this.#isSecure = isSecure;
  }

  lease(endpoint: Endpoint, purpose: Purpose = "other"): Lease {
    const address = endpointKey(endpoint);
    const key = `${purpose} ${address}`;
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = { endpoint: address, channel: this.#open(endpoint, purpose), users: 0, isListed: true };
      this.#entries.set(key, entry);
    }
    const held = entry;
    held.users++;
    let isReleased = false;
    return {
      channel: held.channel,
      endpoint,
      release: () => {
        if (isReleased) return;
        isReleased = true;
        held.users--;
        if (!held.isListed) this.#drop(key, held);
      },
    };
  }

  /** The endpoints that there are. */
  keep(endpoints: readonly Endpoint[]): void {
    const listed = new Set(endpoints.map(endpointKey));
    for (const [key, entry] of this.#entries) {
      entry.isListed = listed.has(entry.endpoint);
      if (!entry.isListed) this.#drop(key, entry);
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#entries.values()].map(({ channel }) => channel.close()));
  }

  destroy(reason: unknown): void {
    for (const { channel } of this.#entries.values()) channel.destroy(reason);
  }

  #drop(key: string, entry: Entry): void {
    if (entry.users > 0 || this.#entries.get(key) !== entry) return;
    this.#entries.delete(key);
    void entry.channel.close();
  }

  #open({ host, port, tlsName }: Endpoint, purpose: Purpose): FrameChannel {
    const { clock, closeTimeoutMs, connection, tls } = this.#options;
    return new FrameChannel({
      ...connection,
      ...(purpose === "write" && {
        streamWindowBytes: acknowledgementWindowBytes,
        connectionWindowBytes: acknowledgementWindowBytes,
      }),
      clock,
      closeTimeoutMs,
      baseUrl: `${this.#isSecure ? "https" : "http"}://${authority(host, port)}`,
      ...(this.#isSecure && { tls: { ...tls, ...(tlsName !== undefined && { servername: tlsName }) } }),
    });
  }
}
