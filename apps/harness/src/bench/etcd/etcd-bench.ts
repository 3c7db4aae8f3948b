import { conditionsOf } from "../conditions.ts";
import type { Report, ReportSection } from "../report.ts";
import { benchBacklog } from "./backlog.ts";
import type { EtcdBenchOptions, EtcdBenchPart } from "./bench-options.ts";
import { benchLive } from "./live.ts";
import { benchMemory } from "./memory.ts";
import { benchReopen } from "./reopen.ts";

const parts: Readonly<Record<EtcdBenchPart, (options: EtcdBenchOptions) => Promise<readonly ReportSection[]>>> = {
  backlog: benchBacklog,
  live: benchLive,
  memory: benchMemory,
  reopen: benchReopen,
};

/** A real etcd on this machine, followed into SQL. */
export async function benchEtcd(options: EtcdBenchOptions): Promise<Report> {
  const conditions = await conditionsOf({
    "etcd flags": "one member on loopback, --unsafe-no-fsync",
    history: "SQLite in WAL mode, synchronous=NORMAL (the default), one writer thread, one reader thread",
    repetitions: `${options.reps}, interleaved${options.quick ? "; quick sizes, not for comparison" : ""}`,
  });
  const sections: ReportSection[] = [];
  for (const part of options.parts) sections.push(...(await parts[part](options)));
  return { name: "etcd into SQL history", conditions, sections };
}
