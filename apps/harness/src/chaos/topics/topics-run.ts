import { type ChaosLoopOptions, type ChaosProgress, chaosLoop, chosenFaults } from "../chaos-loop.ts";
import { type TopicsFaultName, topicsFaults } from "./topics-faults.ts";
import { createTopicsWorld, type TopicsChaosOptions, type TopicsVerified } from "./topics-world.ts";

export type TopicsRunOptions = TopicsChaosOptions & ChaosLoopOptions<TopicsFaultName, TopicsVerified>;

/**
 * Inflicts one fault after the other on a topic service, its writers and its reader, and proves again and again, from the
 * service's files, that every acknowledged message is there once and in order, and that the reader got each.
 *
 * @throws with the findings, the seed and the faults so far.
 */
export async function runTopicsChaos(
  options: TopicsRunOptions,
): Promise<ChaosProgress<TopicsFaultName, TopicsVerified>> {
  const chosen = chosenFaults(topicsFaults, options.only);
  const { world, lacks } = await createTopicsWorld(options, new Set(chosen.flatMap(({ needs }) => needs ?? [])));
  await using subject = world;
  return await chaosLoop(subject, chosen, lacks, options);
}
