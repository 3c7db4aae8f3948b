import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";
import { FrameSplitter } from "../../bench/topics/wire/frame-splitter.ts";
import { wideSettings, widen } from "./http2-windows.ts";

/** A connection of bare `node:http2` with wide windows. */
export async function openRawSession(port: number): Promise<ClientHttp2Session> {
  const session = connect(`http://127.0.0.1:${port}`, wideSettings);
  await new Promise<void>((resolve, reject) => {
    session.once("connect", () => resolve());
    session.once("error", reject);
  });
  widen(session);
  return session;
}

/** A gRPC stream with nothing around it: whole frames out, messages in. */
export function openRawStream(
  session: ClientHttp2Session,
  method: "StreamWrite" | "StreamRead",
  onMessage: (body: Buffer) => void,
): ClientHttp2Stream {
  const stream = session.request({
    ":method": "POST",
    ":path": `/Ydb.Topic.V1.TopicService/${method}`,
    "content-type": "application/grpc+proto",
    te: "trailers",
    "x-ydb-database": "/local",
  });
  const splitter = new FrameSplitter(onMessage);
  stream.on("data", (chunk: Buffer) => splitter.push(chunk));
  return stream;
}
