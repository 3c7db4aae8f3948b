import type { Metrics } from "./metrics.ts";

/** What is known of one stream at the moment of a scrape. Totals count since the stream exists, or since the start. */
export interface StreamSample {
  readonly name: string;
  /** Kind of source, for example `etcd`. */
  readonly kind: string;
  /** One of the states given to {@link addStreamMetrics}; another one is shown too. */
  readonly state: string;
  /** Whether something is wrong that a person should know of. */
  readonly hasProblem: boolean;
  readonly keys: number | bigint;
  readonly versions: number | bigint;
  readonly gaps: number | bigint;
  /** Changes set aside and not yet resolved. */
  readonly quarantined: number | bigint;
  readonly reconnects: number | bigint;
  /** Changes lost. Anything above 0 is a bug or a disaster. */
  readonly drops: number | bigint;
  /** Changes that were known already. */
  readonly duplicates: number | bigint;
  /** Bytes taken in and not yet committed. */
  readonly inflightBytes: number | bigint;
  /** In milliseconds since the Unix epoch, like the next. */
  readonly lastFrameAtMs?: number | bigint | undefined;
  readonly lastCommitAtMs?: number | bigint | undefined;
}

export interface StreamMetricsOptions {
  /** Reads all streams; called at a scrape. A rejection takes the series away until it works again. */
  readonly read: (signal: AbortSignal) => readonly StreamSample[] | Promise<readonly StreamSample[]>;
  /**
   * Every state a stream can be in; each gets a series of 0 or 1.
   * @default the states of `StreamStatus.state` in tidemark/admin/v1
   */
  readonly states?: readonly string[];
  /**
   * How long what was read is served again, in milliseconds.
   * @default 1_000
   */
  readonly ttlMs?: number;
}

/** One commit, as the watcher measures it. */
export interface CommitObservation {
  /** Time between taking the oldest change of the batch in and its commit, in milliseconds. */
  readonly lagMs: number;
  /** Time in SQL, in milliseconds. */
  readonly commitMs: number;
  /** New versions made. */
  readonly versions: number;
}

export interface StreamMetrics {
  /** Call it for every commit. */
  observeCommit(stream: string, commit: CommitObservation): void;
}

const defaultStates = ["starting", "snapshotting", "live", "reconnecting", "quarantined", "stopped"];
const latencyBuckets = [0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/**
 * The gauges, counters and histograms of followed streams.
 *
 * @throws {StatusError} `OPTIONS_INVALID` when called twice for the same metrics.
 */
export function addStreamMetrics(metrics: Metrics, options: StreamMetricsOptions): StreamMetrics {
  const states = options.states ?? defaultStates;
  const gauge = (name: string, help: string) =>
    metrics.gauge({ name: `tidemark_stream_${name}`, help, labelNames: ["stream"] });
  const counter = (name: string, help: string) =>
    metrics.counter({ name: `tidemark_stream_${name}_total`, help, labelNames: ["stream"] });

  const info = metrics.gauge({
    name: "tidemark_stream_info",
    help: "The kind of source a stream follows; always 1.",
    labelNames: ["stream", "kind"],
  });
  const state = metrics.gauge({
    name: "tidemark_stream_state",
    help: "1 for the state the stream is in, 0 for all others.",
    labelNames: ["stream", "state"],
  });
  const gauges = [
    [gauge("problem", "1 while something is wrong that a person should know of."), (s) => (s.hasProblem ? 1 : 0)],
    [gauge("keys", "Live keys in the replica."), (s) => s.keys],
    [gauge("versions", "Versions in the history; pruning takes some away."), (s) => s.versions],
    [gauge("quarantined", "Changes set aside and not yet resolved."), (s) => s.quarantined],
    [gauge("inflight_bytes", "Bytes taken in and not yet committed."), (s) => s.inflightBytes],
    [gauge("last_frame_timestamp_seconds", "Last sign of life of the source."), (s) => seconds(s.lastFrameAtMs)],
    [gauge("last_commit_timestamp_seconds", "Last commit of the stream."), (s) => seconds(s.lastCommitAtMs)],
  ] satisfies readonly Series<ReturnType<typeof gauge>>[];
  const counters = [
    [counter("gaps", "Times in which history was lost at the source."), (s) => s.gaps],
    [counter("reconnects", "Reconnects to the source."), (s) => s.reconnects],
    [counter("drops", "Changes lost by this process; must stay 0."), (s) => s.drops],
    [counter("duplicates", "Changes that were known already."), (s) => s.duplicates],
  ] satisfies readonly Series<ReturnType<typeof counter>>[];
  const lag = metrics.histogram({
    name: "tidemark_stream_lag_seconds",
    help: "Time between taking a change in and its commit; the oldest change of every batch.",
    labelNames: ["stream"],
    buckets: latencyBuckets,
  });
  const commit = metrics.histogram({
    name: "tidemark_stream_commit_seconds",
    help: "Time in SQL of every batch.",
    labelNames: ["stream"],
    buckets: latencyBuckets,
  });
  const committed = counter("committed_versions", "Versions committed since the start.");

  const clear = () => {
    info.reset();
    state.reset();
    for (const [metric] of [...gauges, ...counters]) metric.reset();
  };

  metrics.addSource({
    name: "streams",
    read: options.read,
    ...(options.ttlMs === undefined ? {} : { ttlMs: options.ttlMs }),
    clear,
    write: (samples) => {
      clear();
      for (const sample of samples) {
        const stream = sample.name;
        info.set({ stream, kind: sample.kind }, 1);
        for (const name of new Set([...states, sample.state]))
          state.set({ stream, state: name }, +(name === sample.state));
        for (const [metric, value] of gauges) {
          const current = value(sample);
          if (current !== undefined) metric.set({ stream }, Number(current));
        }
        for (const [metric, value] of counters) metric.inc({ stream }, Number(value(sample)));
      }
    },
  });

  return {
    observeCommit(stream, { lagMs, commitMs, versions }) {
      lag.observe({ stream }, lagMs / 1000);
      commit.observe({ stream }, commitMs / 1000);
      committed.inc({ stream }, versions);
    },
  };
}

type Series<M> = readonly [metric: M, value: (sample: StreamSample) => number | bigint | undefined];

const seconds = (ms: number | bigint | undefined) => (ms === undefined ? undefined : Number(ms) / 1000);
