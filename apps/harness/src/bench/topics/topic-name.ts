/** What the name of a topic of the benchmark says about it. */
export interface TopicShape {
  readonly payloadBytes: number;
  readonly partitions: number;
}

/** The server that only counts keeps nothing, so everything it must know about a topic is in the name. */
export function topicName({ payloadBytes, partitions }: TopicShape): string {
  return `bench-${payloadBytes}x${partitions}`;
}

export function shapeOfTopic(path: string): TopicShape {
  const found = /bench-(\d+)x(\d+)$/.exec(path);
  if (found === null) throw new Error(`a topic of the benchmark is named bench-<bytes>x<partitions>, got "${path}"`);
  return { payloadBytes: Number(found[1]), partitions: Number(found[2]) };
}

/** About 100 KiB of messages: what the wire carries best in one frame. */
export function messagesOfFrame(payloadBytes: number): number {
  return Math.max(1, Math.min(1000, Math.floor(102_400 / payloadBytes)));
}

/**
 * How many messages the limit may put into a request: the sizes that a bare connection carries best, of which it takes the
 * better one. The first is what it has where nothing is tried.
 */
export function rawBatches(payloadBytes: number): readonly number[] {
  const large = Math.max(1, Math.floor(262_144 / payloadBytes));
  return payloadBytes < 1_000 ? [messagesOfFrame(payloadBytes), large] : [large, messagesOfFrame(payloadBytes)];
}
