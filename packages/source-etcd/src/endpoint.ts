import type { ChannelTls } from "@tidemark/connect-transport";
import { EtcdError } from "./etcd-error.ts";

/** How to speak TLS. Certificates and keys are PEM: the text itself, not a file name. */
export interface EtcdTls {
  /** Who may have signed the server's certificate. Leave it out for the authorities that Node knows. */
  readonly ca?: string | Uint8Array;
  /** Our certificate, where etcd asks its clients for one (`--client-cert-auth`). Needs `key`. */
  readonly cert?: string | Uint8Array;
  /** The private key of `cert`. */
  readonly key?: string | Uint8Array;
  /** What `key` is encrypted with. */
  readonly passphrase?: string;
  /** The name that the server's certificate must bear, where it is not the host of the endpoint. */
  readonly serverName?: string;
}

/** One address of a cluster. */
export interface Endpoint {
  /** Scheme, host and port. */
  readonly origin: string;
  /** Host and port, for people. */
  readonly name: string;
  readonly isTls: boolean;
}

const defaultPort = "2379";

/**
 * Reads `http://host:2379`, `https://host:2379` or `host:2379`. Without a scheme it is TLS if there are TLS options, and
 * without a port 2379.
 *
 * @throws {EtcdError} `OPTIONS_INVALID`.
 */
export function parseEndpoint(text: string, hasTls: boolean): Endpoint {
  const hasScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(text);
  const address = hasScheme ? text : `${hasTls ? "https" : "http"}://${text}`;
  if (!URL.canParse(address)) throw invalid(text, "is not an address");
  const url = new URL(address);
  if (url.username !== "" || url.password !== "") {
    throw invalid(url.host, "has a user or password in it; give them as `credentials`");
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") throw invalid(text, `has the scheme ${url.protocol}//`);
  if (url.hostname === "" || url.search !== "" || url.hash !== "" || (url.pathname !== "/" && url.pathname !== "")) {
    throw invalid(text, "has more than a host and a port");
  }
  if (url.protocol === "http:" && hasTls) throw invalid(text, "is plain, but there are TLS options; write https://");
  // The URL class drops a port that is the scheme's own; nobody serves etcd on 80 or 443 without saying so.
  const hasPort = /:\d+\/?$/.test(address);
  const port = url.port !== "" ? url.port : hasPort ? (url.protocol === "http:" ? "80" : "443") : defaultPort;
  const origin = new URL(`${url.protocol}//${url.hostname}:${port}`).origin;
  return { origin, name: `${url.hostname}:${port}`, isTls: url.protocol === "https:" };
}

function invalid(text: string, what: string): EtcdError {
  // What cannot be read may hold a password.
  const shown = text.includes("@") ? "one that was given" : JSON.stringify(text);
  return new EtcdError(
    "OPTIONS_INVALID",
    `endpoints must look like http://host:2379, https://host:2379 or host:2379; ${shown} ${what}`,
  );
}

/** Node's names for the TLS options. */
export function channelTls(tls: EtcdTls): ChannelTls {
  const pem = (value: string | Uint8Array) => (typeof value === "string" ? value : Buffer.from(value));
  return {
    ...(tls.ca === undefined ? {} : { ca: pem(tls.ca) }),
    ...(tls.cert === undefined ? {} : { cert: pem(tls.cert) }),
    ...(tls.key === undefined ? {} : { key: pem(tls.key) }),
    ...(tls.passphrase === undefined ? {} : { passphrase: tls.passphrase }),
    ...(tls.serverName === undefined ? {} : { servername: tls.serverName }),
  };
}
