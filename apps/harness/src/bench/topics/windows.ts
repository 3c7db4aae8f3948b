/** Windows worth trying for a client that batches: about 2 and 16 MiB of messages, or its own default. */
export function wideWindows(payloadBytes: number): readonly number[] {
  return [2, 16].map((mebibytes) => Math.max(64, Math.floor((mebibytes << 20) / payloadBytes)));
}

/** For one that sends each message alone. */
export const narrowWindows = [1_000, 250, 4_000] as const;

/** For one that puts so many into a request. */
export function batchWindows(batch: number): readonly number[] {
  return batch === 1 ? narrowWindows : [batch * 4, batch * 20];
}

/** For the table. */
export function windowName(window: number | undefined): string {
  return window === undefined ? "default" : String(window);
}
