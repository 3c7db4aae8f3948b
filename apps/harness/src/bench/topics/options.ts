/** What the command line decides about `bench topics`. */
export interface TopicsBenchOptions {
  readonly reps: number;
  /** Short runs and one repetition: whether it works, not how fast. */
  readonly quick: boolean;
  readonly parts: readonly TopicsBenchPart[];
  /** Where CPU profiles of our own processes go. */
  readonly profileDir?: string;
  /** The program of NATS. */
  readonly natsServer: string;
  /** Told what is going on. */
  readonly say: (line: string) => void;
}

export const topicsBenchParts = ["write", "latency", "read", "far", "memory", "server", "frames", "codec"] as const;
export type TopicsBenchPart = (typeof topicsBenchParts)[number];

/** Arguments of Node for a process of ours that is profiled. */
export function profileArgs({ profileDir }: TopicsBenchOptions): readonly string[] {
  return profileDir === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profileDir}`];
}

/** How long one run of a contender writes or reads, after it has warmed up. */
export function runMs({ quick }: TopicsBenchOptions): number {
  return quick ? 250 : 1_200;
}

export const warmUpMs = ({ quick }: TopicsBenchOptions) => (quick ? 150 : 500);

export const sizes = [100, 1_024, 10_240] as const;

/** `100 B`, `1 KiB`. */
export function sizeName(bytes: number): string {
  return bytes % 1024 === 0 ? `${bytes / 1024} KiB` : `${bytes} B`;
}
