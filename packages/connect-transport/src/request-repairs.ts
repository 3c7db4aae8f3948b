import type { IncomingHttpHeaders } from "node:http";
import { timeoutUnitMs } from "./grpc-timeout.ts";

/** Node's timers fire at once above it: about 24 days. */
const maxTimerMs = 2 ** 31 - 1;

/**
 * Gives a request a host that is one. Nothing here depends on it, but the adapter does, and Node's own client sends the
 * loopback address of IPv6 without its brackets.
 */
export function repairAuthority(headers: IncomingHttpHeaders): void {
  const name = ":authority" in headers ? ":authority" : "host";
  const host = headers[name];
  if (typeof host !== "string" || !URL.canParse(`http://${host}/`)) headers[name] = "localhost";
}

/**
 * Takes away deadlines that are longer than a timer of Node's can hold; clients in some languages send 99999999H for
 * "none". For the routes of connect, which would end such a call at once.
 */
export function dropAbsurdTimeouts(headers: IncomingHttpHeaders): void {
  const grpc = /^(\d{1,8})([HMSmun])$/.exec(String(headers["grpc-timeout"] ?? ""));
  if (grpc !== null && Number(grpc[1]) * (timeoutUnitMs[grpc[2] as string] as number) > maxTimerMs) {
    delete headers["grpc-timeout"];
  }
  // Connect: at most 10 digits.
  const connect = headers["connect-timeout-ms"];
  if (typeof connect === "string" && /^\d+$/.test(connect) && Number(connect) > maxTimerMs) {
    delete headers["connect-timeout-ms"];
  }
}
