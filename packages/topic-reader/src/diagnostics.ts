import { channel } from "node:diagnostics_channel";

/** Metrics, published for whoever subscribes. */
export const channels = {
  /** `{ topic, partitionId, messages }`: a batch was handed to the program. */
  batchDelivered: channel("tidemark:topic-reader.batch.delivered"),
  /** `{ topic, partitionId, committedOffset }`: the server has committed everything below it. */
  commitAcknowledged: channel("tidemark:topic-reader.commit.acknowledged"),
  /** `{ topic, partitionId }` */
  partitionStarted: channel("tidemark:topic-reader.partition.started"),
  /** `{ topic, partitionId, reason }` */
  partitionStopped: channel("tidemark:topic-reader.partition.stopped"),
  /** `{ bytes, available }`: the server was granted more bytes. */
  creditGranted: channel("tidemark:topic-reader.credit.granted"),
} as const;
