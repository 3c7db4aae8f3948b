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

interface Entry {
  readonly channel: FrameChannel;
  users: number;
  isListed: boolean;
}

/**
 * One connection an endpoint, opened by its first call. One whose endpoint is no longer listed is closed when its last
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

  lease(endpoint: Endpoint): Lease {
    const key = endpointKey(endpoint);
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = { channel: this.#open(endpoint), users: 0, isListed: true };
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
      entry.isListed = listed.has(key);
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

  #open({ host, port, tlsName }: Endpoint): FrameChannel {
    const { clock, closeTimeoutMs, connection, tls } = this.#options;
    return new FrameChannel({
      ...connection,
      clock,
      closeTimeoutMs,
      baseUrl: `${this.#isSecure ? "https" : "http"}://${authority(host, port)}`,
      ...(this.#isSecure && { tls: { ...tls, ...(tlsName !== undefined && { servername: tlsName }) } }),
    });
  }
}
