import { ConnectError } from "@connectrpc/connect";
import { createFrameServer, FrameChannel } from "@tidemark/connect-transport";

await using server = createFrameServer({
  frames: {
    "/demo.Count/Down": (call) => {
      const pour = async () => {
        for (let n = 0; n < 1_000_000; n++) if (!call.send(new Uint8Array(100))) await call.drained();
        call.end();
      };
      // `drained` rejects when the client is gone.
      pour().catch((error: unknown) => call.end(error));
      return { frames() {} };
    },
  },
});
const { url } = await server.listen();
await using channel = new FrameChannel({ baseUrl: url });

let count = 0;
await new Promise<void>((resolve, reject) => {
  const sender = channel.stream("/demo.Count/Down").open({
    // What arrived together. Return a promise to hold the server back.
    frames(frames) {
      count += frames.length;
    },
    end: (error) => (error === undefined ? resolve() : reject(ConnectError.from(error))),
  });
  sender.end();
});
console.log(`${count} frames`);
