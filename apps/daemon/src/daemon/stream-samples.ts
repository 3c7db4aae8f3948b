import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Clock, Timer } from "@tidemark/clock";
import type { WatcherStatus } from "@tidemark/store-watch";
import type { SamplesResponseSchema } from "../gen/tidemark/admin/v1/admin_pb.ts";

/** How often is looked, and how many readings are kept: 15 minutes. */
const intervalMs = 2_000;
const kept = 450;

interface Reading {
  readonly atMs: number;
  readonly streams: ReadonlyMap<string, { readonly perSecond: number; readonly lagMs: number }>;
}

/** Throughput and lag of all streams over the last minutes, in memory. */
export class StreamSamples {
  readonly #watchers: () => readonly Pick<WatcherStatus, "name" | "changesPerSecond" | "lag">[];
  readonly #clock: Clock;
  readonly #readings: Reading[] = [];
  #timer: Timer | undefined;

  constructor(watchers: () => readonly Pick<WatcherStatus, "name" | "changesPerSecond" | "lag">[], clock: Clock) {
    this.#watchers = watchers;
    this.#clock = clock;
  }

  start(): void {
    const streams = this.#watchers().map(
      ({ name, changesPerSecond, lag }) =>
        [name, { perSecond: changesPerSecond, lagMs: lag.p99Ms ?? Number.NaN }] as const,
    );
    this.#readings.push({ atMs: this.#clock.now(), streams: new Map(streams) });
    if (this.#readings.length > kept) this.#readings.shift();
    this.#timer = this.#clock.setTimer(intervalMs, () => this.start());
    this.#timer.unref();
  }

  close(): void {
    this.#timer?.cancel();
  }

  read(): MessageInitShape<typeof SamplesResponseSchema> {
    const names = new Set(this.#readings.flatMap(({ streams }) => [...streams.keys()]));
    return {
      atMs: this.#readings.map(({ atMs }) => BigInt(Math.trunc(atMs))),
      streams: [...names].map((name) => ({
        name,
        changesPerSecond: this.#readings.map(({ streams }) => streams.get(name)?.perSecond ?? Number.NaN),
        lagP99Ms: this.#readings.map(({ streams }) => streams.get(name)?.lagMs ?? Number.NaN),
      })),
    };
  }
}
