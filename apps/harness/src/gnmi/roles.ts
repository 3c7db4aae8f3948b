/** How a simulated device of a benchmark is asked to behave, in a process of its own. */
export type GnmiDeviceRole = {
  /** Listens on a free port of this machine with so many interfaces; resolves with the address. */
  listen(interfaces: number): Promise<string>;
  /** Counts so many leaves up in a second, from now on. */
  start(perSecond: number): Promise<void>;
  /** Leaves counted up so far. */
  made(): Promise<number>;
  /** Counts no more. */
  stop(): Promise<DeviceCounted>;
  close(): Promise<void>;
};

/** What a device has done. */
export interface DeviceCounted {
  /** Leaves counted up: the last one's value, too. */
  readonly changes: number;
  /** Since it was last started. */
  readonly ms: number;
  /** How far it was behind its own schedule at most, in milliseconds: then it is the load that is too slow. */
  readonly maxLateMs: number;
}

interface GnmiFollowOptions {
  readonly file: string;
  readonly addresses: readonly string[];
  /** How much longer every commit takes, in milliseconds; 0: as long as it takes. */
  readonly holdMs: number;
}

export interface LoopDelay {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** What the follower's process did between two moments. */
export interface GnmiMeasured {
  readonly ms: number;
  /** Updates that were received. */
  readonly received: number;
  readonly versions: number;
  /** How late the loop that receives comes to things, looked at every millisecond. */
  readonly loop: LoopDelay;
  /** From the device's clock to our hands, of every 32nd change. */
  readonly arrival: LoopDelay;
  /** Processor time of all threads, in milliseconds. */
  readonly cpuMs: number;
  readonly peakRssBytes: number;
  /** The middle of the resident memory in the first and in the last third. */
  readonly earlyRssBytes: number;
  readonly lateRssBytes: number;
  readonly commits: number;
  /** The longest and the shortest commit, the hold included. */
  readonly longestCommitMs: number;
  readonly shortestCommitMs: number;
  /** Commits of one stream that were under way at once, at most. */
  readonly commitsAtOnce: number;
}

/** What must not have happened. */
export interface GnmiTroubles {
  readonly gaps: number;
  readonly drops: number;
  readonly quarantined: number;
  readonly reconnects: number;
  /** The source was asked to wait because memory was full. */
  readonly heldBack: number;
}

/** Follows many devices into one history. */
export type GnmiFollowRole = {
  /** Resolves when every device is live. */
  open(options: GnmiFollowOptions): Promise<void>;
  /** Begins to measure. */
  measure(): Promise<void>;
  measured(): Promise<GnmiMeasured>;
  /** Resolves when so many versions of each stream are committed; with the milliseconds that took. */
  until(versions: readonly number[]): Promise<number>;
  /** Commits take this much longer from now on; one that waits goes on. */
  hold(holdMs: number): Promise<void>;
  troubles(): Promise<GnmiTroubles>;
  /** What is live on the heap and beside it after a collection. */
  heap(): number;
  close(): Promise<void>;
};

/** The name of a device's stream in the history. */
export const deviceName = (index: number) => `device-${index}`;
