// A program of its own: which of its waits keep it alive? The server is in memory and keeps nothing alive.

import { createMemoryServer } from "@tidemark/stream/testing";
import { systemClock } from "@tidemark/clock";
import { openReader } from "@tidemark/topic-reader";
import { clientMessage, payload, serverFrame } from "./frames.ts";
import { simClient } from "./sim-client.ts";

const [mode] = process.argv.slice(2);
const soon = (callback: () => void) => void systemClock.setTimer(300, callback).unref();

const memory = createMemoryServer<Uint8Array, Uint8Array>({
  async onStream(peer) {
    for await (const frame of peer.received) {
      const message = clientMessage(frame);
      if (message.case === "initRequest") {
        peer.send(serverFrame({ case: "initResponse", value: { sessionId: "s" } }));
        const partitionSession = { partitionSessionId: 1n, path: "/local/a", partitionId: 0n };
        peer.send(serverFrame({ case: "startPartitionSessionRequest", value: { partitionSession } }));
      }
      if (message.case === "startPartitionSessionResponse") {
        const batches = [{ codec: 1, messageData: [{ offset: 0n, data: payload("0") }] }];
        const partitionData = [{ partitionSessionId: 1n, batches }];
        const say = () => peer.send(serverFrame({ case: "readResponse", value: { bytesSize: 10n, partitionData } }));
        soon(say);
      }
      if (message.case === "commitOffsetRequest") {
        const partitionsCommittedOffsets = [{ partitionSessionId: 1n, committedOffset: 1n }];
        const say = () =>
          peer.send(serverFrame({ case: "commitOffsetResponse", value: { partitionsCommittedOffsets } }));
        soon(say);
      }
    }
    peer.end();
  },
});

const reader = await openReader({ client: simClient(memory), topics: "/local/a", consumer: "c" });
console.log("open");
if (mode !== "idle") {
  const { value: batch } = await reader.read().next();
  console.log("received");
  if (mode === "commit") await batch?.commit();
  if (mode === "close") {
    batch?.commitAndForget();
    await reader.close();
  }
  console.log("done");
}
