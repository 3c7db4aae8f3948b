import { readdirSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Clock } from "@tidemark/clock";
import { Counter, Gauge, type Registry } from "prom-client";

const resolutionMs = 10;
const minWindowMs = 5_000;

export interface ProcessMetrics {
  /** Reads the current values; called before every rendering. */
  refresh(): void;
  stop(): void;
}

/**
 * The process under the names of prom-client's defaults, so that ready-made dashboards fit. Unlike those they can be
 * switched off, do not count the sampling interval as event-loop delay, and a second scraper does not empty the first
 * one's window.
 */
export function addProcessMetrics(registry: Registry, clock: Clock): ProcessMetrics {
  const registers = [registry];
  const gauge = (name: string, help: string) => new Gauge({ name, help, registers });

  const cpuTotal = new Counter({ name: "process_cpu_seconds_total", help: "CPU time, user and system.", registers });
  const startTime = gauge("process_start_time_seconds", "Start of the process, in seconds since the Unix epoch.");
  const resident = gauge("process_resident_memory_bytes", "Resident memory.");
  const heapTotal = gauge("nodejs_heap_size_total_bytes", "V8 heap, allocated.");
  const heapUsed = gauge("nodejs_heap_size_used_bytes", "V8 heap, used.");
  const external = gauge("nodejs_external_memory_bytes", "Memory outside of the V8 heap, buffers included.");
  const fds = openFds() === undefined ? undefined : gauge("process_open_fds", "Open file descriptors.");
  const resources = new Gauge({
    name: "nodejs_active_resources",
    help: "What keeps the event loop alive, by type.",
    labelNames: ["type"],
    registers,
  });
  const version = new Gauge({
    name: "nodejs_version_info",
    help: "The version of Node.js; always 1.",
    labelNames: ["version"],
    registers,
  });
  const lag = ["p50", "p99", "max"].map((point) =>
    gauge(
      `nodejs_eventloop_lag_${point}_seconds`,
      `How late the event loop was, ${point} since the last scrape that is at least ${minWindowMs / 1000} s ago.`,
    ),
  );

  // oxlint-disable-next-line no-restricted-properties -- the age of the process is a fact about it, not a measurement
  startTime.set(Math.round(clock.now() / 1000 - process.uptime()));
  version.set({ version: process.version }, 1);
  const delays = monitorEventLoopDelay({ resolution: resolutionMs });
  delays.enable();
  let windowSinceMs = clock.monotonic();
  let cpuSeen = 0;

  return {
    refresh() {
      const { user, system } = process.cpuUsage();
      cpuTotal.inc((user + system - cpuSeen) / 1e6);
      cpuSeen = user + system;
      const memory = process.memoryUsage();
      resident.set(memory.rss);
      heapTotal.set(memory.heapTotal);
      heapUsed.set(memory.heapUsed);
      external.set(memory.external);
      fds?.set(openFds() ?? Number.NaN);
      resources.reset();
      for (const type of process.getActiveResourcesInfo()) resources.inc({ type });

      const points = [delays.percentile(50), delays.percentile(99), delays.max];
      // The sampler is a timer: an idle loop shows its interval.
      const lateMs = points.map((ns) => (delays.count === 0 ? 0 : Math.max(0, ns / 1e6 - resolutionMs)));
      for (const [index, late] of lateMs.entries()) lag[index]?.set(late / 1000);
      if (clock.monotonic() - windowSinceMs >= minWindowMs) {
        windowSinceMs = clock.monotonic();
        delays.reset();
      }
    },
    stop() {
      delays.disable();
    },
  };
}

/** Where the system tells (Linux). */
function openFds(): number | undefined {
  try {
    return readdirSync("/proc/self/fd").length - 1;
  } catch {
    return undefined;
  }
}
