// A program of its own: which of its waits keep it alive? The server is in memory and keeps nothing alive.

import { systemClock, systemRng } from "@tidemark/clock";
import { openWriter } from "@tidemark/topic-writer";
import { ModelTopic, noFaults } from "./model-topic.ts";

const [mode] = process.argv.slice(2);
const sleep = systemClock.sleep.bind(systemClock);
const clock = { ...systemClock, sleep: (ms: number) => sleep(ms, { isRef: false }) };
const topic = new ModelTopic({
  clock: Object.assign(Object.create(systemClock) as typeof systemClock, clock),
  rng: systemRng,
});
const writer = await openWriter({ client: topic.client, topic: "orders" });
topic.faults = { ...noFaults, delayMs: 2_000 };
console.log("open");
if (mode !== "idle") {
  if (mode === "ack") await writer.writeAcked("1");
  else writer.write("1");
  if (mode === "flush") await writer.flush();
  if (mode === "close") await writer.close();
  console.log("done");
}
