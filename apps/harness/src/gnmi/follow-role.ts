import { createHistogram, monitorEventLoopDelay, type RecordableHistogram } from "node:perf_hooks";
import { type GnmiSource, gnmiSource } from "@tidemark/source-gnmi";
import { type History, openHistory, openWatcher, type Watcher } from "@tidemark/store-watch";
import type { Source } from "@tidemark/store-watch/contract";
import { liveHeapBytes } from "../process/live-heap.ts";
import { monotonicMs } from "../process/monotonic.ts";
import { usageOf } from "../process/process-usage.ts";
import { HeldHistory } from "./held-history.ts";
import { deviceName, type GnmiFollowRole, type LoopDelay } from "./roles.ts";

const rssEveryMs = 200;

/** The whole path: Subscribe streams of many devices, a watcher for each, and one committed SQL history. */
export function createGnmiFollowRole(): GnmiFollowRole {
  const sources: GnmiSource[] = [];
  const watchers: Watcher[] = [];
  let heldBack = 0;
  let history: History | undefined;
  let held = new HeldHistory(0);
  const loop = monitorEventLoopDelay({ resolution: 1 });
  const arrival: RecordableHistogram = createHistogram();
  let rss: number[] = [];
  let sampling: NodeJS.Timeout | undefined;
  let begun = { ms: 0, received: 0, versions: 0, cpuMs: 0 };

  const sum = <T>(from: readonly T[], value: (each: T) => number) => from.reduce((all, each) => all + value(each), 0);
  const now = () => ({
    ms: monotonicMs(),
    received: sum(sources, (source) => source.stats().updates),
    versions: sum(watchers, (watcher) => watcher.status().versions),
    cpuMs: usageOf(process.pid).cpuMs ?? Number.NaN,
  });

  return {
    async open({ file, addresses, holdMs }) {
      held = new HeldHistory(holdMs);
      history = await openHistory({ file });
      for (const [index, address] of addresses.entries()) {
        const source = gnmiSource({ address, subscriptions: [{ path: "/" }] });
        const watcher = await openWatcher({
          source: timed(source, arrival),
          history: held.of(history),
          name: deviceName(index),
        });
        sources.push(source);
        watchers.push(watcher);
        void countHeldBack(watcher, () => heldBack++);
      }
      await Promise.all(watchers.map((watcher) => untilHolds(watcher, () => watcher.status().versions > 0)));
    },

    async measure() {
      loop.reset();
      loop.enable();
      arrival.reset();
      held.commitMs.length = 0;
      rss = [];
      sampling = setInterval(() => rss.push(process.memoryUsage.rss()), rssEveryMs);
      begun = now();
    },

    async measured() {
      loop.disable();
      clearInterval(sampling);
      const end = now();
      const third = Math.ceil(rss.length / 3);
      const commitMs = [...held.commitMs];
      return {
        ms: end.ms - begun.ms,
        received: end.received - begun.received,
        versions: end.versions - begun.versions,
        cpuMs: end.cpuMs - begun.cpuMs,
        loop: delayOf(loop, 1e6),
        arrival: delayOf(arrival, 1),
        peakRssBytes: Math.max(...rss),
        earlyRssBytes: middle(rss.slice(0, third)),
        lateRssBytes: middle(rss.slice(-third)),
        commits: commitMs.length,
        longestCommitMs: Math.max(...commitMs),
        shortestCommitMs: Math.min(...commitMs),
        commitsAtOnce: held.atOnce,
      };
    },

    async until(versions) {
      const startedMs = monotonicMs();
      await Promise.all(
        watchers.map((watcher, index) =>
          untilHolds(watcher, () => watcher.status().versions >= (versions[index] ?? 0)),
        ),
      );
      return monotonicMs() - startedMs;
    },

    async hold(holdMs) {
      held.hold(holdMs);
    },

    async troubles() {
      const statuses = watchers.map((watcher) => watcher.status());
      return {
        gaps: sum(statuses, ({ gaps }) => gaps),
        drops: sum(statuses, ({ drops }) => drops),
        quarantined: sum(statuses, ({ quarantined }) => quarantined),
        reconnects: sum(statuses, ({ reconnects }) => reconnects),
        heldBack,
      };
    },

    heap: liveHeapBytes,

    async close() {
      await Promise.all(watchers.map((watcher) => watcher.close()));
      await history?.close();
    },
  };
}

/** Looks at the time that every 32nd change has taken from the device's clock; both are clocks of this machine. */
function timed(source: Source, arrival: RecordableHistogram): Source {
  let seen = 0;
  return {
    kind: source.kind,
    description: source.description,
    scope: source.scope,
    capabilities: source.capabilities,
    run: (from, sink, signal) =>
      source.run(
        from,
        {
          write: (frame) => {
            if (frame.type === "change" && (++seen & 31) === 0 && frame.sourceTimeMs !== undefined) {
              // A histogram begins at 1.
              arrival.record(Math.max(1, Math.round(Date.now() - frame.sourceTimeMs)));
            }
            return sink.write(frame);
          },
          ready: (given) => sink.ready(given),
          alive: () => sink.alive(),
          status: (status) => sink.status(status),
        },
        signal,
      ),
  };
}

async function untilHolds(watcher: Watcher, holds: () => boolean): Promise<void> {
  const events = watcher.events();
  if (holds()) return;
  for await (const _ of events) if (holds()) return;
  throw new Error(`${watcher.name} ended too early: ${watcher.status().reason}`);
}

async function countHeldBack(watcher: Watcher, onHeldBack: () => void): Promise<void> {
  for await (const event of watcher.events()) if (event.type === "held-back" && event.isHeldBack) onHeldBack();
}

function delayOf(histogram: Pick<RecordableHistogram, "percentile" | "max">, perMs: number): LoopDelay {
  const at = (percent: number) => histogram.percentile(percent) / perMs;
  return { p50Ms: at(50), p99Ms: at(99), maxMs: histogram.max / perMs };
}

function middle(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}
