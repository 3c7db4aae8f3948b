import { createHash } from "node:crypto";
import { type Rng, systemRng } from "@tidemark/clock";
import type { BackoffOptions, ReconnectLimiter } from "@tidemark/stream";
import { type GnmiConnectionOptions, type ResolvedConnection, resolveConnection } from "./connection-options.ts";
import type { GnmiDesired } from "./drift.ts";
import { GnmiError } from "./gnmi-error.ts";
import { formatPath } from "./path.ts";
import { checkSubscriptions, type GnmiSubscription, pathOf } from "./subscription.ts";
import type { FlattenOptions } from "./subtree.ts";
import type { EncodingName } from "./typed-value.ts";

/**
 * How a device is followed: `stream` as it changes; `poll` by asking on one call again and again; `once` and `get` by a
 * new call each time, with Subscribe or with Get.
 */
export type GnmiSourceMode = "stream" | "poll" | "once" | "get";

export interface GnmiSourceOptions extends GnmiConnectionOptions, FlattenOptions {
  /** What to follow. In modes other than `stream` only the paths count. */
  readonly subscriptions: readonly GnmiSubscription[];
  /** @default "stream" */
  readonly mode?: GnmiSourceMode;
  /** Time from the end of a round to the next one, with `poll`, `once` and `get`, in milliseconds, above 0. @default 30_000 */
  readonly intervalMs?: number;
  /**
   * How values come. `auto`: the first of `proto`, `json_ietf` and `json` that the device says it knows.
   * @default "auto"
   */
  readonly encoding?: EncodingName | "auto";
  /** With `stream`: configuration only, and the device's commits as groups where it tells them. @default false */
  readonly configOnly?: boolean;
  /**
   * With `configOnly`: how long changes wait for the end of their commit before they are a group without it, in
   * milliseconds, above 0.
   * @default 5_000
   */
  readonly commitTimeoutMs?: number;
  /** The device may send what belongs together as one value. @default false */
  readonly allowAggregation?: boolean;
  /** DSCP of the packets, in [0, 63]. @default the device's */
  readonly qos?: number;
  /**
   * Where a device refuses `on_change`, it is asked for `target_defined`, and where it refuses that, for `sample` with this
   * interval, in milliseconds, above 0. Where it refuses all of them, it is asked for `on_change` again. False: no, it stays
   * refused.
   * @default 10_000
   */
  readonly fallbackSampleIntervalMs?: number | false;
  /**
   * After how long without a word the device is asked for a sign of life, with a Capabilities call, in milliseconds, above 0.
   * @default 30_000
   */
  readonly pingIntervalMs?: number;
  /** How long that may take, in milliseconds, above 0. @default 10_000 */
  readonly pingTimeoutMs?: number;
  /**
   * After how long without a message the connection counts as broken, in milliseconds, above 0. Useful where heartbeats or
   * samples come regularly: a device that only tells changes may be silent for days.
   * @default Infinity
   */
  readonly silenceTimeoutMs?: number;
  /**
   * How long a device may pause before it has sent everything that is there, in milliseconds, above 0.
   * @default 60_000
   */
  readonly syncTimeoutMs?: number;
  /**
   * What is known of the device may take this much memory, in bytes, above 0: values, twice each path, and 256 for each place
   * in the tree. A device that has more is not followed any further, and that is said.
   * @default 268_435_456, which is 256 MiB
   */
  readonly maxStateBytes?: number;
  /** How the device should be; compared now and then, and corrected where it says so. @default nothing is compared */
  readonly desired?: GnmiDesired;
  /** How long to wait before connecting again; see `BackoffOptions` of `@tidemark/stream`. */
  readonly backoff?: BackoffOptions;
  /** Gates connecting again. @default one for all streams of the process */
  readonly limiter?: ReconnectLimiter;
  /** @default the machine's randomness */
  readonly rng?: Rng;
}

export const gnmiSourceDefaults = {
  mode: "stream",
  intervalMs: 30_000,
  encoding: "auto",
  configOnly: false,
  commitTimeoutMs: 5_000,
  allowAggregation: false,
  fallbackSampleIntervalMs: 10_000,
  pingIntervalMs: 30_000,
  pingTimeoutMs: 10_000,
  silenceTimeoutMs: Number.POSITIVE_INFINITY,
  syncTimeoutMs: 60_000,
  maxStateBytes: 256 << 20,
} as const satisfies Partial<GnmiSourceOptions>;

type Defaulted = Required<Pick<GnmiSourceOptions, keyof typeof gnmiSourceDefaults>>;

