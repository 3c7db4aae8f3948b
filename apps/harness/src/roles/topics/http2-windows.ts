import type { Http2Session, ServerOptions } from "node:http2";

/** Large enough for 10 ms at gigabytes a second; both ends of a benchmark that are not somebody's product use it. */
const windowBytes = 32 << 20;

export const wideSettings = { settings: { initialWindowSize: windowBytes } } as const satisfies ServerOptions;

export function widen(session: Http2Session): void {
  session.setLocalWindowSize(windowBytes);
}
