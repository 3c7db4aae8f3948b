import { type Clock, systemClock } from "@tidemark/clock";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { addProcessMetrics } from "./process-metrics.ts";
import { StatusError } from "./status-error.ts";
import { TtlCache, ttlCacheDefaults } from "./ttl-cache.ts";

export interface MetricsOptions {
  /** The label of `tidemark_build_info`. Left out, that series is too. */
  readonly version?: string;
  /**
   * Whether CPU, memory, file descriptors and event-loop delay of the process are measured.
   * @default true
   */
  readonly withProcess?: boolean;
  /** @default systemClock */
  readonly clock?: Clock;
}

/** The defaults of {@link MetricsOptions}. */
export const metricsDefaults = { withProcess: true } as const satisfies Partial<Required<MetricsOptions>>;

/** What a metric is called and tells. */
export interface MetricOptions<Label extends string> {
  /** Prometheus style, with the base unit at the end: `tidemark_stream_lag_seconds`. */
  readonly name: string;
  readonly help: string;
  readonly labelNames?: readonly Label[];
}

/** Values that must be asked for before they can be rendered. */
export interface MetricSource<T> {
  /** The label of `tidemark_metrics_source_up`. */
  readonly name: string;
  /** Reads the values. The signal aborts when the time is up. */
  readonly read: (signal: AbortSignal) => T | Promise<T>;
  /** Puts them into metrics, synchronously. Reset there what may have vanished. */
  readonly write: (value: T) => void;
  /** Called instead of `write` when reading failed: takes away what would be stale. */
  readonly clear: () => void;
  /**
   * How long a value is served without reading again, in milliseconds.
   * @default 1_000
   */
  readonly ttlMs?: number;
  /**
   * How long reading may take, in milliseconds.
   * @default 2_000
   */
  readonly timeoutMs?: number;
}

/** Metrics of one daemon in a registry of their own: two of them in one process do not see each other. */
export class Metrics {
  /** For what the methods here do not cover. */
  readonly registry: Registry = new Registry();
  readonly #clock: Clock;
  readonly #up: Gauge<"source">;
  readonly #sources = new Map<string, () => Promise<() => void>>();
  readonly #process: ReturnType<typeof addProcessMetrics> | undefined;

  constructor(options: MetricsOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#up = this.gauge({
      name: "tidemark_metrics_source_up",
      help: "Whether the last reading of a source of metrics worked; where it is 0, its series are left out.",
      labelNames: ["source"],
    });
    if (options.version !== undefined) {
      const help = "The version that is running; always 1.";
      this.gauge({ name: "tidemark_build_info", help, labelNames: ["version"] }).set({ version: options.version }, 1);
    }
    const withProcess = options.withProcess ?? metricsDefaults.withProcess;
    this.#process = withProcess ? addProcessMetrics(this.registry, this.#clock) : undefined;
  }

  /** The media type of `render`'s text. */
  get contentType(): string {
    return this.registry.contentType;
  }

  /** @throws {StatusError} `OPTIONS_INVALID` for a name that is invalid or taken; so do the next two. */
  counter<Label extends string = never>(options: MetricOptions<Label>): Counter<Label> {
    return this.#create(() => new Counter({ ...shared(options), registers: [this.registry] }));
  }

  gauge<Label extends string = never>(options: MetricOptions<Label>): Gauge<Label> {
    return this.#create(() => new Gauge({ ...shared(options), registers: [this.registry] }));
  }

  /** `buckets` are upper bounds in the unit of the name, growing. */
  histogram<Label extends string = never>(
    options: MetricOptions<Label> & { readonly buckets: readonly number[] },
  ): Histogram<Label> {
    const buckets = [...options.buckets];
    return this.#create(() => new Histogram({ ...shared(options), buckets, registers: [this.registry] }));
  }

  /**
   * Adds values that are read when somebody asks. A source that fails or hangs takes away its own series and shows as
   * `tidemark_metrics_source_up 0`; all others are rendered as ever.
   *
   * @throws {StatusError} `OPTIONS_INVALID` when the name is taken.
   */
  addSource<T>(source: MetricSource<T>): void {
    const { name, read, write, clear } = source;
    if (this.#sources.has(name)) throw new StatusError("OPTIONS_INVALID", `The metric source "${name}" exists already`);
    const cache = new TtlCache({
      name: `The metric source "${name}"`,
      load: read,
      ttlMs: source.ttlMs ?? ttlCacheDefaults.ttlMs,
      timeoutMs: source.timeoutMs ?? ttlCacheDefaults.timeoutMs,
      clock: this.#clock,
    });
    const failed = () => {
      clear();
      this.#up.set({ source: name }, 0);
    };
    this.#sources.set(name, async () => {
      try {
        const value = await cache.get();
        return () => {
          try {
            write(value);
            this.#up.set({ source: name }, 1);
          } catch {
            failed();
          }
        };
      } catch {
        return failed;
      }
    });
  }

  /** All metrics in Prometheus' text format. */
  async render(): Promise<string> {
    const writes = await Promise.all([...this.#sources.values()].map((read) => read()));
    // From here to the return nothing waits, so that renderings at the same time cannot see each other's writes.
    for (const write of writes) write();
    this.#process?.refresh();
    return await this.registry.metrics();
  }

  /** Stops measuring the process. */
  close(): void {
    this.#process?.stop();
  }

  #create<M>(create: () => M): M {
    try {
      return create();
    } catch (error) {
      const said = error instanceof Error ? error.message : String(error);
      throw new StatusError("OPTIONS_INVALID", said, { cause: error });
    }
  }
}

const shared = <Label extends string>({ name, help, labelNames = [] }: MetricOptions<Label>) => ({
  name,
  help,
  labelNames: [...labelNames],
});
