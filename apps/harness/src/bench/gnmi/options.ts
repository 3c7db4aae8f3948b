/** What the command line decides about `bench gnmi`. */
export interface GnmiBenchOptions {
  readonly reps: number;
  /** Few devices, short runs and one repetition: whether it works, not how fast. */
  readonly quick: boolean;
  readonly parts: readonly GnmiBenchPart[];
  /** Where CPU profiles of the follower and of one device go. */
  readonly profileDir?: string;
  /** Told what is going on. */
  readonly say: (line: string) => void;
}

export const gnmiBenchParts = ["live", "rate", "stall"] as const;
export type GnmiBenchPart = (typeof gnmiBenchParts)[number];

/** Arguments of Node for a process that is profiled. */
export function profileArgs({ profileDir }: GnmiBenchOptions): readonly string[] {
  return profileDir === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profileDir}`];
}
