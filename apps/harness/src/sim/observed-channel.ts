import type { SeededRng } from "@tidemark/clock";
import type { HistoryGraph } from "@tidemark/store-watch";
import type { Channel, ChannelBatch } from "@tidemark/sync";
import { forever } from "./forever.ts";
import type { Life } from "./life.ts";
import { mustBe, o4Acknowledged } from "./oracles.ts";

/** Which change of which site a message is. */
export interface SentChange {
  readonly origin: string;
  readonly generation: number;
}

export interface ObservedChannelOptions {
  readonly life: Life;
  readonly graph: HistoryGraph;
  /** The site's. */
  readonly name: string;
  /** Everything that was ever sent, by its bytes. */
  readonly sent: Map<string, SentChange>;
  readonly rng: SeededRng;
  /** Chance that a publisher begins further back than the topic is. */
  readonly forgets: () => number;
  readonly fail: (error: unknown) => void;
}

const bytesOf = (data: Uint8Array) => Buffer.from(data).toString("latin1");

/** A channel at which O4 is looked at with every acknowledgment, and what is sent is noted. */
export function observedChannel(channel: Channel, options: ObservedChannelOptions): Channel {
  const { sent, rng } = options;
  return {
    async openPublisher(producerId, signal, signs) {
      const publisher = await channel.openPublisher(producerId, signal, signs);
      const forgets = rng.float() < options.forgets();
      return {
        // Some know less than the topic and send again what it has: that it is there once is the topic's promise.
        lastSeqNo: forgets ? earlierThan(publisher.lastSeqNo, producerId, options) : publisher.lastSeqNo,
        close: () => publisher.close(),
        publish(messages) {
          for (const { seqNo, data } of messages) sent.set(bytesOf(data), { origin: producerId, generation: seqNo });
          return publisher.publish(messages);
        },
      };
    },
    subscribe: (consumer, signal, signs) => acknowledging(channel.subscribe(consumer, signal, signs), options),
  };
}

/** Where a message of this producer ended, or where it began. */
function earlierThan(last: number, producerId: string, { sent, rng }: ObservedChannelOptions): number {
  const ends = [...sent.values()].filter(({ origin, generation }) => origin === producerId && generation < last);
  return rng.pick([0, ...ends.map(({ generation }) => generation)]);
}

async function* acknowledging(batches: AsyncIterable<ChannelBatch>, options: ObservedChannelOptions) {
  const { life, graph, name, sent, fail } = options;
  for await (const batch of batches) {
    const changes = batch.messages.map((message) => sent.get(bytesOf(message)));
    yield {
      messages: batch.messages,
      isAfterLoss: batch.isAfterLoss === true,
      async ack() {
        if (life.isOver) return forever();
        try {
          if (changes.length > 0) {
            const here = await graph.status();
            for (const [index, change] of changes.entries()) {
              mustBe(change !== undefined, "O5", () => `message ${index} of a batch was never sent by anybody`);
              if (change !== undefined) o4Acknowledged(name, change, here);
            }
          }
        } catch (error) {
          fail(error);
        }
        return batch.ack();
      },
    } satisfies ChannelBatch;
  }
}
