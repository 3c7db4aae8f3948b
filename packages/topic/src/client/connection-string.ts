import { TopicError } from "../topic-error.ts";

export interface Address {
  readonly isSecure: boolean;
  /** Without the brackets of IPv6. */
  readonly host: string;
  readonly port: number;
  /** Begins with a slash and does not end with one. */
  readonly database: string;
}

const expected = "expected grpc://host:port/database, or grpcs:// for TLS";
// What YDB listens on.
const defaultPorts = { "grpc:": 2136, "grpcs:": 2135 } as const;

/**
 * Reads `grpc(s)://host:port/database`, or `grpc(s)://host:port/?database=/database`.
 *
 * @throws {TopicError} `OPTIONS_INVALID`; its message has nothing of a string that could hold a password.
 */
export function parseConnectionString(text: string): Address {
  const match = /^(grpcs?:)\/\/(.*)$/s.exec(text);
  // WHATWG knows hosts and ports only of schemes that it knows.
  const url = match === null ? null : URL.parse(`https://${match[2] ?? ""}`);
  if (match === null || url === null) {
    const scheme = /^([a-z][a-z0-9+.-]*:\/\/)/i.exec(text)?.[1];
    throw invalid(scheme === undefined || match !== null ? "it has no valid host" : `it begins with ${scheme}`);
  }
  if (url.username !== "" || url.password !== "") {
    throw invalid("it names a user: give credentials as an option, where they do not end up in logs");
  }
  if (url.hash !== "") throw invalid("it has a fragment (#…)");
  const parameters = [...url.searchParams.keys()];
  const unknown = parameters.find((name) => name !== "database");
  if (unknown !== undefined) throw invalid(`it has a parameter other than database`);
  const isSecure = match[1] === "grpcs:";
  const path = trimmed(decode(url.pathname));
  const parameter = trimmed(url.searchParams.get("database") ?? "");
  if (path !== "" && parameter !== "" && path !== parameter) throw invalid("it names two databases");
  const database = path === "" ? parameter : path;
  if (database === "") throw invalid("it names no database");
  // It travels as a header.
  if (!/^[\x21-\x7e]+$/.test(database)) throw invalid("its database is not printable ASCII");
  // A port of 443 is the default of the scheme that was put in front.
  const explicit = /:(\d+)(?:[/?#]|$)/.exec((match[2] ?? "").replace(/^\[[^\]]*\]/, ""))?.[1];
  const port = explicit === undefined ? defaultPorts[isSecure ? "grpcs:" : "grpc:"] : Number(explicit);
  if (!(port >= 1 && port <= 65_535)) throw invalid("its port is not in [1, 65535]");
  return { isSecure, host: url.hostname.replace(/^\[|\]$/g, ""), port, database: `/${database}` };
}

/** `host:port` as URLs have it. */
export function authority(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function decode(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    throw invalid("its path is not valid percent-encoding");
  }
}

const trimmed = (path: string): string => path.replace(/^\/+|\/+$/g, "");

const invalid = (what: string) =>
  new TopicError("OPTIONS_INVALID", `Not a valid connection string: ${what}; ${expected}`);
