import { ProtoReader } from "../../bench/topics/wire/proto-reader.ts";
import { message } from "../../bench/topics/wire/proto-writer.ts";
import { success } from "../../bench/topics/wire/write-response.ts";
import { shapeOfTopic } from "../../bench/topics/topic-name.ts";

/** The answer to one of the calls that clients make around their streams. */
export function answerUnary(path: string, request: Uint8Array, authority: string): Buffer {
  const method = path.slice(path.lastIndexOf("/") + 1);
  return message([1, operation(method, request, authority)]);
}

function operation(method: string, request: Uint8Array, authority: string): Buffer {
  switch (method) {
    case "ListEndpoints":
      return succeeded("Ydb.Discovery.ListEndpointsResult", endpoints(authority));
    case "WhoAmI":
      return succeeded("Ydb.Discovery.WhoAmIResult", message([1, "anonymous"]));
    case "CreateSession":
      return succeeded("Ydb.Table.CreateSessionResult", message([1, "bench"]));
    case "DescribeTopic":
      return succeeded("Ydb.Topic.DescribeTopicResult", topic(request));
    default:
      return message([2, 1], [3, success]);
  }
}

/** An `Operation` that is done; every result travels as an `Any`. */
function succeeded(type: string, result: Uint8Array): Buffer {
  return message([2, 1], [3, success], [5, message([1, `type.googleapis.com/${type}`], [2, result])]);
}

/** Where the client came from is where it shall come again: through the relay, if there is one. */
function endpoints(authority: string): Buffer {
  const { hostname, port } = new URL(`http://${authority}`);
  return message([1, message([1, hostname], [2, Number(port)], [7, 1])], [2, "bench"]);
}

function topic(request: Uint8Array): Buffer {
  const reader = new ProtoReader(request);
  let path = "";
  while (reader.hasMore) {
    const tag = reader.varint();
    if (tag === 0x12) path = reader.text();
    else reader.skip(tag);
  }
  const { partitions } = shapeOfTopic(path);
  const described = Array.from({ length: partitions }, (_, id) => {
    const location = message([1, 1], [2, 1]);
    return [3, message(...(id === 0 ? [] : [[1, id] as const]), [2, 1], [6, location])] as const;
  });
  const codecs = message([1, Uint8Array.of(1, 2, 4)]);
  return message([1, message([1, path], [2, "root"], [3, 17])], [2, message([1, partitions])], ...described, [
    7,
    codecs,
  ]);
}
