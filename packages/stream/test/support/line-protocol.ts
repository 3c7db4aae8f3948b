// A little protocol of text lines that most tests speak: the client says "hello", the server answers "welcome <session>".

import type { StreamConnection, StreamProtocol } from "@tidemark/stream";
import { createMemoryServer, type MemoryPeer, type MemoryServer } from "@tidemark/stream/testing";

export type Line = string;
export type LineProtocol = StreamProtocol<Line, Line, string>;
export type LineConnection = StreamConnection<Line, Line, string>;
export type LinePeer = MemoryPeer<Line, Line>;
export type LineServer = MemoryServer<Line, Line>;

export class LineError extends Error {
  readonly retryClass: "fast" | "slow" | "fatal";

  constructor(retryClass: "fast" | "slow" | "fatal", message: string = retryClass) {
    super(message);
    this.retryClass = retryClass;
  }
}

/** A well-behaved server: it ends when its client has ended. */
async function untilHalfClosed(peer: LinePeer): Promise<void> {
  for await (const _ of peer.received);
  peer.end();
}

/** Answers the greeting, then does as told. */
export function lineServer(
  then: (peer: LinePeer) => void | Promise<void> = untilHalfClosed,
  options: { readonly onPing?: (signal: AbortSignal) => Promise<void> } = {},
): LineServer {
  return createMemoryServer<Line, Line>({
    async onStream(peer) {
      if ((await peer.receive()) !== "hello") return;
      peer.send(`welcome ${peer.id}`);
      await then(peer);
    },
    ...options,
  });
}

export function lineProtocol(
  server: Pick<LineServer, "openTransport">,
  overrides: Partial<LineProtocol> = {},
): LineProtocol & { readonly messages: Line[] } {
  const messages: Line[] = [];
  return {
    name: "lines",
    messages,
    openTransport: () => server.openTransport(),
    async handshake(stream) {
      stream.send("hello");
      return await stream.receive();
    },
    onMessage: (message) => void messages.push(message),
    isProgress: (message) => message === "progress",
    classify: (error) => (error instanceof LineError ? error.retryClass : "fast"),
    ...overrides,
  };
}
