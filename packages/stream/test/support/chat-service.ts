// A service of one bidirectional method, put together without a code generator, and a real HTTP/2 server for it.

import * as http2 from "node:http2";
import { createServer, type Socket, connect as tcpConnect, type AddressInfo, type Server as TcpServer } from "node:net";
import { create, createFileRegistry } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema, type StringValue, StringValueSchema } from "@bufbuild/protobuf/wkt";
import { createClient, type HandlerContext } from "@connectrpc/connect";
import { connectNodeAdapter, createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import type { GenService } from "@bufbuild/protobuf/codegenv2";
import type { StreamTransport } from "@tidemark/stream";

type ChatService = GenService<{
  chat: { methodKind: "bidi_streaming"; input: typeof StringValueSchema; output: typeof StringValueSchema };
  ping: { methodKind: "unary"; input: typeof StringValueSchema; output: typeof StringValueSchema };
}>;

function chatService(): ChatService {
  const type = ".google.protobuf.StringValue";
  const registry = createFileRegistry(
    create(FileDescriptorSetSchema, {
      file: [
        StringValueSchema.file.proto,
        {
          name: "chat.proto",
          package: "test",
          syntax: "proto3",
          dependency: [StringValueSchema.file.proto.name],
          service: [
            {
              name: "Chat",
              method: [
                { name: "Chat", inputType: type, outputType: type, clientStreaming: true, serverStreaming: true },
                { name: "Ping", inputType: type, outputType: type },
              ],
            },
          ],
        },
      ],
    }),
  );
  return registry.getService("test.Chat") as unknown as ChatService;
}

const Chat = chatService();

export type ChatHandler = (
  lines: AsyncIterable<string>,
  context: HandlerContext,
  stream: number,
) => AsyncGenerator<string>;

/** What a server saw, which is what counts about streams. */
export interface ChatServer {
  readonly port: number;
  readonly url: string;
  readonly opened: number;
  readonly open: number;
  readonly maxOpen: number;
  /** Resolves when the number of streams open is this one. */
  reached(open: number): Promise<void>;
  /** Tells all clients to go away, as a server does before it stops (GOAWAY). */
  goAway(): void;
  /** Dies at once: every connection is cut without a word. */
  kill(): Promise<void>;
}

export async function startChatServer(handler: ChatHandler, port = 0): Promise<ChatServer> {
  const counts = { opened: 0, open: 0, maxOpen: 0 };
  const watchers = new Set<() => void>();
  const changed = () => {
    for (const watcher of watchers) watcher();
  };
  async function* textOf(messages: AsyncIterable<StringValue>) {
    for await (const message of messages) yield message.value;
  }
  const sessions = new Set<http2.ServerHttp2Session>();
  const server = http2.createServer(
    connectNodeAdapter({
      // Compressed, what tests send would fit into any window.
      acceptCompression: [],
      routes(router) {
        router.service(Chat, {
          async *chat(messages: AsyncIterable<StringValue>, context: HandlerContext) {
            counts.opened++;
            counts.maxOpen = Math.max(counts.maxOpen, ++counts.open);
            changed();
            let isOver = false;
            const over = () => {
              if (isOver) return;
              isOver = true;
              counts.open--;
              changed();
            };
            context.signal.addEventListener("abort", over, { once: true });
            try {
              for await (const value of handler(textOf(messages), context, counts.opened)) yield { value };
            } finally {
              over();
            }
          },
          ping: (message: StringValue) => message,
        });
      },
    }),
  );
  server.on("session", (session) => {
    sessions.add(session);
    session.on("close", () => sessions.delete(session));
    session.on("error", () => {});
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  const address = server.address() as AddressInfo;
  return {
    port: address.port,
    url: `http://127.0.0.1:${address.port}`,
    get opened() {
      return counts.opened;
    },
    get open() {
      return counts.open;
    },
    get maxOpen() {
      return counts.maxOpen;
    },
    reached: (open) =>
      new Promise((resolve) => {
        const look = () => {
          if (counts.open !== open) return;
          watchers.delete(look);
          resolve();
        };
        watchers.add(look);
        look();
      }),
    goAway() {
      for (const session of sessions) session.goaway();
    },
    kill: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const session of sessions) session.destroy();
      }),
  };
}

/** A transport over connect-node with a connection of its own, so that a dead one takes nothing else with it. */
export function openChatTransport(url: string): StreamTransport<string, string> {
  const sessions = new Http2SessionManager(url);
  const transport = createGrpcTransport({ baseUrl: url, sessionManager: sessions });
  const client = createClient(Chat, transport);
  const controller = new AbortController();
  return {
    async *start(outgoing) {
      async function* requests() {
        for await (const value of outgoing) yield { value };
      }
      for await (const message of client.chat(requests(), { signal: controller.signal })) yield message.value;
    },
    cancel(reason) {
      controller.abort(reason);
      sessions.abort();
    },
    async ping(signal) {
      await client.ping({ value: "ping" }, { signal });
    },
  };
}

/** Passes bytes on to a server, until it no longer does. */
export interface BlackHole {
  readonly url: string;
  /** From now on what comes over the present connections goes nowhere; they stay open. New ones work. */
  swallow(): void;
  close(): Promise<void>;
}

export async function startBlackHole(port: number): Promise<BlackHole> {
  const sockets = new Set<Socket>();
  let pairs: [Socket, Socket][] = [];
  const server: TcpServer = createServer((client) => {
    const upstream = tcpConnect(port, "127.0.0.1");
    pairs.push([client, upstream]);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        client.destroy();
        upstream.destroy();
      });
    }
    client.pipe(upstream);
    upstream.pipe(client);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    swallow() {
      for (const [client, upstream] of pairs) {
        client.unpipe(upstream).resume();
        upstream.unpipe(client).resume();
      }
      pairs = [];
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
