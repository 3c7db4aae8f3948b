import type { Clock, Rng } from "@tidemark/clock";
import { openReader, type ReaderBatch, type ReaderOptions } from "@tidemark/topic-reader";
import { createWriter, type WriterOptions } from "@tidemark/topic-writer";
import type { Channel, ChannelBatch, ChannelMessage, ChannelSigns, Publisher } from "./channel.ts";
import { codeOf, SyncError } from "./sync-error.ts";

export interface TopicChannelOptions {
  /** From `@tidemark/topic`; the channel does not close it. */
  readonly client: WriterOptions["client"] & ReaderOptions["client"];
  /** One topic for all sites of a group, with one partition: then changes come after what they were made from. */
  readonly topic: string;
  /** The site's consumer of the topic, its own for good; it must exist. */
  readonly consumer: string;
  /**
   * Messages that are applied in one transaction at most.
   * @default 1000
   */
  readonly maxMessages?: number;
  readonly clock?: Clock;
  readonly rng?: Rng;
}

export const topicChannelDefaults = { maxMessages: 1000 } as const;

/** Carries changes over a topic of YDB or of `@tidemark/topic-server`. @throws {SyncError} `OPTIONS_INVALID` */
export function topicChannel(options: TopicChannelOptions): Channel {
  const { client, topic, consumer, clock, rng, maxMessages = topicChannelDefaults.maxMessages } = options;
  if (!(Number.isInteger(maxMessages) && maxMessages > 0)) {
    throw new SyncError("OPTIONS_INVALID", `maxMessages must be a whole number above 0, got ${maxMessages}`);
  }
  const shared = { client, ...(clock && { clock }), ...(rng && { rng }) };
  return {
    async openPublisher(producerId, signal, signs) {
      // Numbers are generations, so what the topic has decides where to go on.
      const writer = createWriter({ ...shared, topic, producerId, seqNo: "manual", signal });
      if (signs !== undefined) void tellOf(writer, signs);
      const events = writer.events()[Symbol.asyncIterator]();
      try {
        for (;;) {
          const { value: event, done } = await events.next();
          if (done === true) throw await endOf(writer.connected(signal));
          if (event.type === "connected") return new TopicPublisher(writer, Number(event.lastSeqNo));
          if (event.type === "failed") throw event.error;
        }
      } catch (error) {
        writer.destroy(error);
        throw error;
      } finally {
        await events.return?.();
      }
    },
    async *subscribe(_, signal, signs) {
      let isLost = false;
      let onLoss = () => {};
      const reader = await openReader({
        ...shared,
        topics: topic,
        consumer,
        signal,
        onEvent(event) {
          if (event.type === "connected") signs?.onConnected();
          else if (event.type === "waiting") signs?.onDisconnected(event.error);
        },
        onPartitionStart({ committedOffset, firstOffset }) {
          // Retention went over messages that were never read. There may be none after them.
          if (firstOffset <= committedOffset) return;
          isLost = true;
          onLoss();
        },
      });
      try {
        for (let next: Promise<ReaderBatch> | undefined; ; ) {
          next ??= reader.receive({ maxMessages, signal });
          const turn = Promise.withResolvers<ReaderBatch | undefined>();
          next.then(turn.resolve, turn.reject);
          onLoss = () => turn.resolve(undefined);
          if (isLost) onLoss();
          const batch = await turn.promise;
          if (isLost) {
            isLost = false;
            yield { messages: [], isAfterLoss: true, ack: async () => undefined } satisfies ChannelBatch;
          }
          if (batch === undefined) continue;
          next = undefined;
          const messages = Array.from({ length: batch.length }, (_, index) => batch.data(index));
          yield { messages, ack: () => batch.commit().catch(failCommit) } satisfies ChannelBatch;
        }
      } finally {
        // What is not acknowledged comes again.
        reader.destroy(signal.reason);
      }
    },
  };
}

/** Until the writer is over, which is no news. */
async function tellOf(writer: ReturnType<typeof createWriter>, signs: ChannelSigns): Promise<void> {
  for await (const event of writer.events()) {
    if (event.type === "connected") signs.onConnected();
    else if (event.type === "disconnected" && event.delayMs !== undefined) signs.onDisconnected(event.error);
  }
}

class TopicPublisher implements Publisher {
  readonly lastSeqNo: number;
  readonly #writer: ReturnType<typeof createWriter>;

  constructor(writer: ReturnType<typeof createWriter>, lastSeqNo: number) {
    this.#writer = writer;
    this.lastSeqNo = lastSeqNo;
  }

  async publish(messages: readonly ChannelMessage[]): Promise<void> {
    await this.#writer.writeAcked(messages);
  }

  async close(): Promise<void> {
    // What is not acknowledged comes from the log again.
    this.#writer.destroy();
  }
}

/** A partition that went away may come back, and brings what was not acknowledged to another subscription. */
function failCommit(error: unknown): never {
  if (codeOf(error) !== "PARTITION_LOST") throw error;
  const message = "the topic's partition went away before its messages were acknowledged: they are read again";
  throw new SyncError("FAILED", message, { cause: error, retryable: true });
}

/** Why it is over. */
async function endOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => new SyncError("FAILED", "the writer ended before it was connected", { retryable: true }),
    (error: unknown) => error,
  );
}
