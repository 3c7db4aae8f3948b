import { once } from "node:events";
import { createServer } from "node:http";
import { createConsoleHandler } from "@tidemark/console";
import { toNodeListener } from "@tidemark/status/http";

const page = toNodeListener(createConsoleHandler());
const server = createServer((request, response) => {
  if (page(request, response)) return;
  // Here your AdminService answers, for example through connectNodeAdapter of @connectrpc/connect-node.
  response.writeHead(404).end();
});
server.listen(0, "127.0.0.1");

await once(server, "listening");
const address = server.address();
const port = typeof address === "object" ? address?.port : undefined;
const response = await fetch(`http://127.0.0.1:${port}/`);
console.log(response.status, response.headers.get("content-type"));
server.close();
