import { connect, createServer, type IncomingHttpHeaders } from "node:http2";
import type { AddressInfo } from "node:net";

/**
 * A gateway as there is one in front of a database: whoever has no good token hears UNAUTHENTICATED from it, the calls of
 * others go through.
 */
export interface TokenGate extends AsyncDisposable {
  readonly port: number;
  /** Tokens that are good now. */
  readonly tokens: Set<string>;
  /** The tokens of all calls, in order. */
  readonly seen: string[];
  /** Cuts every connection to it. */
  cut(): void;
}

export async function openTokenGate(target: number): Promise<TokenGate> {
  const tokens = new Set<string>();
  const seen: string[] = [];
  const upstream = connect(`http://127.0.0.1:${target}`);
  upstream.on("error", () => {});
  const sessions = new Set<{ destroy(): void }>();
  const server = createServer();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("error", () => {}).on("close", () => sessions.delete(session));
  });
  server.on("stream", (stream, headers) => {
    stream.on("error", () => {});
    const token = String(headers["x-ydb-auth-ticket"] ?? "");
    seen.push(token);
    if (!tokens.has(token)) {
      const status = { "grpc-status": "16", "grpc-message": "token expired" };
      stream.respond({ ":status": 200, "content-type": "application/grpc+proto", ...status }, { endStream: true });
      return;
    }
    const call = upstream.request(headers);
    call.on("error", () => stream.destroy());
    stream.on("close", () => call.close());
    let trailers: IncomingHttpHeaders = {};
    call.on("trailers", (all) => (trailers = all));
    stream.on("wantTrailers", () => stream.sendTrailers(trailers));
    call.on("response", (answer) => {
      stream.respond(answer, { waitForTrailers: true });
      call.pipe(stream);
    });
    stream.pipe(call);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const cut = () => {
    for (const session of sessions) session.destroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    tokens,
    seen,
    cut,
    async [Symbol.asyncDispose]() {
      cut();
      upstream.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
