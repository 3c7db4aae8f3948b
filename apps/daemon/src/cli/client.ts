import { readFileSync } from "node:fs";
import { type Client, Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { configDefaults } from "../config/defaults.ts";
import type { Environment } from "../config/secrets.ts";
import { DaemonError } from "../daemon-error.ts";
import { rememberSecret } from "../redact.ts";
import { AdminService } from "../gen/tidemark/admin/v1/admin_pb.ts";
import { UpkeepService } from "../gen/tidemark/admin/v1/upkeep_pb.ts";
import { WatchService } from "../gen/tidemark/watch/v1/watch_pb.ts";

export interface ClientFlags {
  readonly connect?: string;
}

export interface DaemonClient {
  readonly url: string;
  readonly admin: Client<typeof AdminService>;
  readonly upkeep: Client<typeof UpkeepService>;
  readonly store: Client<typeof WatchService>;
}

const defaultUrl = `http://${configDefaults.listen}`;

/** Where the daemon is: `--connect`, TIDEMARK_URL or the default. @throws {DaemonError} `USAGE` */
function daemonUrl(flags: ClientFlags, env: Environment): string {
  const [given, setting] =
    flags.connect === undefined ? [env["TIDEMARK_URL"] || defaultUrl, "TIDEMARK_URL"] : [flags.connect, "--connect"];
  const url = URL.parse(/^[a-z]+:\/\//i.test(given) ? given : `http://${given}`);
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw new DaemonError("USAGE", `${setting} must be a URL such as ${defaultUrl}, got ${JSON.stringify(given)}.`);
  }
  return url.href.replace(/\/$/, "");
}

export function openClient(flags: ClientFlags, env: Environment = process.env): DaemonClient {
  const url = daemonUrl(flags, env);
  const token = env["TIDEMARK_TOKEN"];
  rememberSecret(token);
  const transport = createConnectTransport({
    baseUrl: url,
    httpVersion: "1.1",
    // The daemon is on this machine or behind a proxy that compresses by itself.
    acceptCompression: [],
    ...(token && { interceptors: [bearer(token)] }),
    ...(url.startsWith("https:") && { nodeOptions: tlsOf(env) }),
  });
  return {
    url,
    admin: createClient(AdminService, transport),
    upkeep: createClient(UpkeepService, transport),
    store: createClient(WatchService, transport),
  };
}

const bearer =
  (token: string): Interceptor =>
  (next) =>
  (request) => {
    request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };

/** @throws {DaemonError} `USAGE` */
function tlsOf(env: Environment) {
  const read = (name: string) => {
    const file = env[name];
    if (!file) return undefined;
    try {
      return readFileSync(file);
    } catch (error) {
      throw new DaemonError("USAGE", `${name} names ${file}, which cannot be read: ${(error as Error).message}`);
    }
  };
  const [ca, cert, key] = [read("TIDEMARK_CA_FILE"), read("TIDEMARK_CERT_FILE"), read("TIDEMARK_KEY_FILE")];
  return { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
}

/** Turns what a call threw into what a person can act on. Does not return. */
export function failCall(error: unknown, url: string, signal: AbortSignal): never {
  if (signal.aborted) throw signal.reason;
  if (DaemonError.is(error)) throw error;
  const failure = ConnectError.from(error);
  const cause = systemCode(failure);
  if (cause !== undefined) {
    throw new DaemonError("UNREACHABLE", `There is no daemon at ${url} (${cause}).`, {
      cause: error,
      fix: "Start one with `tidemark up`, or say where it is with --connect URL or TIDEMARK_URL.",
    });
  }
  const tls = tlsProblem(failure, url);
  if (tls !== undefined) throw tls;
  switch (failure.code) {
    case Code.Unavailable:
    case Code.Aborted:
      throw new DaemonError("UNREACHABLE", `The daemon at ${url} went away: ${failure.rawMessage}`, {
        cause: error,
        // A listener with TLS cuts who does not speak it, without a word.
        ...(url.startsWith("http:") && { fix: "If it serves TLS, its address begins with https://." }),
      });
    case Code.NotFound:
    // A moment that was forgotten, or has not come yet.
    case Code.OutOfRange:
      throw new DaemonError("NOT_FOUND", failure.rawMessage, { cause: error });
    case Code.Unauthenticated:
      throw new DaemonError("REFUSED", `The daemon at ${url} wants to know who you are: ${failure.rawMessage}`, {
        cause: error,
        fix: "Put a token of its configuration into TIDEMARK_TOKEN.",
      });
    case Code.PermissionDenied:
      throw new DaemonError("REFUSED", `The daemon at ${url} does not allow it: ${failure.rawMessage}`, {
        cause: error,
        fix: "Put a token with that right into TIDEMARK_TOKEN.",
      });
    case Code.InvalidArgument:
      throw new DaemonError("USAGE", failure.rawMessage, { cause: error });
    case Code.Unimplemented:
    case Code.Unknown:
      throw new DaemonError(
        "REFUSED",
        `What answers at ${url} is not this version of Tidemark: ${failure.rawMessage}`,
        {
          cause: error,
          fix: "Check --connect and TIDEMARK_URL; it must be the address that `tidemark up` prints as `page`.",
        },
      );
    default:
      throw new DaemonError("REFUSED", `The daemon at ${url} could not do it: ${failure.rawMessage}`, { cause: error });
  }
}

/** What is wrong between the two sides of TLS; undefined: something else is. */
function tlsProblem(failure: ConnectError, url: string): DaemonError | undefined {
  for (let cause: unknown = failure, depth = 0; cause instanceof Error && depth < 5; cause = cause.cause, depth++) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED" || code === "ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE") {
      return new DaemonError("REFUSED", `The daemon at ${url} lets in clients with a certificate alone.`, {
        cause: failure,
        fix: "Put the files of one into TIDEMARK_CERT_FILE and TIDEMARK_KEY_FILE.",
      });
    }
    // What came is no record of TLS.
    if (code === "EPROTO" || code === "ERR_SSL_WRONG_VERSION_NUMBER") {
      return new DaemonError("UNREACHABLE", `What listens at ${url} does not speak TLS.`, {
        cause: failure,
        fix: "Begin its address with http://, if it is on this machine.",
      });
    }
    if (code !== undefined && distrusts.test(code)) {
      return new DaemonError("REFUSED", `The certificate at ${url} is not trusted: ${firstClause(cause.message)}.`, {
        cause: failure,
        fix: "Put the certificate of its authority into TIDEMARK_CA_FILE, and use a name that the certificate has.",
      });
    }
  }
  return undefined;
}

/** Codes of Node for a certificate that does not hold: its chain, its dates, its names. */
const distrusts = /^(CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_(GET|VERIFY)_|ERR_TLS_CERT_)/;

/** Node goes on with advice for its own command line. */
const firstClause = (text: string) => text.split(";")[0] ?? text;

/** The code of a connection that never was: ECONNREFUSED, ENOTFOUND, … */
function systemCode(error: unknown): string | undefined {
  for (let cause = error, depth = 0; cause instanceof Error && depth < 5; cause = cause.cause, depth++) {
    const { code, syscall } = cause as NodeJS.ErrnoException;
    if (typeof code === "string" && (syscall === "connect" || syscall === "getaddrinfo")) return code;
  }
  return undefined;
}
