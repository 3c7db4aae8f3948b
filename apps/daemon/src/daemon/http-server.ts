import { createServer, type RequestListener } from "node:http";
import { createServer as createTlsServer, Server as TlsServer } from "node:https";
import { type AddressInfo, isIP } from "node:net";
import { type Address, formatAddress, isLoopback } from "../config/address.ts";
import type { ServerTls } from "../config/access-settings.ts";
import { DaemonError } from "../daemon-error.ts";

export interface HttpServer {
  /** With the port that was taken. */
  readonly address: Address;
  /** From now on requests go here; until then they are told to come back. */
  serve(listener: RequestListener): void;
  /** What requests are told until then. */
  wait(text: string): void;
  /** Takes other certificates for connections that are made from now on. */
  setTls(tls: ServerTls): void;
  /** Answers to other names from now on. */
  setHosts(hosts: readonly string[]): void;
  /** Takes no more requests, lets answers end for at most that long, then cuts. */
  close(graceMs: number): Promise<void>;
}

export interface HttpServerOptions {
  readonly address: Address;
  /** The flag that changes the address, for messages. */
  readonly flag: string;
  /** Names besides IP addresses and localhost under which the server may be asked. */
  readonly hosts: readonly string[];
  /** Undefined: none. */
  readonly tls: ServerTls | undefined;
  /** More are refused at once. */
  readonly maxConnections: number;
}

/** How long a client may take for its headers, and for its whole request, in milliseconds. */
const headersTimeout = 10_000;
const requestTimeout = 60_000;

/** @throws {DaemonError} `ADDRESS_IN_USE` or `ADDRESS_INVALID`. */
export async function openHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { address, flag, tls } = options;
  let waitingFor = "Tidemark is starting.\n";
  let handle: RequestListener = (_, response) => refuse(response, 503, waitingFor, { "retry-after": "1" });
  let isHostAllowed = createHostCheck(address, options.hosts);
  const listener: RequestListener = (request, response) => {
    if (isHostAllowed(request.headers.host)) handle(request, response);
    else
      refuse(
        response,
        403,
        `Tidemark does not know itself as ${JSON.stringify(request.headers.host ?? "")}. Add the name to \`hosts\` of the configuration.\n`,
      );
  };
  const times = { headersTimeout, requestTimeout };
  const server = tls === undefined ? createServer(times, listener) : createTlsServer({ ...tls, ...times }, listener);
  server.maxConnections = options.maxConnections;
  const port = await listen(server, address, flag);
  return {
    address: { host: address.host, port },
    serve: (listener) => {
      handle = listener;
    },
    wait: (text) => {
      waitingFor = text;
    },
    setTls: (changed) => {
      if (server instanceof TlsServer) server.setSecureContext(changed);
    },
    setHosts: (changed) => {
      isHostAllowed = createHostCheck(address, changed);
    },
    close: (graceMs) =>
      new Promise((resolve) => {
        const cut = setTimeout(() => server.closeAllConnections(), graceMs);
        server.close(() => {
          clearTimeout(cut);
          resolve();
        });
        server.closeIdleConnections();
      }),
  };
}

interface Listening {
  listen(port: number, host: string): unknown;
  once(event: "listening" | "error", listener: (error: Error) => void): unknown;
  off(event: "listening" | "error", listener: (error: Error) => void): unknown;
  address(): string | AddressInfo | null;
}

/** Listens and returns the port. @throws {DaemonError} `ADDRESS_IN_USE` or `ADDRESS_INVALID`. */
async function listen(server: Listening, address: Address, flag: string): Promise<number> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.once("listening", () => {
        server.off("error", reject);
        resolve();
      });
      server.listen(address.port, address.host);
    });
  } catch (error) {
    throw listenError(error, address, flag);
  }
  return (server.address() as AddressInfo).port;
}

/** What went wrong with an address, and which flag changes it. */
export function listenError(error: unknown, address: Address, flag: string): DaemonError {
  const { code, message } = error as NodeJS.ErrnoException;
  const shown = formatAddress(address);
  if (code === "EADDRINUSE") {
    return new DaemonError("ADDRESS_IN_USE", `${shown} is already in use, perhaps by another tidemark.`, {
      cause: error,
      fix: `Stop what uses it, or choose another port with ${flag} ${formatAddress({ ...address, port: address.port + 10 > 65_535 ? 0 : address.port + 10 })} (port 0: any free one).`,
    });
  }
  const reason =
    code === "EACCES"
      ? "this user may not use that port"
      : code === "EADDRNOTAVAIL" || code === "ENOTFOUND" || code === "EAI_AGAIN"
        ? "this machine has no such address"
        : message;
  return new DaemonError("ADDRESS_INVALID", `Tidemark cannot listen on ${shown}: ${reason}.`, {
    cause: error,
    fix: `Choose another address with ${flag}, for example ${flag} 127.0.0.1:0.`,
  });
}

/**
 * A page of another site that made its own name resolve to this machine would be asked for under that name. Where only
 * this machine is served, only this machine's names are answered to.
 */
function createHostCheck(address: Address, hosts: readonly string[]): (host: string | undefined) => boolean {
  if (!isLoopback(address.host)) return () => true;
  const known = new Set(hosts.map((host) => host.toLowerCase()));
  return (header) => {
    if (header === undefined) return true;
    const host = header
      .replace(/:\d+$/, "")
      .replace(/^\[(.*)\]$/, "$1")
      .toLowerCase();
    return isIP(host) !== 0 || host === "localhost" || host.endsWith(".localhost") || known.has(host);
  };
}

/** As much of a response, of either HTTP version, as a refusal needs. */
interface Refusable {
  writeHead(status: number, headers: Record<string, string>): unknown;
  end(text: string): unknown;
}

export function refuse(
  response: Refusable,
  status: number,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store", ...headers });
  response.end(text);
}
