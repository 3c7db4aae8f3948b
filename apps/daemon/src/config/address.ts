import { BlockList, isIP } from "node:net";
import { DaemonError } from "../daemon-error.ts";

/** Where a server listens. */
export interface Address {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/** Whether only programs of this machine can reach the host. A name other than localhost may resolve to anything. */
export function isLoopback(host: string): boolean {
  const family = isIP(host);
  if (family === 0) return host.toLowerCase() === "localhost";
  return loopback.check(host, family === 6 ? "ipv6" : "ipv4");
}

/**
 * Reads `HOST:PORT`, `[::1]:PORT` or `PORT` (then on 127.0.0.1).
 *
 * @throws {DaemonError} `USAGE`, naming `setting`.
 */
export function parseAddress(text: string, setting: string): Address {
  const match = /^(?:\[([0-9a-f:.%]+)\]:|([^\s:/@[\]]+):)?(\d{1,5})$/i.exec(text.trim());
  const port = Number(match?.[3]);
  if (match === null || port > 65_535 || (match[1] !== undefined && isIP(match[1]) !== 6)) {
    throw new DaemonError(
      "USAGE",
      `${setting} must be HOST:PORT such as 127.0.0.1:4650, got ${JSON.stringify(text)}.`,
      {
        fix: "Use port 0 for any free port, and brackets around an IPv6 address: [::1]:4650.",
      },
    );
  }
  return { host: match[1] ?? match[2] ?? "127.0.0.1", port };
}

export function formatAddress({ host, port }: Address): string {
  return `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
}

/** The URL at which a program of this machine reaches a listener, also one that listens on every interface. */
export function urlOf({ host, port }: Address, isTls = false): string {
  const reachable = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
  return `${isTls ? "https" : "http"}://${formatAddress({ host: reachable, port })}`;
}
