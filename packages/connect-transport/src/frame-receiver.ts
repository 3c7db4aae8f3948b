/** Takes what the peer sends. */
export interface FrameReceiver {
  /**
   * What arrived together, in order; never empty. A frame is one encoded message, a view that is valid for as long as
   * somebody holds it (and keeps up to 64 KiB around it alive). A returned promise holds back the peer until it resolves.
   * A throw or a rejection ends the call with that error.
   */
  frames(frames: readonly Uint8Array[]): void | Promise<void>;
}

/** Sends frames to the peer. */
export interface FrameSender {
  /**
   * Sends one encoded message, whole or in pieces that make it up. What is sent before the event loop moves on
   * travels together. Large pieces are not copied: do not change them afterwards. False: the buffer is full, wait for
   * {@link drained}. Does nothing once the call is over.
   */
  send(frame: Uint8Array | readonly Uint8Array[]): boolean;
  /** Resolves when there is room again, at once if there is. Rejects with the reason when the call is over. */
  drained(): Promise<void>;
}
