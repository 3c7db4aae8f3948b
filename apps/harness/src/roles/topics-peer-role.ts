import { systemClock } from "@tidemark/clock";
import { createTopicClient, type TopicClient } from "@tidemark/topic";
import { openReader, type Reader, type ReaderBatch } from "@tidemark/topic-reader";
import { createWriter, type Writer } from "@tidemark/topic-writer";
import { consumerName, messageText, producers, topicName } from "../chaos/topics/topic-messages.ts";
import { tellParent } from "../process/serve-role.ts";
import type { PeerEvent, PeerTarget, TopicsPeerRole } from "./topics-peer-options.ts";

/** Quick to find out and to come back: what is tested is that it does. */
const reconnect = {
  initialDelayMs: 5,
  slowInitialDelayMs: 5,
  maxDelayMs: 100,
  slowMaxDelayMs: 100,
  handshakeTimeoutMs: 3_000,
  pingIntervalMs: 200,
  pingTimeoutMs: 400,
};
const messagesAtOnce = 20;
/** Between them: a disk is not to be filled in a minute. */
const pauseMs = 5;
const chunksOnTheWay = 10;

const tell = (event: PeerEvent) => tellParent(event);

/** A client of topics, to be killed: with our writers, or with our reader. */
export function createTopicsPeerRole(): TopicsPeerRole {
  let client: TopicClient | undefined;
  let reader: Reader | undefined;
  let writing: readonly ProducerLoop[] = [];
  const connect = ({ connectionString, ca }: PeerTarget) => {
    // Past discovery: it would tell an address that goes round whatever stands between.
    client = createTopicClient(connectionString, { discovery: false, ...(ca !== undefined && { tls: { ca } }) });
    return client;
  };
  return {
    async write(target) {
      const to = connect(target);
      writing = producers.map((name) => new ProducerLoop(to, name));
    },
    async pause() {
      const last = await Promise.all(writing.map(async (loop) => [loop.name, await loop.pause()] as const));
      return Object.fromEntries(last);
    },
    async resume() {
      for (const loop of writing) loop.resume();
    },
    async read(target) {
      reader = await openReader({ client: connect(target), topics: topicName, consumer: consumerName, ...reconnect });
      void readOn(reader);
      void tellEvents(reader).catch(fail);
    },
    async close() {
      await Promise.all(writing.map((loop) => loop.close()));
      await reader?.close();
      await client?.close();
    },
  };
}

/** One producer, who goes on where the topic says that it is. */
class ProducerLoop {
  readonly name: string;
  readonly #writer: Writer;
  #last = 0;
  #isPaused = false;
  #isOver = false;
  #wake: () => void = () => {};
  readonly #running: Promise<void>;

  constructor(client: TopicClient, name: string) {
    this.name = name;
    this.#writer = createWriter({ client, topic: topicName, producerId: name, seqNo: "manual", reconnect });
    this.#running = this.#run();
    this.#running.catch(fail);
  }

  /** @returns the last number, when everything is acknowledged */
  async pause(): Promise<number> {
    this.#isPaused = true;
    await this.#writer.connected();
    await this.#writer.flush();
    return this.#last;
  }

  resume(): void {
    this.#isPaused = false;
    this.#wake();
  }

  async close(): Promise<void> {
    this.#isOver = true;
    this.resume();
    await this.#running;
    await this.#writer.close();
  }

  async #run(): Promise<void> {
    this.#last = await this.#begin();
    const onTheWay: Promise<void>[] = [];
    while (!this.#isOver) {
      if (this.#isPaused) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        continue;
      }
      const messages = Array.from({ length: messagesAtOnce }, () => {
        const seqNo = ++this.#last;
        return { seqNo: BigInt(seqNo), data: messageText(this.name, seqNo) };
      });
      const seqNo = this.#last;
      const { name: producer } = this;
      onTheWay.push(this.#writer.writeAcked(messages).then(() => tell({ type: "acknowledged", producer, seqNo })));
      if (onTheWay.length > chunksOnTheWay) await onTheWay.shift();
      await systemClock.sleep(pauseMs);
    }
    await Promise.all(onTheWay);
  }

  /** Tells what happens to the connection from then on. @returns where the topic is with this producer */
  async #begin(): Promise<number> {
    const first = Promise.withResolvers<number>();
    void (async () => {
      for await (const event of this.#writer.events()) {
        if (event.type === "connected") first.resolve(Number(event.lastSeqNo));
        else if (event.type === "disconnected") tell({ type: "disconnected", error: String(event.error) });
        else if (event.type === "failed") first.reject(event.error);
      }
    })().catch(fail);
    return first.promise;
  }
}

async function readOn(reader: Reader): Promise<void> {
  try {
    for await (const batch of reader.read()) {
      tell(deliveryOf(batch));
      const { partitionId: partition } = batch;
      const end = Number(batch.endOffset);
      // What could not be committed comes again.
      await batch.commit().then(
        () => tell({ type: "committed", partition, end }),
        () => {},
      );
    }
  } catch (error) {
    fail(error);
  }
}

async function tellEvents(reader: Reader): Promise<void> {
  for await (const event of reader.events()) {
    if (event.type === "disconnected") tell({ type: "disconnected", error: String(event.error) });
  }
}

function deliveryOf(batch: ReaderBatch): PeerEvent {
  const messages: (readonly [string, number])[] = [];
  for (const message of batch) {
    const seqNo = Number(message.seqNo);
    const { producerId } = message;
    if (message.text() !== messageText(producerId, seqNo)) {
      tell({ type: "garbled", what: `offset ${message.offset}, number ${seqNo} of ${producerId}` });
    }
    messages.push([producerId, seqNo]);
  }
  return { type: "delivered", partition: batch.partitionId, first: Number(batch.offset(0)), messages };
}

/** Nothing that happens to the network or to the service may end a client: this one would say no more. */
function fail(error: unknown): void {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exit(1);
}
