import { GnmiError } from "./gnmi-error.ts";

/** How to speak TLS. Certificates and keys are PEM: the text itself, not a file name. */
export interface GnmiTls {
  /** Who may have signed the device's certificate. Leave it out for the authorities that Node knows. */
  readonly ca?: string | Uint8Array;
  /** Our certificate, where the device asks for one. Needs `key`. */
  readonly cert?: string | Uint8Array;
  /** The private key of `cert`. */
  readonly key?: string | Uint8Array;
  /** What `key` is encrypted with. */
  readonly passphrase?: string;
  /** The name that the device's certificate must bear, where it is not the host of the address. */
  readonly serverName?: string;
}

/** Who we are to a device: `username` and `password` in the metadata of every call. */
export interface GnmiCredentials {
  readonly user: string;
  readonly password: string;
}

/** Where a device is. */
export interface Endpoint {
  /** Scheme, host and port. */
  readonly origin: string;
  /** Host and port, for people. */
  readonly name: string;
  readonly isTls: boolean;
}

/** What IANA has given to gNMI. */
const defaultPort = "9339";

/**
 * Reads `https://host:9339`, `http://host:9339` or `host:9339`. Without a scheme it is TLS, but for addresses of this
 * machine without TLS options; without a port it is 9339.
 *
 * @throws {GnmiError} `OPTIONS_INVALID`.
 */
export function parseEndpoint(text: string, hasTls: boolean): Endpoint {
  const hasScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(text);
  const isLocal = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?\/?$/i.test(text);
  const address = hasScheme ? text : `${isLocal && !hasTls ? "http" : "https"}://${text}`;
  if (!URL.canParse(address)) throw invalid("is not an address");
  const url = new URL(address);
  if (url.username !== "" || url.password !== "")
    throw invalid("has a user or password in it; give them as `credentials`");
  if (url.protocol !== "http:" && url.protocol !== "https:") throw invalid(`has the scheme ${url.protocol}//`);
  if (url.hostname === "" || url.search !== "" || url.hash !== "" || (url.pathname !== "/" && url.pathname !== "")) {
    throw invalid("has more than a host and a port");
  }
  if (url.protocol === "http:" && hasTls) throw invalid("is plain, but there are TLS options; write https://");
  // The URL class drops a port that is the scheme's own.
  const hasPort = /:\d+\/?$/.test(address);
  const port = url.port !== "" ? url.port : hasPort ? (url.protocol === "http:" ? "80" : "443") : defaultPort;
  const origin = new URL(`${url.protocol}//${url.hostname}:${port}`).origin;
  return { origin, name: `${url.hostname}:${port}`, isTls: url.protocol === "https:" };
}

/** Never repeats what it got: a mistyped address may hold a password. */
function invalid(what: string): GnmiError {
  return new GnmiError(
    "OPTIONS_INVALID",
    `address must look like https://host:9339, http://host:9339 or host:9339; the one given ${what}`,
  );
}
