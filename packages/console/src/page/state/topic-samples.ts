import type { Topic } from "../../gen/tidemark/admin/v1/admin_pb.ts";
import { addSample, type Sample } from "./samples.ts";

/** What is plotted of one topic. */
interface TopicSamples {
  /** Messages written a second. */
  readonly writtenPerSecond: readonly Sample[];
  /** Messages that a consumer has not committed. */
  readonly lag: ReadonlyMap<string, readonly Sample[]>;
  /** All messages that had been written when it was last read, and when that was. */
  readonly written: bigint;
  readonly atMs: number;
}

export type AllTopicSamples = ReadonlyMap<string, TopicSamples>;

/** Readings closer together than this are one, in milliseconds. */
const shortestMs = 1_000;

/** With a new reading; topics and consumers that are gone are forgotten. */
export function addTopics(all: AllTopicSamples, topics: readonly Topic[], atMs: number): AllTopicSamples {
  return new Map(
    topics.map((topic) => {
      const before = all.get(topic.path);
      // Asked twice in a row: what happened in such a moment says nothing about a second.
      if (before !== undefined && atMs - before.atMs < shortestMs) return [topic.path, before];
      return [
        topic.path,
        {
          writtenPerSecond: addSample(before?.writtenPerSecond ?? [], { atMs, value: rateOf(before, topic, atMs) }),
          lag: new Map(
            topic.consumers.map(({ name, lag }) => [
              name,
              addSample(before?.lag.get(name) ?? [], { atMs, value: Number(lag) }),
            ]),
          ),
          written: topic.written,
          atMs,
        },
      ];
    }),
  );
}

/** From the reading before; not known when that was long ago or was of another topic by this name. */
function rateOf(before: TopicSamples | undefined, topic: Topic, atMs: number): number | undefined {
  if (before === undefined || topic.written < before.written) return undefined;
  const elapsedMs = atMs - before.atMs;
  if (elapsedMs > 15_000) return undefined;
  return (Number(topic.written - before.written) / elapsedMs) * 1_000;
}

/** A hole in every line: nobody knows what happened while the page was not connected. */
export function addHole(all: AllTopicSamples, atMs: number): AllTopicSamples {
  const hole = (samples: readonly Sample[]) =>
    samples.at(-1)?.value === undefined ? samples : addSample(samples, { atMs, value: undefined });
  return new Map(
    [...all].map(([path, samples]) => [
      path,
      {
        ...samples,
        writtenPerSecond: hole(samples.writtenPerSecond),
        lag: new Map([...samples.lag].map(([name, line]) => [name, hole(line)])),
      },
    ]),
  );
}
