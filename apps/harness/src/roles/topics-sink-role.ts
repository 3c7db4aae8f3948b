import { createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { FrameSplitter } from "../bench/topics/wire/frame-splitter.ts";
import { grpcFrame } from "../bench/topics/wire/proto-writer.ts";
import { payloadsOf } from "../bench/topics/payloads.ts";
import { messagesOfFrame, shapeOfTopic } from "../bench/topics/topic-name.ts";
import { wideSettings, widen } from "./topics/http2-windows.ts";
import { type SinkCounts, type SinkPartition, SinkSession } from "./topics/sink-session.ts";
import { answerUnary } from "./topics/sink-unary.ts";
import { SourceSession, type SourceShape } from "./topics/source-session.ts";

export type TopicsSinkRole = {
  /** Listens on a free port of loopback. */
  listen(): Promise<{ readonly port: number }>;
  counts(): SinkCounts;
};

/**
 * The server that all clients are measured against: enough of the service over bare `node:http2` that official clients
 * accept it, nothing stored, and every message looked at. It must be faster than any of them.
 */
export function createTopicsSinkRole(): TopicsSinkRole {
  const counts: SinkCounts = { messages: 0, payloadBytes: 0, requests: 0, outOfOrder: 0 };
  const partitions: SinkPartition[] = [];
  /** Every session of writing has a partition of its own. */
  const nextPartition = () => {
    const partition = { id: partitions.length, nextOffset: 0 };
    partitions.push(partition);
    return partition;
  };
  const server = createServer(wideSettings);
  server.on("session", widen);
  server.on("stream", (stream, headers) => {
    stream.on("error", () => {}); // A client that goes away is not this process's end.
    const path = headers[":path"] ?? "";
    if (path.endsWith("/StreamWrite")) {
      begin(stream);
      new SinkSession(stream, nextPartition(), counts);
    } else if (path.endsWith("/StreamRead")) {
      begin(stream);
      new SourceSession(stream, sourceShape);
    } else serveUnary(stream, headers);
  });
  return {
    listen: async () => {
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      return { port: (server.address() as AddressInfo).port };
    },
    counts: () => counts,
  };
}

/** The headers of an answer, and its end when the client ends. */
function begin(stream: ServerHttp2Stream): void {
  stream.respond({ ":status": 200, "content-type": "application/grpc+proto" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.on("end", () => stream.end());
}

function serveUnary(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
  begin(stream);
  const splitter = new FrameSplitter((body) => {
    const authority = headers[":authority"] ?? "127.0.0.1";
    stream.write(grpcFrame(answerUnary(headers[":path"] ?? "", body, authority)));
  });
  stream.on("data", (chunk: Buffer) => splitter.push(chunk));
}

function sourceShape(path: string): SourceShape {
  const { payloadBytes, partitions } = shapeOfTopic(path);
  return { path, partitions, payload: payloadsOf(payloadBytes)[0] as Buffer, messages: messagesOfFrame(payloadBytes) };
}
