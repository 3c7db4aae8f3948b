import { AsyncQueue, type StreamTransport } from "@tidemark/stream";
import { decodeServerMessage, encodeInit } from "./wire.ts";
import { WriterError } from "./writer-error.ts";
import type { WriterProtocolSetup } from "./writer-transport.ts";

/** Where a partition is now. */
export interface PartitionLocation {
  readonly partitionId: bigint;
  readonly nodeId: number;
  readonly generation: bigint;
}

type Transport = StreamTransport<Uint8Array, Uint8Array>;

/**
 * Finds the node of the partition in front of each stream, for direct writing. The transport it makes owns every stream
 * that this needs, one at a time, so that cancelling it is enough (P1, P2).
 */
export class PartitionLocator {
  readonly #setup: WriterProtocolSetup;
  #partitionId: bigint | undefined;
  #located: PromiseWithResolvers<PartitionLocation> = Promise.withResolvers();

  constructor(setup: WriterProtocolSetup) {
    this.#setup = setup;
    this.#partitionId = setup.partitionId;
  }

  /** Where the stream that was opened last goes to. */
  located(): Promise<PartitionLocation> {
    return this.#located.promise;
  }

  openTransport(): Transport {
    const located = Promise.withResolvers<PartitionLocation>();
    // Whoever shakes hands awaits it; a stream that is cancelled before has nobody.
    located.promise.catch(() => {});
    this.#located = located;
    const controller = new AbortController();
    let current: Transport | undefined;
    const open = (nodeId?: number): Transport => {
      controller.signal.throwIfAborted();
      current = this.#setup.client.stream("write", nodeId === undefined ? {} : { nodeId });
      return current;
    };
    const connect = async (outgoing: AsyncIterable<Uint8Array>) => {
      const location = await this.#locate(open, controller.signal);
      const incoming = open(location.nodeId).start(outgoing)[Symbol.asyncIterator]();
      located.resolve(location);
      return incoming;
    };
    return {
      start(outgoing) {
        const connecting = connect(outgoing);
        connecting.catch((error: unknown) => located.reject(error));
        return { [Symbol.asyncIterator]: () => ({ next: async () => (await connecting).next() }) };
      },
      cancel(reason) {
        controller.abort(reason);
        located.reject(reason);
        current?.cancel(reason);
      },
      ping: (signal) => current?.ping?.(signal) ?? Promise.resolve(),
    };
  }

  async #locate(open: () => Transport, signal: AbortSignal): Promise<PartitionLocation> {
    const partitionId = this.#partitionId ?? (await this.#askPartition(open));
    this.#partitionId = partitionId;
    const { client, topic } = this.#setup;
    const { partitions } = await client.describeTopic(topic, { signal, location: true });
    const found = partitions.find((partition) => partition.partitionId === partitionId);
    if (found?.location === undefined) {
      const what = found === undefined ? "has no such partition" : "does not say where it is";
      throw new WriterError("PROTOCOL", `direct writing needs the node of partition ${partitionId}: ${topic} ${what}`, {
        retryable: true,
      });
    }
    return { partitionId, ...found.location };
  }

  /** The server knows which partition the producer is bound to: a short session tells. */
  async #askPartition(open: () => Transport): Promise<bigint> {
    const transport = open();
    const outgoing = new AsyncQueue<Uint8Array>();
    try {
      const incoming = transport.start(outgoing)[Symbol.asyncIterator]();
      outgoing.push(encodeInit(this.#setup));
      const answer = await incoming.next();
      const message = answer.done ? undefined : decodeServerMessage(answer.value, this.#setup.topic);
      if (message?.type === "error") throw message.error;
      if (message?.type !== "init") {
        const got = message?.type ?? "the end of the stream";
        throw new WriterError("PROTOCOL", `expected an InitResponse, got ${got}`, { retryable: true });
      }
      return message.partitionId;
    } finally {
      outgoing.cancel();
      transport.cancel(new WriterError("CLOSED", "the partition is known"));
    }
  }
}
