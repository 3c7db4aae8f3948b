/** What the command line decides about `bench etcd`. */
export interface EtcdBenchOptions {
  readonly reps: number;
  /** Small sizes and one repetition: whether it works, not how fast. */
  readonly quick: boolean;
  readonly parts: readonly EtcdBenchPart[];
  /** Where CPU profiles of the Tidemark processes go. */
  readonly profileDir?: string;
  /** Told what is going on. */
  readonly say: (line: string) => void;
}

export const etcdBenchParts = ["backlog", "live", "memory", "reopen"] as const;
export type EtcdBenchPart = (typeof etcdBenchParts)[number];

/**
 * What `tidemark up` sets: the young generation does not grow. Node's default suits programs with memory to spare. V8 takes
 * it while it runs and not from the command line.
 */
export const asDaemon = [
  "--import",
  `data:text/javascript,${encodeURIComponent(
    'import { setFlagsFromString } from "node:v8"; import { isMainThread } from "node:worker_threads"; if (isMainThread) setFlagsFromString("--semi-space-growth-factor=1");',
  )}`,
] as const;

/** Arguments of Node for a process that is profiled. */
export function profileArgs({ profileDir }: EtcdBenchOptions): readonly string[] {
  return profileDir === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profileDir}`];
}
