// The real `tidemark topics` is killed again and again, under the real writer and the real reader on the other end of TCP.
import { seededRng } from "@tidemark/clock";
import { freePorts } from "@tidemark/tooling/ports";
import { createTopicClient, type TopicClient } from "@tidemark/topic";
import { openReader, type ReaderBatch } from "@tidemark/topic-reader";
import { createWriter } from "@tidemark/topic-writer";
import { expect, test } from "vitest";
import { testFolder } from "./support.ts";
import { bell, startTopics } from "./topics-support.ts";

const isLong = process.env["TIDEMARK_LONG"] === "1";
const rounds = isLong ? 100 : 5;
const seed = Number(process.env["TIDEMARK_SEED"] ?? (isLong ? Date.now() % 1_000_000 : 1));
const partitions = 3;
const producers = ["a", "b", "c", "d"];
const fast = { initialDelayMs: 5, slowInitialDelayMs: 5, maxDelayMs: 50, slowMaxDelayMs: 50 };

/** What one producer wrote, and what became of it: numbers from 1 on. */
class Producer {
  readonly name: string;
  written = 0;
  acknowledged = 0;
  /** By the reader that commits, not counting what came again. */
  read = 0;

  constructor(name: string) {
    this.name = name;
  }

  text(): string {
    this.written++;
    // From a few bytes to some kilobytes, so that writes are torn at many places.
    return `${this.name} ${this.written} `.padEnd(10 + ((this.written * 131) % 3000), ".");
  }
}

/** Writes until it is told to stop, and waits for every acknowledgement. */
async function writeOn(client: TopicClient, producer: Producer, until: AbortSignal, ring: () => void): Promise<void> {
  await using writer = createWriter({ client, topic: "killed", producerId: producer.name, reconnect: fast });
  const acks: Promise<void>[] = [];
  const take = async (number: number, ack: Promise<unknown>) => {
    await ack;
    // In order, each once.
    expect(number).toBe(producer.acknowledged + 1);
    producer.acknowledged = number;
    ring();
  };
  while (!until.aborted) {
    for (let n = 0; n < 20; n++) {
      const text = producer.text();
      acks.push(take(producer.written, writer.writeAcked(text)));
    }
    await acks.at(-20);
    await writer.ready();
  }
  await writer.flush();
  await Promise.all(acks);
}

/** Takes a batch in: no number of a producer is missing before another; what comes again is what was not committed. */
function take(batch: ReaderBatch, known: ReadonlyMap<string, Producer>, next: Map<number, bigint>): void {
  for (const message of batch) {
    const [name = "", number = ""] = message.text().split(" ");
    const producer = known.get(name);
    if (producer === undefined) throw new Error(`nobody wrote "${message.text().slice(0, 30)}"`);
    expect(message.producerId).toBe(name);
    expect(Number(message.seqNo)).toBe(Number(number));
    const expected = next.get(batch.partitionId) ?? 0n;
    expect(message.offset).toBeLessThanOrEqual(expected);
    if (message.offset < expected) {
      expect(Number(number)).toBeLessThanOrEqual(producer.read);
      continue;
    }
    next.set(batch.partitionId, message.offset + 1n);
    expect(Number(number)).toBe(producer.read + 1);
    producer.read++;
  }
}

test(`P16-P18: writes, reads and commits over TCP survive SIGKILL of the server, ${rounds} times (seed ${seed})`, {
  timeout: rounds * 120_000,
}, async () => {
  const rng = seededRng(seed);
  const folder = testFolder();
  const [port = 0] = await freePorts(1);
  let kill = await startTopics(folder, port);
  await using client = createTopicClient(`grpc://127.0.0.1:${port}/local`);
  await client.createTopic("killed", { partitions, consumers: ["c"] });
  const known = new Map(producers.map((name) => [name, new Producer(name)]));
  const { ring, until } = bell();
  const stop = new AbortController();
  const writing = Promise.all([...known.values()].map((each) => writeOn(client, each, stop.signal, ring)));

  const next = new Map<number, bigint>();
  const committed = new Map<number, bigint>();
  await using reader = await openReader({ client, topics: "killed", consumer: "c", ...fast });
  const reading = (async () => {
    for await (const batch of reader) {
      take(batch, known, next);
      const end = batch.endOffset;
      ring();
      // A partition may change its reader on the way, in the middle of a commit.
      await batch.commit();
      committed.set(batch.partitionId, end);
    }
  })();
  const failed = Promise.race([writing, reading]).then(() => {});

  for (let round = 0; round < rounds; round++) {
    const sum = () => [...known.values()].reduce((total, { acknowledged, read }) => total + acknowledged + read, 0);
    const enough = sum() + rng.int(50, 2000);
    await Promise.race([until(() => sum() >= enough), failed]);
    await kill();
    // Acknowledged to somebody before it died, and so there for whoever asks now.
    const acknowledged = new Map([...known.values()].map((each) => [each.name, each.acknowledged]));
    const before = new Map(committed);
    kill = await startTopics(folder, port);
    const { partitions: described } = await client.describeConsumer("killed", "c", { stats: true });
    for (const { partitionId, progress } of described) {
      expect(progress?.committedOffset).toBeGreaterThanOrEqual(before.get(Number(partitionId)) ?? 0n);
    }
    for (const [name, number] of acknowledged) expect(known.get(name)?.written).toBeGreaterThanOrEqual(number);
  }
  stop.abort();
  await Promise.race([writing, reading]);
  for (const { written, acknowledged } of known.values()) expect(acknowledged).toBe(written);
  await Promise.race([until(() => [...known.values()].every(({ read, written }) => read === written)), reading]);
  await reader.close();
  await reading;

  // Whoever reads it all from the beginning finds each once and in order.
  const total = [...known.values()].reduce((sum, { written }) => sum + written, 0);
  const again = new Map(producers.map((name) => [name, new Producer(name)]));
  const topics = [{ path: "killed", partitions: Array.from({ length: partitions }, (_, id) => id) }];
  await using all = await openReader({ client, topics, noConsumer: true });
  let count = 0;
  const places = new Map<number, bigint>();
  for await (const batch of all) {
    take(batch, again, places);
    count += batch.length;
    if (count >= total) break;
  }
  expect(count).toBe(total);
  for (const [name, { read }] of again) expect(read).toBe(known.get(name)?.written);
  await kill();
});
