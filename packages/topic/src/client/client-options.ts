import { type Clock, type Rng, systemClock, systemRng } from "@tidemark/clock";
import type { ChannelTls, FrameChannelOptions } from "@tidemark/connect-transport";
import { type CompressionOptions, compressionDefaults } from "../compression/compression.ts";
import { TopicError } from "../topic-error.ts";
import type { Credentials } from "./credentials.ts";

export interface DiscoveryOptions {
  /** An older list of endpoints is fetched anew by the next call, in milliseconds, above 0. @default 60_000 */
  readonly refreshMs?: number;
  /** `local`: those in the zone of the node that answered, while there are any. @default "random" */
  readonly prefer?: "local" | "random";
  /** An endpoint that could not be reached is passed over for so long, in milliseconds, at least 0. @default 10_000 */
  readonly penaltyMs?: number;
}

/** How connections are made; windows, pings and timeouts as `@tidemark/connect-transport` has them. */
export type ConnectionOptions = Pick<
  FrameChannelOptions,
  | "streamWindowBytes"
  | "connectionWindowBytes"
  | "sendBufferBytes"
  | "connectTimeoutMs"
  | "pingIntervalMs"
  | "maxSessionMemory"
>;

export interface TopicClientOptions {
  /** @default anonymous */
  readonly credentials?: Credentials;
  /** Only with `grpcs:`. `cert` and `key` make it mutual. @default what Node trusts */
  readonly tls?: ChannelTls;
  /** False: everything goes to the address of the connection string. @default true, with its defaults */
  readonly discovery?: boolean | DiscoveryOptions;
  readonly connection?: ConnectionOptions;
  readonly compression?: CompressionOptions;
  /** Told to the server. */
  readonly applicationName?: string;
  /** Of unary calls that set none, with all their tries, in milliseconds, above 0. @default 30_000 */
  readonly callTimeoutMs?: number;
  /** Of one try of a unary call, in milliseconds, above 0. @default 10_000 */
  readonly attemptTimeoutMs?: number;
  /** How long `close()` lets calls finish, in milliseconds, at least 0. @default 5_000 */
  readonly closeTimeoutMs?: number;
  /** @default the system's */
  readonly clock?: Clock;
  /** @default the system's */
  readonly rng?: Rng;
}

/** The defaults of `TopicClientOptions` and `DiscoveryOptions`. */
export const topicClientDefaults = {
  discoveryRefreshMs: 60_000,
  prefer: "random",
  penaltyMs: 10_000,
  callTimeoutMs: 30_000,
  attemptTimeoutMs: 10_000,
  closeTimeoutMs: 5_000,
  pingIntervalMs: 10_000,
} as const;

export interface ResolvedClient {
  readonly credentials: Credentials | undefined;
  readonly tls: ChannelTls | undefined;
  /** Undefined: off. */
  readonly discovery: Required<DiscoveryOptions> | undefined;
  readonly connection: ConnectionOptions;
  readonly compression: CompressionOptions;
  readonly applicationName: string;
  readonly callTimeoutMs: number;
  readonly attemptTimeoutMs: number;
  readonly closeTimeoutMs: number;
  readonly clock: Clock;
  readonly rng: Rng;
}

/** @throws {TopicError} `OPTIONS_INVALID` */
export function resolveClient(options: TopicClientOptions): ResolvedClient {
  const discovery = options.discovery ?? true;
  const chosen = typeof discovery === "object" ? discovery : {};
  const { credentials } = options;
  checkCredentials(credentials);
  return {
    credentials,
    tls: options.tls,
    discovery:
      discovery === false
        ? undefined
        : {
            refreshMs: above("discovery.refreshMs", chosen.refreshMs ?? topicClientDefaults.discoveryRefreshMs, 0),
            prefer: chosen.prefer ?? topicClientDefaults.prefer,
            penaltyMs: above("discovery.penaltyMs", chosen.penaltyMs ?? topicClientDefaults.penaltyMs, -1),
          },
    connection: { pingIntervalMs: topicClientDefaults.pingIntervalMs, ...options.connection },
    compression: options.compression ?? compressionDefaults,
    applicationName: options.applicationName ?? "",
    callTimeoutMs: above("callTimeoutMs", options.callTimeoutMs ?? topicClientDefaults.callTimeoutMs, 0),
    attemptTimeoutMs: above("attemptTimeoutMs", options.attemptTimeoutMs ?? topicClientDefaults.attemptTimeoutMs, 0),
    closeTimeoutMs: above("closeTimeoutMs", options.closeTimeoutMs ?? topicClientDefaults.closeTimeoutMs, -1),
    clock: options.clock ?? systemClock,
    rng: options.rng ?? systemRng,
  };
}

/** @throws {TopicError} `OPTIONS_INVALID` */
export function above(name: string, value: number, bound: number): number {
  if (value > bound && Number.isFinite(value)) return value;
  throw new TopicError("OPTIONS_INVALID", `${name} must be above ${bound}, got ${value}`);
}

/** Says what is wrong without the secrets. */
function checkCredentials(credentials: Credentials | undefined): void {
  if (credentials === undefined) return;
  const { token, user, password, provider } = credentials as Record<string, unknown>;
  if (typeof provider === "function" || (typeof user === "string" && typeof password === "string")) return;
  // A header: no line breaks or anything else that would break it.
  if (typeof token === "string" && /^[\x20-\x7e]*$/.test(token)) return;
  throw new TopicError(
    "OPTIONS_INVALID",
    "credentials must be { token } (printable ASCII), { user, password } or { provider }",
  );
}
