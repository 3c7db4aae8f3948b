// A service with a method of each kind, put together without a code generator, as connect serves and calls it.

import { type Http2Server, createServer, type ServerHttp2Session } from "node:http2";
import type { AddressInfo } from "node:net";
import { create, createFileRegistry } from "@bufbuild/protobuf";
import type { GenService } from "@bufbuild/protobuf/codegenv2";
import { type BytesValue, BytesValueSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { onTestFinished } from "vitest";

type Bytes = typeof BytesValueSchema;
type Method<Kind extends string> = { methodKind: Kind; input: Bytes; output: Bytes };

export type TestService = GenService<{
  once: Method<"unary">;
  down: Method<"server_streaming">;
  up: Method<"client_streaming">;
  both: Method<"bidi_streaming">;
}>;

const type = ".google.protobuf.BytesValue";
const method = (name: string, clientStreaming: boolean, serverStreaming: boolean) => ({
  name,
  inputType: type,
  outputType: type,
  clientStreaming,
  serverStreaming,
});

export const Test = createFileRegistry(
  create(FileDescriptorSetSchema, {
    file: [
      BytesValueSchema.file.proto,
      {
        name: "test.proto",
        package: "test",
        syntax: "proto3",
        dependency: [BytesValueSchema.file.proto.name],
        service: [
          {
            name: "Test",
            method: [
              method("Once", false, false),
              method("Down", false, true),
              method("Up", true, false),
              method("Both", true, true),
            ],
          },
        ],
      },
    ],
  }),
).getService("test.Test") as unknown as TestService;

export const both = "/test.Test/Both";

export const text = (value: string) => ({ value: Buffer.from(value) });
export const textOf = ({ value }: { readonly value: Uint8Array }) => Buffer.from(value).toString();

/** What handlers saw. */
export class Seen {
  readonly aborts: unknown[] = [];
  readonly headers: Headers[] = [];
  readonly timeouts: (number | undefined)[] = [];
  #wake = () => {};
  #changed = new Promise<void>((resolve) => (this.#wake = resolve));

  note(): void {
    this.#wake();
    this.#changed = new Promise<void>((resolve) => (this.#wake = resolve));
  }

  /** Resolves when it holds. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) await this.#changed;
  }
}

/** Echoes; says in words what it is asked for otherwise. */
export function testRoutes(seen: Seen = new Seen()): (router: ConnectRouter) => void {
  const enter = (context: HandlerContext) => {
    seen.headers.push(context.requestHeader);
    seen.timeouts.push(context.timeoutMs());
    context.signal.addEventListener("abort", () => {
      seen.aborts.push(context.signal.reason);
      seen.note();
    });
    context.responseHeader.set("x-header", "above");
    context.responseTrailer.set("x-trailer", "below");
    seen.note();
  };
  const check = (request: BytesValue) => {
    if (textOf(request) === "fail") throw refusal();
  };
  return (router) =>
    router.service(Test, {
      async once(request, context) {
        enter(context);
        check(request);
        if (textOf(request) === "hang")
          await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
        return request;
      },
      async *down(request, context) {
        enter(context);
        for (let n = 0; n < Number(textOf(request)); n++) yield text(String(n));
      },
      async up(requests, context) {
        enter(context);
        let count = 0;
        for await (const request of requests) {
          check(request);
          count++;
        }
        return text(String(count));
      },
      async *both(requests, context) {
        enter(context);
        for await (const request of requests) {
          check(request);
          if (textOf(request) === "enough") return;
          if (textOf(request) === "hang")
            await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
          yield request;
        }
      },
    });
}

/** An error with everything that one can have. */
export function refusal(): ConnectError {
  return new ConnectError("nicht für dich, 100%", Code.PermissionDenied, { "x-hint": "ask first" }, [
    { desc: BytesValueSchema, value: text("the detail") },
  ]);
}

/** Connect's own server, with nothing of ours. */
export async function startStockServer(seen?: Seen, options: { readonly plain?: boolean } = {}) {
  const adapter = connectNodeAdapter({
    routes: testRoutes(seen),
    // As it comes, or without what the other side does not do.
    ...(options.plain === false ? {} : { acceptCompression: [] }),
  });
  return await listen(createServer(adapter));
}

/** Listens until the test is over. */
export async function listen(server: Http2Server) {
  const sessions = new Set<ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("error", () => {});
    session.once("close", () => sessions.delete(session));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const kill = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      for (const session of sessions) session.destroy();
    });
  onTestFinished(kill);
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, port, sessions, kill };
}

/** What it yields, in a list. */
export async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of source) items.push(item);
  return items;
}

export async function* of<T>(...items: T[]): AsyncGenerator<T> {
  yield* items;
}

/** A source that is fed by hand. `isLeft`: its consumer let go of it. */
export function source<T>() {
  const items: T[] = [];
  let wake = () => {};
  let isEnded = false;
  const state = { isLeft: false, pulled: 0 };
  return {
    state,
    push(item: T) {
      items.push(item);
      wake();
    },
    end() {
      isEnded = true;
      wake();
    },
    async *[Symbol.asyncIterator](): AsyncGenerator<T> {
      try {
        for (;;) {
          const item = items.shift();
          if (item !== undefined) {
            state.pulled++;
            yield item;
          } else if (isEnded) return;
          else await new Promise<void>((resolve) => (wake = resolve));
        }
      } finally {
        state.isLeft = true;
      }
    },
  };
}
