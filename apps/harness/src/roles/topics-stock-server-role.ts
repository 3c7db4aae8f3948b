import { createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { ConnectRouter } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import {
  Codec,
  type StreamWriteMessage_FromClient,
  StreamWriteMessage_FromServerSchema,
  type StreamWriteMessage_WriteRequest,
} from "../gen/ydb/topic_pb.ts";
import { TopicService } from "../gen/ydb/topic_v1_pb.ts";
import { StatusIds_StatusCode } from "../gen/ydb/status_pb.ts";
import type { SinkCounts } from "./topics/sink-session.ts";

export type TopicsStockServerRole = {
  listen(): Promise<{ readonly port: number }>;
  counts(): SinkCounts;
};

type Answer = NonNullable<MessageInitShape<typeof StreamWriteMessage_FromServerSchema>["serverMessage"]>;

/** What one gets from connect-node and protobuf-es alone: every message counted, acknowledged with its offset, forgotten. */
export function createTopicsStockServerRole(): TopicsStockServerRole {
  const counts: SinkCounts = { messages: 0, payloadBytes: 0, requests: 0, outOfOrder: 0 };

  async function* streamWrite(requests: AsyncIterable<StreamWriteMessage_FromClient>) {
    let offset = 0n;
    let lastSeqNo = 0n;
    const acknowledge = ({ messages }: StreamWriteMessage_WriteRequest): Answer => {
      counts.requests++;
      const acks = messages.map(({ seqNo, data }) => {
        counts.messages++;
        counts.payloadBytes += data.length;
        if (seqNo <= lastSeqNo) counts.outOfOrder++;
        lastSeqNo = seqNo;
        return { seqNo, messageWriteStatus: { case: "written", value: { offset: offset++ } } as const };
      });
      return { case: "writeResponse", value: { acks } };
    };
    for await (const { clientMessage } of requests) {
      const serverMessage: Answer =
        clientMessage.case === "writeRequest"
          ? acknowledge(clientMessage.value)
          : { case: "initResponse", value: { sessionId: "stock", supportedCodecs: { codecs: [Codec.RAW] } } };
      yield create(StreamWriteMessage_FromServerSchema, { status: StatusIds_StatusCode.SUCCESS, serverMessage });
    }
  }

  const routes = (router: ConnectRouter) => router.service(TopicService, { streamWrite });
  const server = createServer({}, connectNodeAdapter({ routes, acceptCompression: [] }));
  return {
    listen: async () => {
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      return { port: (server.address() as AddressInfo).port };
    },
    counts: () => counts,
  };
}
