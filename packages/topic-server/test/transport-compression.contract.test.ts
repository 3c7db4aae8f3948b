// Messages that gRPC compresses on the way, which is not what topics' codecs are: clients in Python and Go can be set to it.
import { once } from "node:events";
import { connect, type IncomingHttpHeaders } from "node:http2";
import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { topicAdminWire, topicWire } from "@tidemark/topic/internal";
import { expect, onTestFinished, test } from "vitest";
import { openTestServer } from "./support.ts";

const path = "/local/t";
const { StreamReadMessage_FromClientSchema: ToRead, StreamWriteMessage_FromClientSchema: ToWrite } = topicWire;
const { DescribeTopicRequestSchema: ToDescribe } = topicAdminWire;

test.each([
  ["StreamWrite", toBinary(ToWrite, create(ToWrite, { clientMessage: { case: "initRequest", value: { path } } }))],
  [
    "StreamRead",
    toBinary(ToRead, create(ToRead, { clientMessage: { case: "initRequest", value: { consumer: "c" } } })),
  ],
  ["DescribeTopic", toBinary(ToDescribe, create(ToDescribe, { path }))],
])("%s: a compressed message gets UNIMPLEMENTED, and what is understood instead", async (method, message) => {
  const server = await openTestServer();
  const session = connect(`http://${server.host}:${server.port}`);
  onTestFinished(() => session.destroy());
  const stream = session.request({
    ":method": "POST",
    ":path": `/Ydb.Topic.V1.TopicService/${method}`,
    "content-type": "application/grpc+proto",
    "grpc-encoding": "gzip",
    te: "trailers",
  });
  let trailers: IncomingHttpHeaders = {};
  stream.on("trailers", (received: IncomingHttpHeaders) => (trailers = received));
  const zipped = gzipSync(message);
  const prefix = Buffer.from([1, 0, 0, 0, 0]);
  prefix.writeUInt32BE(zipped.length, 1);
  stream.end(Buffer.concat([prefix, zipped]));
  const [headers] = (await once(stream, "response")) as [IncomingHttpHeaders];
  stream.resume();
  await once(stream, "close");
  // gRPC Compression, "Compression Method Asymmetry Between Peers".
  expect({ ...headers, ...trailers }).toMatchObject({ "grpc-status": "12", "grpc-accept-encoding": "identity" });
  expect(headers["grpc-encoding"]).toBeUndefined();
});
