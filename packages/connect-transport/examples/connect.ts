import { createClient } from "@connectrpc/connect";
import { createFrameServer, FrameChannel } from "@tidemark/connect-transport";
import { Greeter } from "./services/greeter.ts";

// Instead of http2.createServer(connectNodeAdapter({ routes })):
await using server = createFrameServer({
  routes: (router) =>
    router.service(Greeter, {
      async *greet(names) {
        for await (const { value } of names) yield { value: `Hello, ${value}!` };
      },
    }),
});
const { url } = await server.listen();

// Instead of createGrpcTransport({ baseUrl: url }):
await using channel = new FrameChannel({ baseUrl: url });
const greeter = createClient(Greeter, channel.transport);

async function* names() {
  yield { value: "Ada" };
  yield { value: "Grace" };
}
for await (const { value } of greeter.greet(names())) console.log(value);
