// A consumer that somebody moves back, against the service itself.

import { openReader } from "@tidemark/topic-reader";
import { expect, onTestFinished, test } from "vitest";
import { live, write } from "./support/live.ts";

test("a reader whose consumer is moved back reads again from there, and commits from there", async () => {
  const { client } = await live();
  await client.createTopic("orders", { consumers: ["billing"] });
  await write(client, "orders", 10);
  const reader = await openReader({ client, topics: "orders", consumer: "billing" });
  onTestFinished(() => reader.destroy());
  const committed = async () => {
    const { partitions } = await client.describeConsumer("orders", "billing", { stats: true });
    return partitions[0]?.progress?.committedOffset;
  };
  const batch = await reader.receive();
  expect([batch.offset(0), batch.length]).toEqual([0n, 10]);
  await batch.commit();
  expect(await committed()).toBe(10n);

  await client.commitOffset("orders", 0, "billing", 4);
  expect(await committed()).toBe(4n);
  const again = await reader.receive();
  expect([again.offset(0), again.length]).toEqual([4n, 6]);
  await again.commit();
  expect(await committed()).toBe(10n);
});
