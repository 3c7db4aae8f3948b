// What a server may send ahead, as the server is told.

import { createServer, type Http2Server, type ServerHttp2Session } from "node:http2";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { createTopicClient } from "../src/index.ts";
import { Outgoing } from "./support/stream.ts";

test("a writer has a connection of its own, whose window the buffers of the system can hold", async () => {
  const windows = new Map<string, { readonly stream: number; readonly session: ServerHttp2Session }>();
  const server = await listening(
    createServer().on("stream", (stream, { ":path": path = "" }) => {
      const session = stream.session as ServerHttp2Session;
      windows.set(path.split("/").at(-1) ?? "", { stream: session.remoteSettings.initialWindowSize ?? 0, session });
      stream.respond({ ":status": 200, "content-type": "application/grpc", "grpc-status": "0" }, { endStream: true });
    }),
  );
  const { port } = server.address() as AddressInfo;
  await using client = createTopicClient(`grpc://127.0.0.1:${port}/local`, { discovery: false });
  for (const kind of ["read", "write"] as const) {
    for await (const _ of client.stream(kind).start(new Outgoing()));
  }
  const [read, write] = [windows.get("StreamRead"), windows.get("StreamWrite")];
  expect(read?.stream).toBe(16 * 1024 * 1024);
  expect(write?.stream).toBe(128 * 1024);
  expect(write?.session).not.toBe(read?.session);
  // All streams together: what the connection itself lets through.
  expect(write?.session.state.remoteWindowSize).toBe(128 * 1024);
});

async function listening(server: Http2Server): Promise<Http2Server> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  return server;
}
