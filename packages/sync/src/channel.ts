/** What a site sends: one batch of its changes. */
export interface ChannelMessage {
  /** The batch's last generation: above that of the message before, with holes. */
  readonly seqNo: number;
  readonly data: Uint8Array;
}

/** What comes in, from any site, this one included. */
export interface ChannelBatch {
  readonly messages: readonly Uint8Array[];
  /** Messages before these are gone for good without having been delivered. */
  readonly isAfterLoss?: boolean;
  /** Told when everything in it is committed. What was never acknowledged comes again. */
  ack(): Promise<void>;
}

export interface Publisher {
  /** The greatest number of this producer that the channel has; 0: none. */
  readonly lastSeqNo: number;
  /** Resolves when the channel has them durably. One with a number that it has already is dropped there. */
  publish(messages: readonly ChannelMessage[]): Promise<void>;
  close(): Promise<void>;
}

/** What a channel tells of itself while it is used. */
export interface ChannelSigns {
  /** It is in touch, whether or not there is anything to carry. */
  onConnected(): void;
  /** It is not, and tries again by itself. */
  onDisconnected(error: unknown): void;
}

/**
 * What carries the messages of all sites to all sites: at least once, and each producer's in order. Across producers any
 * order will do.
 */
export interface Channel {
  /**
   * `producerId` is for good and has one publisher at a time. `signs` are for as long as there is one; who opened it is in touch
   * then, so a channel that never loses touch without failing need not tell anything.
   */
  openPublisher(producerId: string, signal: AbortSignal, signs?: ChannelSigns): Promise<Publisher>;
  /**
   * Everything that `consumer` has not acknowledged, without an end. Who is told nothing by `signs` takes it to be in touch, after
   * a failure, only when something comes.
   */
  subscribe(consumer: string, signal: AbortSignal, signs?: ChannelSigns): AsyncIterable<ChannelBatch>;
}
