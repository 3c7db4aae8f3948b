import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { payloadsOf } from "../bench/topics/payloads.ts";

interface AppendOptions {
  readonly folder: string;
  /** Bytes of one write, which is then synced. */
  readonly groupBytes: number;
  readonly ms: number;
  /** Whether the file has its length and zeros beforehand, so that a sync has no metadata to write. */
  readonly preallocated: boolean;
  readonly sync: boolean;
}

interface Appended {
  readonly groups: number;
  readonly bytes: number;
  readonly ms: number;
}

export type TopicsDiskRole = {
  append(options: AppendOptions): Appended;
};

/** A file does not grow above this; then it is written again from its start. */
const fileBytes = 512 << 20;

/** What the disk itself can do: append, fdatasync, and nothing else. */
export function createTopicsDiskRole(): TopicsDiskRole {
  return { append };
}

function append({ folder, groupBytes, ms, preallocated, sync }: AppendOptions): Appended {
  const file = join(folder, "append.bin");
  const group = payloadsOf(groupBytes)[0] as Buffer;
  const descriptor = openSync(file, "w");
  try {
    if (preallocated) preallocate(descriptor);
    const startedMs = performance.now();
    const untilMs = startedMs + ms;
    let groups = 0;
    let at = 0;
    do {
      if (at + groupBytes > fileBytes) {
        if (!preallocated) break;
        at = 0;
      }
      writeSync(descriptor, group, 0, groupBytes, at);
      if (sync) fdatasyncSync(descriptor);
      at += groupBytes;
      groups++;
    } while (performance.now() < untilMs);
    return { groups, bytes: groups * groupBytes, ms: performance.now() - startedMs };
  } finally {
    closeSync(descriptor);
    rmSync(file, { force: true });
  }
}

function preallocate(descriptor: number): void {
  const zeros = Buffer.alloc(1 << 20);
  for (let at = 0; at < fileBytes; at += zeros.length) writeSync(descriptor, zeros, 0, zeros.length, at);
  fdatasyncSync(descriptor);
}
