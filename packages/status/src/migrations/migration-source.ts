import { type Clock, systemClock } from "@tidemark/clock";
import { errorText } from "../error-text.ts";
import { StatusError } from "../status-error.ts";
import { TtlCache, ttlCacheDefaults } from "../ttl-cache.ts";
import { type AsyncMigration, toAsyncMigration } from "./async-migration.ts";
import type { MigrationSample } from "./migration-sample.ts";

export interface MigrationSourceOptions {
  /** Reads all migrations: `() => migrations.list()`. An empty list where there are none. The signal aborts when the time is up. */
  readonly read: (signal: AbortSignal) => readonly MigrationSample[] | Promise<readonly MigrationSample[]>;
  /**
   * How long what was read is shown again, in milliseconds, at least 0. A worker that falls silent meanwhile shows all
   * the same.
   * @default 1_000
   */
  readonly ttlMs?: number;
  /**
   * How long reading may take, in milliseconds, above 0.
   * @default 2_000
   */
  readonly timeoutMs?: number;
  /** Called with each error of reading, for a log; also once when it takes too long. It must not throw. */
  readonly onError?: (error: unknown) => void;
  /** @default systemClock */
  readonly clock?: Clock;
}

/** How migrations stand, or why that cannot be told. */
export type MigrationReading =
  | {
      readonly migrations: readonly AsyncMigration[];
      readonly samples: readonly MigrationSample[];
      readonly error?: undefined;
    }
  | { readonly migrations?: undefined; readonly error: string };

/** One view of the migrations for all who show them. */
export interface MigrationSource {
  /** Never rejects: what cannot be read is a reading that says so, and is not remembered. */
  current(): Promise<MigrationReading>;
}

/**
 * Reads migrations for `createStatus` and `addMigrationMetrics`: at most once at a time and once in a while, however many
 * ask.
 *
 * @throws {StatusError} `OPTIONS_INVALID`
 */
export function createMigrationSource(options: MigrationSourceOptions): MigrationSource {
  const { read, onError, clock = systemClock } = options;
  const told = new WeakSet<StatusError>();
  const tell = (error: unknown) => {
    // Whoever waited gets the same one, and a read that listens to its signal rejects with it.
    if (StatusError.is(error) && error.code === "TIMEOUT") {
      if (told.has(error)) return;
      told.add(error);
    }
    onError?.(error);
  };
  const cache = new TtlCache({
    name: "The list of migrations",
    async load(signal) {
      try {
        const readMs = clock.monotonic();
        const samples: unknown = await read(signal);
        if (!Array.isArray(samples)) {
          throw new TypeError(`expected a list of migrations, got ${samples === null ? "null" : typeof samples}`);
        }
        return { readMs, samples: samples as readonly MigrationSample[] };
      } catch (error) {
        tell(error);
        throw error;
      }
    },
    ttlMs: options.ttlMs ?? ttlCacheDefaults.ttlMs,
    timeoutMs: options.timeoutMs ?? ttlCacheDefaults.timeoutMs,
    clock,
  });
  return {
    async current() {
      try {
        const { samples, readMs } = await cache.get();
        const ageMs = clock.monotonic() - readMs;
        return { samples, migrations: samples.map((sample) => toAsyncMigration(sample, ageMs)) };
      } catch (error) {
        if (StatusError.is(error) && error.code === "TIMEOUT") tell(error);
        return { error: errorText(error) };
      }
    },
  };
}
