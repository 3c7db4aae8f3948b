import { create } from "@bufbuild/protobuf";
import {
  type SubscribeRequest,
  SubscribeRequestSchema,
  SubscriptionList_Mode,
  SubscriptionMode,
} from "./gen/gnmi/gnmi_pb.ts";
import { GnmiError } from "./gnmi-error.ts";
import { type GnmiPath, parsePath, rootPath } from "./path.ts";
import { type EncodingName, encodingOf } from "./typed-value.ts";
import { toWirePath } from "./wire-path.ts";

/** How a device decides when to send a value: when it changed, at every interval, or as it likes. */
export type GnmiSubscriptionMode = "on_change" | "sample" | "target_defined";

/** One path of a subscription. */
export interface GnmiSubscription {
  /** What to follow, with everything below it: `/interfaces`, with wildcards `/interfaces/interface[name=*]/state`. */
  readonly path: string | GnmiPath;
  /** @default "on_change" */
  readonly mode?: GnmiSubscriptionMode;
  /**
   * Time between two samples, in milliseconds, at least 0; 0: as often as the device can. With `sample` it must be given,
   * with `target_defined` it may, with `on_change` it must not.
   */
  readonly sampleIntervalMs?: number;
  /** With `sample`: values that did not change are not sent. @default false */
  readonly suppressRedundant?: boolean;
  /**
   * Every value comes at least so often, in milliseconds, above 0. With `on_change`, and with `sample` where
   * `suppressRedundant` is set.
   * @default none
   */
  readonly heartbeatIntervalMs?: number;
}

export interface SubscribeListOptions {
  readonly subscriptions: readonly GnmiSubscription[];
  readonly encoding: EncodingName;
  readonly mode: "stream" | "once" | "poll";
  /** Whom a gateway should ask. */
  readonly target?: string;
  /** Changes only, without what is there. @default false */
  readonly updatesOnly?: boolean;
  /** The device may send what belongs together as one value. @default false */
  readonly allowAggregation?: boolean;
  /** DSCP of the packets, in [0, 63]. @default the device's */
  readonly qos?: number;
  /** Configuration only, with the device's commits as boundaries. @default false */
  readonly configOnly?: boolean;
}

/** @throws {GnmiError} `OPTIONS_INVALID` or `PATH_INVALID`. */
export function checkSubscriptions(subscriptions: readonly GnmiSubscription[]): void {
  if (subscriptions.length === 0) throw invalid("subscriptions must name at least one path, such as /interfaces");
  for (const each of subscriptions) {
    const { mode = "on_change", sampleIntervalMs, heartbeatIntervalMs } = each;
    pathOf(each.path);
    if (mode !== "on_change" && mode !== "sample" && mode !== "target_defined") {
      throw invalid(`mode must be "on_change", "sample" or "target_defined", got ${JSON.stringify(mode)}`);
    }
    if (mode === "sample" && sampleIntervalMs === undefined) throw invalid('mode "sample" needs sampleIntervalMs');
    if (mode === "on_change" && sampleIntervalMs !== undefined) {
      throw invalid('sampleIntervalMs is for mode "sample" or "target_defined", got it with "on_change"');
    }
    if (sampleIntervalMs !== undefined && !(sampleIntervalMs >= 0 && sampleIntervalMs < 2 ** 43)) {
      throw invalid(`sampleIntervalMs must be in [0, 2^43), got ${sampleIntervalMs}`);
    }
    if (each.suppressRedundant === true && mode !== "sample") throw invalid('suppressRedundant is for mode "sample"');
    if (heartbeatIntervalMs !== undefined && !(heartbeatIntervalMs > 0 && heartbeatIntervalMs < 2 ** 43)) {
      throw invalid(`heartbeatIntervalMs must be in (0, 2^43), got ${heartbeatIntervalMs}`);
    }
    if (heartbeatIntervalMs !== undefined && mode === "sample" && each.suppressRedundant !== true) {
      throw invalid("heartbeatIntervalMs is for samples with suppressRedundant: others come at every interval anyway");
    }
  }
}

const modes = {
  on_change: SubscriptionMode.ON_CHANGE,
  sample: SubscriptionMode.SAMPLE,
  target_defined: SubscriptionMode.TARGET_DEFINED,
} as const satisfies Record<GnmiSubscriptionMode, SubscriptionMode>;

const listModes = {
  stream: SubscriptionList_Mode.STREAM,
  once: SubscriptionList_Mode.ONCE,
  poll: SubscriptionList_Mode.POLL,
} as const;

/** The first message of a Subscribe call. @throws as `checkSubscriptions`. */
export function subscribeRequest(options: SubscribeListOptions): SubscribeRequest {
  const { subscriptions, encoding, mode, target = "", qos } = options;
  checkSubscriptions(subscriptions);
  return create(SubscribeRequestSchema, {
    request: {
      case: "subscribe",
      value: {
        ...(target !== "" && { prefix: toWirePath({ ...rootPath, target }) }),
        ...(qos !== undefined && { qos: { marking: qos } }),
        mode: listModes[mode],
        encoding: encodingOf(encoding),
        updatesOnly: options.updatesOnly ?? false,
        allowAggregation: options.allowAggregation ?? false,
        subscription: subscriptions.map((each) => ({
          path: toWirePath(pathOf(each.path)),
          ...(mode === "stream" && {
            mode: modes[each.mode ?? "on_change"],
            sampleInterval: nanoseconds(each.sampleIntervalMs),
            suppressRedundant: each.suppressRedundant ?? false,
            heartbeatInterval: nanoseconds(each.heartbeatIntervalMs),
          }),
        })),
      },
    },
    ...(options.configOnly === true && {
      extension: [{ ext: { case: "configSubscription", value: { action: { case: "start", value: {} } } } }],
    }),
  });
}

/** @throws {GnmiError} `PATH_INVALID`. */
export function pathOf(path: string | GnmiPath): GnmiPath {
  const parsed = typeof path === "string" ? parsePath(path) : path;
  if (parsed.target !== "") {
    throw new GnmiError("PATH_INVALID", "a path of a request has no target of its own: give it as the option `target`");
  }
  return parsed;
}

function nanoseconds(ms: number | undefined): bigint {
  return BigInt(Math.round((ms ?? 0) * 1e6));
}

function invalid(detail: string): GnmiError {
  return new GnmiError("OPTIONS_INVALID", detail);
}
