// A server that is killed: `node kill-writer.ts DIR` serves DIR, and writes to it through its own store as fast as it can.
// Every acknowledged write is said on stdout before the next one, by producer and number.
import { encodeWriteRequest, scanWriteRequest } from "@tidemark/topic/internal";
import { writeSync } from "node:fs";
import { topicDefaults } from "../src/storage/definition.ts";
import { TopicStore } from "../src/storage/topic-store.ts";

const [dataDir = ""] = process.argv.slice(2);
const store = await TopicStore.open({ dataDir, segmentBytes: 64 * 1024 });
const path = "/local/killed";
await store.createTopic({ ...topicDefaults, path, minActivePartitions: 2 });
const topic = store.topic(path);
if (topic === undefined) throw new Error("no topic");
const producers = ["a", "b", "c"];
for (const [index, name] of producers.entries()) {
  const partition = topic.partitions[index % 2];
  if (partition === undefined) throw new Error("no partition");
  const producer = partition.producer(name);
  let next = Number(producer.lastSeqNo) + 1;
  const more = () => {
    const count = 1 + (next % 7);
    const frame = encodeWriteRequest({
      count,
      seqNos: Array.from({ length: count }, (_, n) => next + n),
      createdAtMs: Array.from({ length: count }, () => Number.NaN),
      data: Array.from({ length: count }, (_, n) =>
        Buffer.from(`${name}${next + n}`.padEnd(50 + (next % 11) * 400, ".")),
      ),
      codec: 1,
    });
    const columns = scanWriteRequest(frame);
    if (columns === undefined) throw new Error("not a request");
    next += count;
    partition.write(columns, producer, new Uint8Array(0), store.clock.now(), {
      onWritten: (write) => {
        writeSync(1, `${name} ${String(write.columns.seqNo(count - 1))}\n`);
        more();
      },
      onWriteFailed: (_write, error) => {
        throw error;
      },
    });
  };
  // Several on their way at once, so that groups form.
  for (let n = 0; n < 4; n++) more();
}
