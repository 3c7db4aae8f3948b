import { channel } from "node:diagnostics_channel";

/** Metrics, published for whoever subscribes. Durations are in milliseconds. */
export const channels = {
  /** `{ topic, partitionId, messages, bytes }`: a request went out. */
  frameSent: channel("tidemark:topic-writer.frame.sent"),
  /**
   * `{ topic, partitionId, messages, durationMs }`: the server answered messages; since their request went out.
   * `durationMs` is undefined for those that the handshake of a new stream confirms.
   */
  messagesAcknowledged: channel("tidemark:topic-writer.messages.acknowledged"),
  /** `{ topic, partitionId, frames }`: a new stream got again what the old one did not acknowledge. */
  framesReplayed: channel("tidemark:topic-writer.frames.replayed"),
  /** `{ topic, partitionId, messages }`: what a partition that was split had left went to others. */
  partitionRetired: channel("tidemark:topic-writer.partition.retired"),
} as const;
