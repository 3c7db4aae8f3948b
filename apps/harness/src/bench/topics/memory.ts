import type { TopicsReadRole } from "../../roles/topics-read-role.ts";
import type { TopicsSinkRole } from "../../roles/topics-sink-role.ts";
import type { TopicsWriteRole } from "../../roles/topics-write-role.ts";
import { count, mebibytes, type ReportGoal, type ReportRow, type ReportSection } from "../report.ts";
import { median } from "../stats.ts";
import { profileArgs, type TopicsBenchOptions } from "./options.ts";
import { MeasuredRole } from "./roles.ts";
import { topicName } from "./topic-name.ts";

const payloadBytes = 100;
const steps = 10;

interface HeapRun {
  readonly name: string;
  /** After each tenth of the messages, with the garbage collected. */
  readonly heapBytes: readonly number[];
  readonly peakRssBytes: number;
}

/** Whether a writer and a reader need more memory the longer they run. */
export async function benchMemory(options: TopicsBenchOptions): Promise<readonly ReportSection[]> {
  const messages = options.quick ? 500_000 : 10_000_000;
  options.say(`memory: ${count(messages)} messages of ${payloadBytes} B`);
  const runs = [await writeHeap(messages, options), await readHeap(messages, options)];
  const rows = runs.map(
    ({ name, heapBytes, peakRssBytes }): ReportRow => ({
      name,
      cells: [...[0, 4, 9].map((step) => mebibytesOf(heapBytes[step])), mebibytes(peakRssBytes)],
    }),
  );
  return [
    {
      title: `Memory over ${count(messages)} messages of ${payloadBytes} B`,
      notes: [
        "V8's heap and what it holds outside of it (buffers), after a collection that was asked for. The reader has a buffer of 1 MiB.",
      ],
      columns: ["after a tenth", "after half", "after all", "peak RSS"],
      rows,
      goals: runs.map(goalOf),
      raw: runs,
    },
  ];
}

/**
 * Flat: the last three of ten measurements are not above the second to fourth by more than a tenth or 4 MiB. Medians,
 * because what is on its way at one moment is up to some MiB.
 */
function goalOf({ name, heapBytes }: HeapRun): ReportGoal {
  const early = median(heapBytes.slice(1, 4));
  const growth = median(heapBytes.slice(-3)) - early;
  const isFlat = growth <= Math.max(4 << 20, early / 10);
  return {
    name: `flat heap, ${name}`,
    gate: "≤ 4 MiB or 10 %",
    goal: "≤ 4 MiB or 10 %",
    measured: `${(growth / 2 ** 20).toFixed(1)} MiB more`,
    isMet: isFlat,
    passesGate: isFlat,
  };
}

const mebibytesOf = (bytes: number | undefined) => `${((bytes ?? Number.NaN) / 2 ** 20).toFixed(1)} MiB`;

async function writeHeap(messages: number, options: TopicsBenchOptions): Promise<HeapRun> {
  await using server = await MeasuredRole.start<TopicsSinkRole>("topics-sink");
  const { port } = await server.role.call("listen");
  await using client = await MeasuredRole.start<TopicsWriteRole>("topics-write", heapArgs(options));
  const topic = topicName({ payloadBytes, partitions: 1 });
  await client.role.call("open", { writer: "tidemark", port, topic, partitions: 1, window: 100_000 });
  const heapBytes: number[] = [];
  for (let step = 0; step < steps; step++) {
    const job = { mode: "plain", payloadBytes, messages: messages / steps, window: 100_000, batch: 1 } as const;
    await client.role.call("write", job);
    heapBytes.push(await client.role.call("heap"));
  }
  return ended(client, "writer", heapBytes);
}

async function readHeap(messages: number, options: TopicsBenchOptions): Promise<HeapRun> {
  await using server = await MeasuredRole.start<TopicsSinkRole>("topics-sink");
  const { port } = await server.role.call("listen");
  await using client = await MeasuredRole.start<TopicsReadRole>("topics-read", heapArgs(options));
  const topic = topicName({ payloadBytes, partitions: 1 });
  // What a buffer of the default size holds at the moment of a measurement would be more than what is looked for.
  await client.role.call("open", { reader: "tidemark", port, topic, partitions: 1, bufferBytes: 1 << 20 });
  const heapBytes: number[] = [];
  for (let step = 0; step < steps; step++) {
    for (let read = 0; read < messages / steps; ) {
      read += (await client.role.call("read", { ms: 50, objects: true })).messages;
    }
    heapBytes.push(await client.role.call("heap"));
  }
  return ended(client, "reader", heapBytes);
}

function heapArgs(options: TopicsBenchOptions) {
  return { nodeArgs: ["--expose-gc", ...profileArgs(options)] };
}

async function ended(
  client: MeasuredRole<TopicsWriteRole> | MeasuredRole<TopicsReadRole>,
  name: string,
  heapBytes: readonly number[],
): Promise<HeapRun> {
  const { peakRssBytes } = client.cost();
  await client.role.release();
  return { name, heapBytes, peakRssBytes };
}
