// A protocol: the client says where it is, the server sends everything after that.

import type { StreamProtocol } from "@tidemark/stream";
import { createMemoryServer, type MemoryServer } from "@tidemark/stream/testing";

export interface Change {
  readonly id: number;
}

interface Resume {
  readonly after: number;
}

export function protocolFor(
  server: Pick<MemoryServer<Resume, Change>, "openTransport">,
  onChange: (change: Change) => Promise<void> | undefined,
): StreamProtocol<Resume, Change, void> {
  let last = 0;
  return {
    name: "feed",
    openTransport: () => server.openTransport(),
    handshake: async (stream) => stream.send({ after: last }),
    onMessage(change) {
      last = change.id;
      return onChange(change);
    },
    isProgress: () => true,
    classify: (error) => (error instanceof SyntaxError ? "fatal" : "fast"),
  };
}

/** Breaks the first stream in the middle. */
export function startServer(): MemoryServer<Resume, Change> & { readonly sentAll: Promise<void> } {
  const done = Promise.withResolvers<void>();
  const server = createMemoryServer<Resume, Change>({
    async onStream(peer) {
      const resume = await peer.receive();
      for (let id = (resume?.after ?? 0) + 1; id <= 10; id++) {
        peer.send({ id });
        if (peer.id === 1 && id === 4) return peer.fail(new Error("the network broke"));
      }
      while (peer.unread > 0) await new Promise((resolve) => setImmediate(resolve));
      done.resolve();
      while ((await peer.receive()) !== undefined);
      peer.end();
    },
  });
  return Object.assign(server, { sentAll: done.promise });
}
