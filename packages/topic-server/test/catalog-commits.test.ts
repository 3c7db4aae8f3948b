import { cpSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "@tidemark/clock";
import { expect, test } from "vitest";
import { CatalogCommits, type CommitTarget } from "../src/storage/catalog-commits.ts";
import { Topic } from "../src/storage/topic.ts";
import { TopicServerError } from "../src/index.ts";
import {
  acceptPartition,
  commit,
  expectRead,
  message,
  openRead,
  openTestServer,
  openWrite,
  rawClient,
  readMessages,
  temporaryFolder,
  write,
} from "./support.ts";

const path = "/local/t";

/** A catalogue on a disk that takes as long as it is told to. */
function heldTarget() {
  const committed: { readonly offsets: number[]; readonly bindings: string[] }[] = [];
  const syncs: PromiseWithResolvers<void>[] = [];
  let arrived = Promise.withResolvers<void>();
  const target: CommitTarget = {
    partitionOf: () => undefined,
    commit: (offsets, bindings) => {
      committed.push({ offsets: offsets.map(({ offset }) => offset), bindings: bindings.map((each) => each.producer) });
    },
    sync: () => {
      const sync = Promise.withResolvers<void>();
      syncs.push(sync);
      arrived.resolve();
      return sync.promise;
    },
  };
  return {
    target,
    committed,
    /** The disk is asked. */
    async asked(): Promise<PromiseWithResolvers<void>> {
      if (syncs.length === 0) await arrived.promise;
      arrived = Promise.withResolvers();
      return syncs.shift() as PromiseWithResolvers<void>;
    },
  };
}

const topicOf = () => new Topic(1, 0, { path, consumers: [{ name: "c" }] } as never, [], new Map());

test("what comes in one turn is one transaction, what comes meanwhile is the next, and both are told in order", async () => {
  const { target, committed, asked } = heldTarget();
  const commits = new CatalogCommits(target, systemClock);
  const topic = topicOf();
  const told: string[] = [];
  const tell = (what: string) => (error?: Error) => void told.push(`${what}${error === undefined ? "" : " lost"}`);
  commits.add(topic, "c", 0, 3, tell("offset 3"));
  void commits.bind(topic, "p", 7).then(() => told.push("p"));
  commits.add(topic, "gone", 0, 9, tell("offset of nobody"));
  // Who comes next knows what is on its way.
  expect(commits.partitionOf(topic, "p")).toBe(7);
  const first = await asked();
  commits.add(topic, "c", 0, 4, tell("offset 4"));
  void commits.bind(topic, "q", 8).then(() => told.push("q"));
  expect(told).toEqual([]);
  first.resolve();
  const second = await asked();
  expect(told).toEqual(["offset 3", "offset of nobody", "p"]);
  second.resolve();
  await commits.flush();
  expect(told.slice(3)).toEqual(["offset 4", "q"]);
  expect(committed).toEqual([
    { offsets: [3], bindings: ["p"] },
    { offsets: [4], bindings: ["q"] },
  ]);
  expect(topic.committedOffset("c", 0)).toBe(4);
});

test("a disk that fails is told to those who wait, and the next ones are tried again", async () => {
  const { target, asked } = heldTarget();
  const commits = new CatalogCommits(target, systemClock);
  const topic = topicOf();
  const failed = commits.bind(topic, "p", 0).catch((error: unknown) => error);
  (await asked()).reject(new TopicServerError("DISK_FAILED", "Could not sync"));
  expect(TopicServerError.is(await failed)).toBe(true);
  const again = commits.bind(topic, "p", 0);
  (await asked()).resolve();
  await again;
});

test("an offset that was acknowledged, and where a producer was bound, is in the files at that moment", async () => {
  const dataDir = temporaryFolder();
  const client = rawClient(await openTestServer({ dataDir }));
  await client.createTopic(path, { partitioningSettings: { minActivePartitions: 20n } });
  const { stream: writer } = await openWrite(client, path, "p", 13);
  await write(writer, [message(1), message(2)]);
  const { stream } = await openRead(client, path, { partitionIds: [13] });
  const { id } = await acceptPartition(stream);
  await readMessages(stream, 2);
  void commit(stream, id, 0, 2);
  await expectRead(stream, "commitOffsetResponse");
  // As a crash would find them.
  const copy = join(temporaryFolder(), "copy");
  cpSync(dataDir, copy, { recursive: true });
  const later = rawClient(await openTestServer({ dataDir: copy }));
  expect((await openWrite(later, path, "p")).init).toMatchObject({ partitionId: 13n, lastSeqNo: 2n });
  const { stream: reader } = await openRead(later, path, { partitionIds: [13] });
  expect((await acceptPartition(reader)).committedOffset).toBe(2n);
});
