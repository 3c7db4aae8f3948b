import type { IncomingHttpHeaders } from "node:http";

/** What a timer can hold; Node's fire at once above it. About 24 days, which no call of ours takes. */
const maxTimeoutMs = 2 ** 31 - 1;

const unitMs: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

/**
 * Gives a request a host that is one. Ours does not depend on it, but the adapter does, and Node's own client sends the
 * loopback address of IPv6 without its brackets.
 */
export function repairAuthority(headers: IncomingHttpHeaders): void {
  const name = ":authority" in headers ? ":authority" : "host";
  const host = headers[name];
  if (typeof host !== "string" || !URL.canParse(`http://${host}/`)) headers[name] = "localhost";
}

/**
 * Takes away deadlines that are longer than a timer can hold. Clients in some languages send 99999999H for "none".
 *
 * gRPC over HTTP/2, Timeout: at most 8 digits and a unit. Connect: `connect-timeout-ms`, at most 10 digits.
 */
export function dropAbsurdTimeouts(headers: IncomingHttpHeaders): void {
  const grpc = /^(\d+)([HMSmun])$/.exec(String(headers["grpc-timeout"] ?? ""));
  if (grpc !== null && Number(grpc[1]) * (unitMs[grpc[2] as string] as number) > maxTimeoutMs) {
    delete headers["grpc-timeout"];
  }
  const connect = headers["connect-timeout-ms"];
  if (typeof connect === "string" && /^\d+$/.test(connect) && Number(connect) > maxTimeoutMs) {
    delete headers["connect-timeout-ms"];
  }
}
