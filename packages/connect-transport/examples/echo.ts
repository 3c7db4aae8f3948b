import { createFrameServer, FrameChannel } from "@tidemark/connect-transport";

await using server = createFrameServer({
  frames: {
    // Runs on node:http2 itself; everything else could be `routes` of connect.
    "/demo.Echo/Both": (call) => ({
      frames(frames) {
        for (const frame of frames) call.send(frame);
      },
      end: () => call.end(),
    }),
  },
});
const { url } = await server.listen();

await using channel = new FrameChannel({ baseUrl: url });

async function* words() {
  for (const word of ["one", "two", "three"]) yield new TextEncoder().encode(word);
}
for await (const frame of channel.stream("/demo.Echo/Both").start(words())) {
  console.log(new TextDecoder().decode(frame));
}
