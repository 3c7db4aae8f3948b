import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { configDefaults } from "../config/defaults.ts";
import { DaemonError } from "../daemon-error.ts";
import { AdminService } from "../gen/tidemark/admin/v1/admin_pb.ts";
import { WatchService } from "../gen/tidemark/watch/v1/watch_pb.ts";

export interface ClientFlags {
  readonly connect?: string;
}

export interface DaemonClient {
  readonly url: string;
  readonly admin: Client<typeof AdminService>;
  readonly store: Client<typeof WatchService>;
}

const defaultUrl = `http://${configDefaults.listen}`;

/** Where the daemon is: `--connect`, TIDEMARK_URL or the default. @throws {DaemonError} `USAGE` */
function daemonUrl(flags: ClientFlags, env: Readonly<Record<string, string | undefined>> = process.env): string {
  const [given, setting] =
    flags.connect === undefined ? [env["TIDEMARK_URL"] || defaultUrl, "TIDEMARK_URL"] : [flags.connect, "--connect"];
  const url = URL.parse(/^[a-z]+:\/\//i.test(given) ? given : `http://${given}`);
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw new DaemonError("USAGE", `${setting} must be a URL such as ${defaultUrl}, got ${JSON.stringify(given)}.`);
  }
  return url.href.replace(/\/$/, "");
}

export function openClient(flags: ClientFlags): DaemonClient {
  const url = daemonUrl(flags);
  const transport = createConnectTransport({
    baseUrl: url,
    httpVersion: "1.1",
    // The daemon is on this machine or behind a proxy that compresses by itself.
    acceptCompression: [],
  });
  return { url, admin: createClient(AdminService, transport), store: createClient(WatchService, transport) };
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
  switch (failure.code) {
    case Code.Unavailable:
    case Code.Aborted:
      throw new DaemonError("UNREACHABLE", `The daemon at ${url} went away: ${failure.rawMessage}`, { cause: error });
    case Code.NotFound:
    // A moment that was forgotten, or has not come yet.
    case Code.OutOfRange:
      throw new DaemonError("NOT_FOUND", failure.rawMessage, { cause: error });
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

/** The code of a connection that never was: ECONNREFUSED, ENOTFOUND, … */
function systemCode(error: unknown): string | undefined {
  for (let cause = error, depth = 0; cause instanceof Error && depth < 5; cause = cause.cause, depth++) {
    const { code, syscall } = cause as NodeJS.ErrnoException;
    if (typeof code === "string" && (syscall === "connect" || syscall === "getaddrinfo")) return code;
  }
  return undefined;
}
