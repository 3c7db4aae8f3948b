import { readFileSync } from "node:fs";

/** What a process has cost so far. */
export interface ProcessUsage {
  /** The most memory that was ever resident, in bytes; undefined where the system does not tell. */
  readonly peakRssBytes: number | undefined;
  /** Time on a processor, user and system, all threads, in milliseconds; undefined where the system does not tell. */
  readonly cpuMs: number | undefined;
}

/** Linux counts a process's time in these, whatever its own clock is: `getconf CLK_TCK`. */
const ticksPerSecond = 100;

/** Reads `/proc` of any living process, so that our own and foreign programs are measured alike. */
export function usageOf(pid: number): ProcessUsage {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    const peakKiB = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1];
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is the program's name in brackets and may contain anything.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const ticks = Number(fields[11]) + Number(fields[12]);
    return {
      peakRssBytes: peakKiB === undefined ? undefined : Number(peakKiB) * 1024,
      cpuMs: Number.isFinite(ticks) ? (ticks * 1000) / ticksPerSecond : undefined,
    };
  } catch {
    return { peakRssBytes: undefined, cpuMs: undefined };
  }
}
