import type { HistoryGraph } from "@tidemark/store-watch";
import type { Channel, ChannelBatch, ChannelMessage } from "./channel.ts";
import { Level } from "./level.ts";
import { SyncError } from "./sync-error.ts";

interface Parcel {
  readonly messages: readonly Uint8Array[];
  readonly taken: PromiseWithResolvers<void>;
}

/** One direction. Nothing is kept here: what the receiver has committed is in its vector, the rest is in the sender's log. */
class Lane {
  readonly #moved = new Level();
  #parcel: Parcel | undefined;

  /** Resolves when the receiver has it durably. */
  async send(messages: readonly ChannelMessage[], signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const taken = Promise.withResolvers<void>();
    const parcel = { messages: messages.map(({ data }) => data), taken };
    const onAbort = () => {
      if (this.#parcel === parcel) this.#parcel = undefined;
      taken.reject(signal.reason as Error);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    this.#parcel = parcel;
    this.#moved.raise();
    try {
      await taken.promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  async *receive(signal: AbortSignal): AsyncGenerator<ChannelBatch> {
    for (;;) {
      const seen = this.#moved.count;
      const parcel = this.#parcel;
      // What was not acknowledged is still there.
      if (parcel === undefined) await this.#moved.after(seen, signal);
      else
        yield {
          messages: parcel.messages,
          ack: async () => {
            if (this.#parcel === parcel) this.#parcel = undefined;
            parcel.taken.resolve();
          },
        };
    }
  }
}

/**
 * Connects two sites of one process without a topic, the first channel for the first graph's site. Each goes on from what
 * the other one's history has, also after a crash of both.
 *
 * @throws {SyncError} `OPTIONS_INVALID` when both graphs are of one history
 */
export function directChannels(one: HistoryGraph, other: HistoryGraph): readonly [Channel, Channel] {
  if (one.origin === other.origin) {
    throw new SyncError(
      "OPTIONS_INVALID",
      "two sites need two histories, got two graphs of one; give one a file of its own",
    );
  }
  const [there, back] = [new Lane(), new Lane()];
  return [channel(one, other, there, back), channel(other, one, back, there)];
}

function channel(own: HistoryGraph, other: HistoryGraph, out: Lane, into: Lane): Channel {
  return {
    async openPublisher(_, signal) {
      const closed = new AbortController();
      const stop = AbortSignal.any([signal, closed.signal]);
      const lastSeqNo = (await other.status()).vector[own.origin] ?? 0;
      return {
        lastSeqNo,
        publish: (messages) => out.send(messages, stop),
        close: async () => closed.abort(new SyncError("CLOSED", "the publisher was closed")),
      };
    },
    subscribe(_, signal, signs) {
      signs?.onConnected();
      return into.receive(signal);
    },
  };
}