export interface ResolvedSource extends ResolvedConnection, Defaulted, FlattenOptions {
  readonly subscriptions: readonly GnmiSubscription[];
  readonly qos: number | undefined;
  readonly desired: GnmiDesired | undefined;
  readonly backoff: BackoffOptions;
  readonly limiter: ReconnectLimiter | undefined;
  readonly rng: Rng;
  /** For people: `http://127.0.0.1:9339 /interfaces`. */
  readonly description: string;
  readonly scope: string;
}

/** @throws {GnmiError} `OPTIONS_INVALID` or `PATH_INVALID`. */
export function resolveSource(options: GnmiSourceOptions): ResolvedSource {
  const connection = resolveConnection(options);
  checkSubscriptions(options.subscriptions);
  const paths = options.subscriptions.map(({ path }) => formatPath(pathOf(path)));
  const defaulted: Defaulted = {
    mode: options.mode ?? gnmiSourceDefaults.mode,
    intervalMs: options.intervalMs ?? gnmiSourceDefaults.intervalMs,
    encoding: options.encoding ?? gnmiSourceDefaults.encoding,
    configOnly: options.configOnly ?? gnmiSourceDefaults.configOnly,
    commitTimeoutMs: options.commitTimeoutMs ?? gnmiSourceDefaults.commitTimeoutMs,
    allowAggregation: options.allowAggregation ?? gnmiSourceDefaults.allowAggregation,
    fallbackSampleIntervalMs: options.fallbackSampleIntervalMs ?? gnmiSourceDefaults.fallbackSampleIntervalMs,
    pingIntervalMs: options.pingIntervalMs ?? gnmiSourceDefaults.pingIntervalMs,
    pingTimeoutMs: options.pingTimeoutMs ?? gnmiSourceDefaults.pingTimeoutMs,
    silenceTimeoutMs: options.silenceTimeoutMs ?? gnmiSourceDefaults.silenceTimeoutMs,
    syncTimeoutMs: options.syncTimeoutMs ?? gnmiSourceDefaults.syncTimeoutMs,
    maxStateBytes: options.maxStateBytes ?? gnmiSourceDefaults.maxStateBytes,
  };
  const { mode, encoding, configOnly } = defaulted;
  if (!["stream", "poll", "once", "get"].includes(mode)) {
    throw invalid(`mode must be "stream", "poll", "once" or "get", got ${JSON.stringify(mode)}`);
  }
  if (!["auto", "json", "json_ietf", "proto", "bytes", "ascii"].includes(encoding)) {
    throw invalid(
      `encoding must be "auto", "json", "json_ietf", "proto", "bytes" or "ascii", got ${JSON.stringify(encoding)}`,
    );
  }
  if (configOnly && mode !== "stream") throw invalid(`configOnly is for mode "stream", got it with "${mode}"`);
  for (const name of [
    "intervalMs",
    "commitTimeoutMs",
    "fallbackSampleIntervalMs",
    "pingIntervalMs",
    "pingTimeoutMs",
    "silenceTimeoutMs",
    "syncTimeoutMs",
    "maxStateBytes",
  ] as const) {
    const value = defaulted[name];
    if (value !== false && !(value > 0)) throw invalid(`${name} must be above 0, got ${value}`);
  }
  const { desired } = options;
  if (desired !== undefined) {
    pathOf(desired.path ?? "/");
    const every = desired.intervalMs;
    if (every !== undefined && !(every > 0)) throw invalid(`desired.intervalMs must be above 0, got ${every}`);
  }
  if (options.qos !== undefined && !(Number.isInteger(options.qos) && options.qos >= 0 && options.qos <= 63)) {
    throw invalid(`qos must be a whole number in [0, 63], got ${options.qos}`);
  }
  const { target, endpoint } = connection;
  const ofTarget = target === "" ? "" : `${target} `;
  return {
    ...connection,
    ...defaulted,
    ...(options.listKeys !== undefined && { listKeys: options.listKeys }),
    ...(options.stripModules !== undefined && { stripModules: options.stripModules }),
    subscriptions: options.subscriptions,
    qos: options.qos,
    desired: options.desired,
    backoff: options.backoff ?? {},
    limiter: options.limiter,
    rng: options.rng ?? systemRng,
    description: `${endpoint.origin} ${ofTarget}${paths.join(" ")}`,
    scope: scopeOf([
      target,
      String(configOnly),
      JSON.stringify([options.listKeys ?? {}, options.stripModules ?? false]),
      ...paths.toSorted(),
    ]),
  };
}

/** What decides which keys are seen. */
function scopeOf(parts: readonly string[]): string {
  const digest = createHash("sha256");
  for (const part of parts) digest.update(`${part.length}:${part}`);
  return digest.digest("hex").slice(0, 32);
}

function invalid(detail: string): GnmiError {
  return new GnmiError("OPTIONS_INVALID", detail);
}
