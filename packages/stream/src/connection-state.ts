/** The life of one stream. `dead` is the end; what ended it first is its error, undefined after an orderly close. */
export type ConnectionState =
  | { readonly type: "new" }
  | { readonly type: "handshaking" }
  | { readonly type: "live" }
  /** Half-closed: the peer may still say its last words. */
  | { readonly type: "closing" }
  | { readonly type: "dead"; readonly error: unknown };

export type ConnectionEvent =
  | { readonly type: "open" }
  | { readonly type: "handshaken" }
  /** The peer ended the stream normally; the error says so to those who did not expect it. */
  | { readonly type: "peer-ended"; readonly error: unknown }
  /** Whatever ends the stream at once: its transport, the handshake, a watchdog, a message handler, our owner. */
  | { readonly type: "failed"; readonly error: unknown }
  | { readonly type: "close" }
  | { readonly type: "grace-over" };

export type ConnectionEffect =
  /** Start the I/O and the handshake with its watchdog. */
  | "start"
  /** Publish, then begin to read. */
  | "go-live"
  | "half-close"
  /** Cancel the transport and settle everybody who waits. */
  | "die";

type Step = readonly [ConnectionState, ...ConnectionEffect[]];

const dead = (error?: unknown): Step => [{ type: "dead", error }, "die"];

/** First error wins (P10): from `dead` nothing leads anywhere. */
export function nextConnectionState(state: ConnectionState, event: ConnectionEvent): Step {
  if (state.type === "dead") return [state];
  switch (event.type) {
    case "open":
      return state.type === "new" ? [{ type: "handshaking" }, "start"] : [state];
    case "handshaken":
      return state.type === "handshaking" ? [{ type: "live" }, "go-live"] : [state];
    case "peer-ended":
      if (state.type === "new") return [state];
      return state.type === "closing" ? dead() : dead(event.error);
    case "failed":
      return dead(event.error);
    case "close":
      if (state.type === "live") return [{ type: "closing" }, "half-close"];
      return state.type === "closing" ? [state] : dead();
    case "grace-over":
      return state.type === "closing" ? dead() : [state];
  }
}
