import { type Clock, systemClock } from "@tidemark/clock";
import { type Endpoint, type GnmiCredentials, type GnmiTls, parseEndpoint } from "./endpoint.ts";
import type { GnmiLinkOptions, Metadata } from "./gnmi-link.ts";
import { GnmiError } from "./gnmi-error.ts";

/** How to reach a device and who we are to it. */
export interface GnmiConnectionOptions {
  /**
   * `https://host:9339`, `http://host:9339` or `host:9339`. Without a scheme it is TLS, but for addresses of this machine
   * without `tls`; without a port it is 9339.
   */
  readonly address: string;
  /** Needed where no public authority signed the device's certificate, or where it asks for ours. */
  readonly tls?: GnmiTls;
  /** User and password, in the metadata of every call. */
  readonly credentials?: GnmiCredentials;
  /** A bearer token, or who has the current one; in the metadata of every call. */
  readonly token?: string | (() => string | Promise<string>);
  /**
   * Sends credentials and tokens also without TLS, where everybody on the way can read them. Without this they are refused.
   * @default false
   */
  readonly allowPlaintextSecrets?: boolean;
  /** Whom a gateway should ask. @default whoever answers */
  readonly target?: string;
  /** Time for TCP and TLS, in milliseconds, above 0. @default 10_000 */
  readonly connectTimeoutMs?: number;
  /** Time for a call with one answer, in milliseconds, above 0. @default 30_000 */
  readonly requestTimeoutMs?: number;
  /** The largest message that is taken, in bytes, at least 65_536. @default 67_108_864, which is 64 MiB */
  readonly maxMessageBytes?: number;
  /** How much may be on its way to us, in bytes, from 65_535 to 1 GiB. @default 4_194_304, which is 4 MiB */
  readonly windowBytes?: number;
  /** @default the machine's clock */
  readonly clock?: Clock;
}

export const gnmiConnectionDefaults = {
  connectTimeoutMs: 10_000,
  requestTimeoutMs: 30_000,
  maxMessageBytes: 64 << 20,
  windowBytes: 4 << 20,
} as const satisfies Partial<GnmiConnectionOptions>;

export interface ResolvedConnection extends GnmiLinkOptions {
  readonly endpoint: Endpoint;
  readonly target: string;
}

/** @throws {GnmiError} `OPTIONS_INVALID`; never with a secret in it. */
export function resolveConnection(options: GnmiConnectionOptions): ResolvedConnection {
  const { tls, credentials, token } = options;
  const endpoint = parseEndpoint(options.address, tls !== undefined);
  if (tls !== undefined && (tls.cert === undefined) !== (tls.key === undefined)) {
    throw invalid("tls.cert and tls.key belong together: give both or neither");
  }
  if (credentials !== undefined && credentials.user === "") throw invalid("credentials.user must not be empty");
  if (credentials !== undefined && token !== undefined) throw invalid("either credentials or token can be given");
  const hasSecrets = credentials !== undefined || token !== undefined;
  if (hasSecrets && !endpoint.isTls && options.allowPlaintextSecrets !== true) {
    throw invalid(
      `credentials and tokens go over TLS only, and ${endpoint.origin} is plain: write https://, or say allowPlaintextSecrets`,
    );
  }
  const numbers = {
    connectTimeoutMs: options.connectTimeoutMs ?? gnmiConnectionDefaults.connectTimeoutMs,
    requestTimeoutMs: options.requestTimeoutMs ?? gnmiConnectionDefaults.requestTimeoutMs,
    maxMessageBytes: options.maxMessageBytes ?? gnmiConnectionDefaults.maxMessageBytes,
    windowBytes: options.windowBytes ?? gnmiConnectionDefaults.windowBytes,
  };
  for (const name of ["connectTimeoutMs", "requestTimeoutMs"] as const) {
    if (!(numbers[name] > 0)) throw invalid(`${name} must be above 0, got ${numbers[name]}`);
  }
  if (!(numbers.maxMessageBytes >= 65_536 && numbers.maxMessageBytes < 2 ** 32)) {
    throw invalid(`maxMessageBytes must be in [65536, 2^32), got ${numbers.maxMessageBytes}`);
  }
  if (!(numbers.windowBytes >= 65_535 && numbers.windowBytes <= 1 << 30)) {
    throw invalid(`windowBytes must be in [65535, ${1 << 30}], got ${numbers.windowBytes}`);
  }
  return {
    ...numbers,
    endpoint,
    tls,
    metadata: metadataOf(options),
    target: options.target ?? "",
    clock: options.clock ?? systemClock,
  };
}

function metadataOf({ credentials, token }: GnmiConnectionOptions): Metadata {
  if (credentials !== undefined) {
    const { user, password } = credentials;
    return () => ({ username: user, password });
  }
  if (token === undefined) return () => ({});
  return async () => ({ authorization: `Bearer ${typeof token === "string" ? token : await token()}` });
}

function invalid(detail: string): GnmiError {
  return new GnmiError("OPTIONS_INVALID", detail);
}
