// A stream that comes back by itself, into batches that lose nothing. The server is in memory; see chatProtocol.

import { createListBuffer, Handoff, StreamReconnector } from "@tidemark/stream";
import { type Change, protocolFor, startServer } from "./feed.ts";

const server = startServer();
const saved: Change[] = [];

const handoff = new Handoff({
  createBuffer: () => createListBuffer<Change>(),
  // One at a time, in order, and again if it fails. Meanwhile the other buffer fills.
  commit: async (buffer) => void saved.push(...buffer.items),
});

await using reconnector = new StreamReconnector(
  protocolFor(server, (change) => {
    handoff.buffer.push(change);
    // A promise holds back the peer: that is the only thing that slows down the stream.
    return handoff.sealed() ? undefined : handoff.ready();
  }),
  { initialDelayMs: 10 },
);
reconnector.start();

for await (const event of reconnector.events()) {
  console.log(event.type);
  if (event.type === "connected" && event.connectionId === 2) break;
}
await server.sentAll;
await handoff.close();
console.log(saved.map((change) => change.id).join(" "));
