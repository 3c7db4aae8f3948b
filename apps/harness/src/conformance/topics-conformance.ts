import { createTopicClient, TopicError, type TopicClient } from "@tidemark/topic";
import { openReader, type Reader, type ReaderBatch } from "@tidemark/topic-reader";
import { openWriter } from "@tidemark/topic-writer";
import { type ConformanceCheck, mustBe } from "./checks.ts";

/** Where the service is, and how to get in. */
export interface TopicsConformanceOptions {
  /** `grpc://host:port/database`. */
  readonly endpoint: string;
  /** Name of topics that are made and dropped begin with it. @default "conformance" */
  readonly prefix?: string;
  readonly token?: string | undefined;
  /** How long a check may take, in milliseconds. @default 30_000 */
  readonly timeoutMs?: number;
}

interface Bench {
  readonly client: TopicClient;
  readonly topic: string;
  readonly signal: AbortSignal;
}

/** The checks, in the order in which to run them; each makes a topic of its own and drops it. */
export function topicsConformance(options: TopicsConformanceOptions): readonly ConformanceCheck[] {
  return checks.map(({ name, body }, index) => ({ name, run: () => runCheck(options, index, body) }));
}

async function runCheck(options: TopicsConformanceOptions, index: number, body: (bench: Bench) => Promise<void>) {
  const { endpoint, prefix = "conformance", token, timeoutMs = 30_000 } = options;
  const signal = AbortSignal.timeout(timeoutMs);
  await using client = createTopicClient(endpoint, { ...(token !== undefined && { credentials: { token } }) });
  const topic = `${prefix}-${index}-${Date.now().toString(36)}`;
  await client.createTopic(topic, { consumers: ["one", "two"] }, { signal });
  try {
    await body({ client, topic, signal });
  } finally {
    await client.dropTopic(topic).catch(() => {});
  }
}

async function write({ client, topic, signal }: Bench, producerId: string, texts: readonly string[]): Promise<void> {
  await using writer = await openWriter({ client, topic, producerId, signal });
  for (const text of texts) writer.write(text);
  await writer.flush();
}

/** Reads until there are `count` messages; `onBatch` may commit. */
async function read(
  { client, topic, signal }: Bench,
  consumer: string,
  count: number,
  isCommitting: boolean,
): Promise<string[]> {
  const reader: Reader = await openReader({ client, topics: topic, consumer, signal });
  const texts: string[] = [];
  try {
    while (texts.length < count) {
      const batch = await reader.receive({ maxMessages: count - texts.length, signal });
      for (const message of batch) texts.push(message.text());
      if (isCommitting) await batch.commit();
    }
  } finally {
    reader.destroy();
  }
  return texts;
}

const textOf = (batch: ReaderBatch) => Buffer.from(batch.data(0)).toString();

const numbered = (count: number, name = "m") => Array.from({ length: count }, (_, index) => `${name}${index}`);

const checks: readonly { readonly name: string; readonly body: (bench: Bench) => Promise<void> }[] = [
  {
    name: "a topic that was made can be described, and one that was dropped cannot",
    async body({ client, topic, signal }) {
      const { partitions, consumers } = await client.describeTopic(topic, { signal });
      mustBe(partitions.length === 1, `expected 1 partition by default, got ${partitions.length}`);
      mustBe(consumers.length === 2, `expected the 2 consumers that were asked for, got ${consumers.length}`);
      await client.dropTopic(topic, { signal });
      const error = await client.describeTopic(topic, { signal }).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      mustBe(
        TopicError.is(error) && error.code === "STATUS",
        `expected a status for a dropped topic, got ${String(error)}`,
      );
    },
  },
  {
    name: "what was acknowledged is read by every consumer, once, in order",
    async body(bench) {
      const texts = numbered(500);
      await write(bench, "producer", texts);
      for (const consumer of ["one", "two"]) {
        const got = await read(bench, consumer, texts.length, true);
        mustBe(got.join() === texts.join(), `${consumer} read something else than was written, or in another order`);
      }
    },
  },
  {
    name: "bytes arrive as they were sent, also none and many",
    async body(bench) {
      const { client, topic, signal } = bench;
      const sent = [
        new Uint8Array(0),
        Uint8Array.from({ length: 256 }, (_, byte) => byte),
        new Uint8Array(900_000).fill(7),
      ];
      await using writer = await openWriter({ client, topic, producerId: "bytes", signal });
      for (const data of sent) writer.write({ data });
      await writer.flush();
      const reader = await openReader({ client, topics: topic, consumer: "one", signal });
      const got: Buffer[] = [];
      while (got.length < sent.length) {
        const batch = await reader.receive({ signal });
        for (let index = 0; index < batch.length; index++) got.push(Buffer.from(batch.data(index)));
      }
      reader.destroy();
      mustBe(
        sent.every((data, index) => got[index]?.equals(data) === true),
        "what was read is not what was written",
      );
    },
  },
  {
    name: "a producer's number is taken once, whatever session sends it",
    async body(bench) {
      const { client, topic, signal } = bench;
      const send = async (from: number, to: number) => {
        await using writer = await openWriter({ client, topic, producerId: "again", seqNo: "manual", signal });
        for (let seqNo = from; seqNo <= to; seqNo++) writer.write({ data: `n${seqNo}`, seqNo: BigInt(seqNo) });
        await writer.flush();
      };
      await send(1, 10);
      await send(5, 15);
      await write(bench, "end", ["end"]);
      const got = await read(bench, "one", 16, false);
      const wanted = [...Array.from({ length: 15 }, (_, index) => `n${index + 1}`), "end"];
      mustBe(got.join() === wanted.join(), `expected each number once, got ${got.join()}`);
    },
  },
  {
    name: "a consumer goes on behind what it committed",
    async body(bench) {
      await write(bench, "producer", numbered(100));
      const first = await read(bench, "one", 40, true);
      const rest = await read(bench, "one", 60, true);
      mustBe([...first, ...rest].join() === numbered(100).join(), "something was skipped or came again after a commit");
    },
  },
  {
    name: "what was not committed comes again",
    async body(bench) {
      await write(bench, "producer", numbered(10));
      const first = await read(bench, "one", 10, false);
      const again = await read(bench, "one", 10, true);
      mustBe(first.join() === again.join(), "what was read and not committed did not come again");
    },
  },
  {
    name: "two readers of a consumer share its partitions, and one takes over from the other",
    async body(bench) {
      const { client, topic, signal } = bench;
      const one = await openReader({ client, topics: topic, consumer: "one", signal });
      const two = await openReader({ client, topics: topic, consumer: "one", signal });
      await write(bench, "producer", numbered(5));
      // The partition is with either of them.
      const first = one.receive({ signal }).then((batch) => ({ batch, owner: one, other: two }));
      const second = two.receive({ signal }).then((batch) => ({ batch, owner: two, other: one }));
      first.catch(() => {});
      second.catch(() => {});
      const { batch, owner, other } = await Promise.race([first, second]);
      mustBe(textOf(batch) === "m0", `expected the first message, got ${textOf(batch)}`);
      const waiting = owner === one ? second : first;
      owner.destroy();
      const after = await waiting;
      mustBe(textOf(after.batch) === "m0", `nothing was committed, so m0 comes again; got ${textOf(after.batch)}`);
      other.destroy();
    },
  },
];
