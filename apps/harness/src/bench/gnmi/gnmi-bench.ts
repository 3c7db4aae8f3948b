import { conditionsOf } from "../conditions.ts";
import type { Report, ReportSection } from "../report.ts";
import { benchLive } from "./live.ts";
import type { GnmiBenchOptions, GnmiBenchPart } from "./options.ts";
import { benchRate } from "./rate.ts";
import { benchStall } from "./stall.ts";

const parts: Readonly<Record<GnmiBenchPart, (options: GnmiBenchOptions) => Promise<ReportSection>>> = {
  live: benchLive,
  rate: benchRate,
  stall: benchStall,
};

/** Simulated devices on real sockets, followed into SQL. */
export async function benchGnmi(options: GnmiBenchOptions): Promise<Report> {
  const conditions = await conditionsOf({
    devices:
      "each in a process of its own on loopback, on_change, PROTO, one leaf in a notification, 577 leaves each, of which 384 count",
    follower: "one process as `tidemark up` sets it up: a source and a watcher for each device, one history",
    history: "SQLite in WAL mode, synchronous=NORMAL (the default), one writer thread",
    proof:
      "after every run a stranger reads the database: each change of each device is there, once, in order and with its value",
    repetitions: `${options.reps}; medians${options.quick ? "; quick sizes, not for comparison" : ""}`,
  });
  const sections: ReportSection[] = [];
  for (const part of options.parts) sections.push(await parts[part](options));
  return { name: "devices over gNMI", conditions, sections };
}
